#!/bin/bash
# SPDX-License-Identifier: MIT
# fabric-pingpong.sh - runs libfabric's own fi_pingpong, unmodified, with the
# drop-in in both processes.
#
# usage: fabric-pingpong.sh BUILD-FOLDER
#
# Needs an RDMA adapter: soft-roce makes one.
set -u

build=$(readlink -f "${1:?usage: fabric-pingpong.sh BUILD-FOLDER}")
command -v fi_pingpong >/dev/null || exit 77
failed=0

scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"; kill "$server" 2>/dev/null' EXIT

export FI_PROVIDER_PATH=$build/integrations/libfabric FI_UMMUNOTIFY_VERBOSE=2
export FI_UNIVERSE_SIZE=2

pingpong()
{
	timeout -k 5 400 fi_pingpong -p 'verbs;ofi_rxm' -e rdm -I 2 -S all \
		-c "$@"
}

pingpong >"$scratch/server" 2>&1 &
server=$!
for ((i = 0; i < 100; i++)); do
	sleep 1
	pingpong 10.9.9.1 >"$scratch/client" 2>&1 && break
	kill -0 $server 2>/dev/null || break
done
wait $server || failed=1

for end in server client; do
	echo "-- $end"
	cat "$scratch/$end"
	grep -q 'tells libfabric.s registration caches, on' "$scratch/$end" ||
		failed=1
done
grep -q '^1m ' "$scratch/client" || failed=1
exit $failed
