#!/bin/bash
# SPDX-License-Identifier: MIT
# fabric-table.sh - counts the wrong bytes that an application of libfabric's
# gets, by what changed its memory and by who tells the registration cache.
#
# usage: fabric-table.sh BUILD-FOLDER [MONITOR...]
#
# FABRIC_IN, if set, is a command that runs another, in another libfabric.
# The monitors are kmod and uffd, of this project; memhooks and userfaultfd, of
# libfabric.  Needs an RDMA adapter: soft-roce makes one.  Fails if kmod shows
# a wrong byte, or uffd one where it claims none, or if no registration was ever
# found in a cache; and if memhooks is asked for and shows none, for then this
# test shows nothing.
set -u

build=$(readlink -f "${1:?usage: fabric-table.sh BUILD-FOLDER [MONITOR...]}")
shift
[ $# -gt 0 ] || set -- kmod uffd memhooks userfaultfd
failed=0

scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT

export FI_PROVIDER_PATH=$build/integrations/libfabric FI_UMMUNOTIFY_VERBOSE=2
export FI_UNIVERSE_SIZE=2 # soft-RoCE has no room for more

changes='free-malloc munmap-mmap raw-munmap map-fixed-over mremap-onto
	madvise-dontneed ftruncate punch-hole other-punches other-madvises
	shmdt-shmat'
# What userfaultfd cannot see, as ummunotify(7) says.
unseen='ftruncate punch-hole other-punches shmdt-shmat'

fail()
{
	echo "FAIL $*"
	failed=1
}

bytes() # MONITOR SECONDS CHANGE...
{
	local monitor=$1 limit=$2
	shift 2
	case $monitor in
	kmod | uffd) export UMMU_MONITOR=$monitor; unset FI_MR_CACHE_MONITOR ;;
	*) export FI_MR_CACHE_MONITOR=$monitor; unset UMMU_MONITOR ;;
	esac
	# shellcheck disable=SC2086 # a command and its arguments
	timeout -k 5 "$limit" ${FABRIC_IN-} \
		"$build/tests/integrations/fabric-bytes" -a 10.9.9.1 "$@" \
		>>"$scratch/$monitor" 2>>"$scratch/$monitor.log"
}

# libfabric's userfaultfd waits for ever for some page faults.
measure() # MONITOR
{
	local change status
	if [ "$1" = userfaultfd ]; then
		for change in $changes; do
			bytes "$1" 60 "$change"
			[ $? = 124 ] && echo "$change hangs" >>"$scratch/$1"
		done
		return
	fi
	# shellcheck disable=SC2086 # a list
	bytes "$1" 1000 $changes
	status=$?
	[ $status = 77 ] && exit 77
	[ $status = 0 ] || fail "$1: fabric-bytes ended with $status"
}

wrong() # MONITOR CHANGE
{
	sed -n "s/^$2 \([^ ]*\).*/\1/p" "$scratch/$1" | head -n 1
}

print_table()
{
	local change monitor
	printf '%-18s' 'wrong bytes'
	printf '%13s' "$@"
	echo
	for change in $changes; do
		printf '%-18s' "$change"
		for monitor; do
			printf '%13s' "$(wrong "$monitor" "$change")"
		done
		echo
	done
	awk 'NF == 3 { of = $3 } END { print "of " of " bytes each" }' \
		"$scratch/$1"
}

judge_ours() # MONITOR
{
	local change found
	for change in $changes; do
		found=$(wrong "$1" "$change")
		[ "$found" = 0 ] && continue
		[ "$1" = uffd ] && [[ " $unseen " = *" $change "* ]] &&
			[ -n "$found" ] && continue
		fail "$1, $change: wrong bytes: ${found:-not measured}"
	done
	grep -Eq "on $1: [1-9][0-9]* lookups valid" "$scratch/$1.log" ||
		fail "$1: no registration was found in a cache"
}

judge_memhooks()
{
	awk '$2 > 0 { found = 1 } END { exit !found }' "$scratch/memhooks" ||
		fail 'memhooks: no wrong byte, so this test shows nothing'
}

for monitor; do
	measure "$monitor"
done
print_table "$@"
for monitor; do
	case $monitor in
	kmod | uffd) judge_ours "$monitor" ;;
	memhooks) judge_memhooks ;;
	esac
	sed "s/^/$monitor: /" "$scratch/$monitor.log"
done
exit $failed
