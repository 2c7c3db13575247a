#!/bin/sh
# SPDX-License-Identifier: MIT
# stress.sh - stresses memory beside a process that watches its own, and within
# processes all of whose memory is watched.
#
# usage: stress.sh SECONDS
set -u
seconds=$1
stats=/sys/kernel/debug/ummunotify/stats
# Where Meson has built: guest-tests has it in PATH.
built=$(dirname "$(command -v stress-beside)")

[ -e /dev/ummunotify ] || { echo 'skipped: there is no /dev/ummunotify'; exit 77; }
command -v stress-ng >/dev/null || { echo 'skipped: there is no stress-ng'; exit 77; }

# What an ordinary user can reach, and write to.
scratch=$(mktemp -d) || exit
trap 'rm -rf "$scratch"' EXIT
cp "$built/libstress-within.so" "$scratch/" && chmod 1777 "$scratch" || exit

statistic() # NAME
{
	sed -n "s/^$1 //p" $stats
}

# Not as root, who makes the kernel believe that pages are broken, and programs
# die of it.
stress() # SECONDS
{
	echo 1 >/proc/sys/vm/unprivileged_userfaultfd
	setpriv --reuid 65534 --regid 65534 --clear-groups \
		stress-ng --timeout "$1s" --temp-path "$scratch" --oomable \
		--mmap 1 --mmap-bytes 16m --mremap 1 --mremap-bytes 8m \
		--madvise 1 --fork 1 --userfaultfd 1 --userfaultfd-bytes 2m \
		--shm 1 --shm-bytes 4m --metrics-brief
}

# What is dead already may take a moment to go.
expect_none() # NAME
{
	for _ in $(seq 100); do
		[ "$(statistic "$1")" = 0 ] && return
		sleep 1
	done
	echo "$1 left: $(statistic "$1")"
	return 1
}

echo '== beside'
stress-beside "$seconds" &
watcher=$!
stress "$seconds" || { kill $watcher; exit 1; }
wait $watcher || exit

echo '== within'
hits=$(statistic hits)
made=$(statistic watches_made)
LD_PRELOAD=$scratch/libstress-within.so stress "$seconds" || exit
echo "$(($(statistic watches_made) - made)) watches," \
	"$(($(statistic hits) - hits)) hits"
[ "$(statistic hits)" -gt "$hits" ] || exit

expect_none watches && expect_none files && expect_none spaces
