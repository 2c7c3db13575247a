#!/bin/bash
# SPDX-License-Identifier: MIT
# broken.sh - shows that the tests of the module can fail: breaks the module.
#
# usage: broken.sh BUILD LOGS [KERNEL]
#
# BUILD is a folder that Meson has built in; the kernel is 6.1.  Builds the
# module as it is, and one that breaks a rule when it is told to, and runs the
# tests of broken.list in a virtual machine.  Prints "pass NAME", "fail NAME" or
# "skip NAME" for the module as it is and for each rule, and leaves
# LOGS/NAME.log with _ for /.
set -u

here=$(dirname "$(readlink -f "$0")")
vm=$here/../../scripts/vm
build=$(readlink -f "$1") logs=$(readlink -f "$2") kernel=${3-6.1}

passes_in=300 # seconds; all of them do it in 5
found_in=600  # seconds

# The lines of the list: RULE FINDS COMMAND.
list()
{
	grep '^[A-Z]' "$here/broken.list"
}

rules()
{
	list | cut -d ' ' -f 1 | uniq
}

# Each command once.
commands()
{
	list | sed -E 's/^\S+ +\S+ +//' | sort -u
}

# What is broken need not please sparse.
build_module() # NAME [MAKE-ARGUMENT...]
{
	local name=$1
	shift
	"$vm/build-module" --output "$work/$name" "$kernel" C=0 "$@" \
		>"$work/$name.build" 2>&1 </dev/null
}

# ------------------------------------------------------------- in the guest

# Leaves what it says in /run/said.
run_once() # SECONDS COMMAND
{
	timeout -k 5 "$1" sh -c "$2" >/run/said 2>&1 </dev/null
}

all_pass()
{
	local command status result=0
	insmod "$work/whole/ummunotify.ko" || return
	while read -r command; do
		echo "-- $command"
		run_once $passes_in "$command"
		status=$?
		cat /run/said
		[ $status = 0 ] && continue
		echo "broken.sh: FAILED with $status"
		result=1
	done < <(commands)
	rmmod ummunotify && return $result
}

# Again and again, for on a busy machine the fault may not show at once.
is_found() # FINDS COMMAND
{
	local until=$((SECONDS + found_in)) tries=0 status
	echo "-- $2"
	while [ $SECONDS -lt $until ]; do
		tries=$((tries + 1))
		run_once $found_in "$2"
		status=$?
		if [ $status = 1 ] && grep -q "$1" /run/said; then
			grep -m 3 "$1" /run/said
			echo "found out in try $tries"
			return 0
		fi
	done
	cat /run/said
	echo "broken.sh: NOT FOUND OUT in $tries tries, the last ended with" \
		"$status; looked for '$1'"
	return 1
}

all_find() # RULE
{
	local rule finds command result=0
	insmod "$work/breakable/ummunotify.ko" "$1=1" || return
	while read -r rule finds command; do
		[ "$rule" != "$1" ] || is_found "$finds" "$command" || result=1
	done < <(list)
	rmmod ummunotify && return $result
}

report() # NAME COMMAND...
{
	local name=kernel-$kernel/$1 word=pass
	shift
	"$@" >"$logs/${name/\//_}.log" 2>&1 || word=fail
	echo "$word $name"
}

in_guest()
{
	local rule
	PATH=$build/tests/kernel:$PATH
	cd "$build" || return
	report broken-nothing all_pass
	for rule in $(rules); do
		report "broken-$rule" all_find "$rule"
	done
}

if [ "${4-}" = guest ]; then
	work=$5
	in_guest
	exit
fi

# ------------------------------------------------------------------ outside

skip_or_fail() # STATUS LOG
{
	local word=fail
	[ "$1" = 77 ] && word=skip
	cp "$2" "$logs/kernel-${kernel}_broken.log"
	echo "$word kernel-$kernel/broken"
	exit 0
}

work=$(mktemp -d "$logs/broken.XXXXXX") || exit
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

build_module whole || skip_or_fail $? "$work/whole.build"
build_module breakable BREAKABLE=1 || skip_or_fail $? "$work/breakable.build"
# Two processors that really run at once, for TRYLOCK.
# Each rule begins a log.
"$vm/run" --kernel "$kernel" --threads multi --memory 2048 \
	--progress "$logs" --time-limit 1800 \
	-- "$here/broken.sh" "$build" "$logs" "$kernel" guest "$work" \
	2>"$work/errors" || skip_or_fail $? "$work/errors"
