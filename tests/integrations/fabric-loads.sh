#!/bin/bash
# SPDX-License-Identifier: MIT
# fabric-loads.sh - checks that libfabric loads the drop-in, and that it steps
# aside where it should, with one line that says why.
#
# usage: fabric-loads.sh BUILD-FOLDER
#
# Needs no adapter.
set -u

build=$(readlink -f "${1:?usage: fabric-loads.sh BUILD-FOLDER}")
command -v fi_info >/dev/null || exit 77
failed=0

scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT

export FI_PROVIDER_PATH=$build/integrations/libfabric
unset FI_MR_CACHE_MONITOR FI_LOG_LEVEL UMMU_MONITOR

# Runs fi_info; NAME LINES PATTERN VARIABLE=VALUE...
expect()
{
	local name=$1 lines=$2 pattern=$3 got
	shift 3
	env "$@" fi_info -l >"$scratch/out" 2>"$scratch/errors"
	got=$(grep -c '^ummunotify\[' "$scratch/errors")
	if [ "$got" = "$lines" ] &&
		{ [ -z "$pattern" ] || grep -q -- "$pattern" "$scratch/errors"; } &&
		grep -q '^ummunotify:' "$scratch/out"; then
		echo "pass $name"
	else
		echo "FAIL $name: $got lines, not $lines with '$pattern', in"
		cat "$scratch/errors"
		failed=1
	fi
}

if "$build/tools/ummunotify" status >/dev/null; then
	expect 'it tells' 1 'tells libfabric.s registration caches' \
		FI_UMMUNOTIFY_VERBOSE=2
	expect 'and is quiet about that' 0 '' FI_UMMUNOTIFY_VERBOSE=1
	expect 'libfabric has taken it' 0 'imported memory monitor' \
		FI_LOG_LEVEL=info
	expect 'chosen by name' 1 'tells libfabric' FI_UMMUNOTIFY_VERBOSE=2 \
		FI_MR_CACHE_MONITOR=ummunotify
fi
# A second name, whose object libfabric drops again: the first has to stay.
mkdir "$scratch/twice" || exit 1
cp "$FI_PROVIDER_PATH/ummunotify-fi.so" "$scratch/twice/" || exit 1
ln "$scratch/twice/ummunotify-fi.so" "$scratch/twice/again-fi.so" || exit 1
if "$build/tools/ummunotify" status >/dev/null; then
	expect 'loaded twice' 1 'tells libfabric' FI_UMMUNOTIFY_VERBOSE=2 \
		FI_PROVIDER_PATH="$scratch/twice" LD_LIBRARY_PATH="$build/lib"
fi
expect 'another monitor' 1 'steps aside.*FI_MR_CACHE_MONITOR.*memhooks' \
	FI_UMMUNOTIFY_VERBOSE=2 FI_MR_CACHE_MONITOR=memhooks
expect 'no cache at all' 1 'steps aside.*FI_MR_CACHE_MONITOR.*disabled' \
	FI_UMMUNOTIFY_VERBOSE=2 FI_MR_CACHE_MONITOR=disabled
expect 'not enabled' 1 'steps aside.*FI_UMMUNOTIFY_ENABLED' \
	FI_UMMUNOTIFY_VERBOSE=2 FI_UMMUNOTIFY_ENABLED=0
expect 'no monitor works' 1 'steps aside.*nonsense' UMMU_MONITOR=nonsense
expect 'in silence' 0 '' UMMU_MONITOR=nonsense FI_UMMUNOTIFY_VERBOSE=0
expect 'and in the log' 0 'warn.*steps aside.*nonsense' FI_LOG_LEVEL=warn \
	UMMU_MONITOR=nonsense FI_UMMUNOTIFY_VERBOSE=0
exit $failed
