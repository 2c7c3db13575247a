#!/bin/bash
# SPDX-License-Identifier: MIT
# two-nodes.sh - an MPI job across two virtual machines, joined by a network.
#
# usage: two-nodes.sh BUILD [KERNEL]
#
# As rdma.sh grdma, with a process on each; each has the kernel module.
set -u

here=$(dirname "$(readlink -f "$0")")
vm=${here%/tests/openmpi}/scripts/vm
build=$(readlink -f "$1") kernel=${2:-6.1}
[ -e "$build/integrations/openmpi/mca_memory_ummunotify.so" ] || {
	echo 'the drop-in for Open MPI was not built'
	exit 77
}
exchange=$(mktemp -d) || exit
trap 'rm -rf "$exchange"' EXIT
trap 'exit 130' INT TERM HUP

node() # NUMBER
{
	"$vm/run" --kernel "$kernel" --module --memory 1536 \
		--network "$exchange:$1" --share "$exchange" \
		--time-limit "${SECONDS_LIMIT:-900}" \
		-- "$here/node.sh" "$1" "$build" "$exchange"
}

node 2 &
second=$!
node 1
status=$?
# Also when the first did not get as far as to say so.
: >"$exchange/over"
wait "$second"
second=$?
[ $status != 0 ] && exit $status
exit $second
