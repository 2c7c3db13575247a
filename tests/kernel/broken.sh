#!/bin/bash
# SPDX-License-Identifier: MIT
# broken.sh - shows that the tests of the module can fail: breaks the module.
#
# usage: broken.sh BUILD LOGS [KERNEL]
#
# BUILD is a folder that Meson has built in; the kernel is 6.1.  Builds the
# module as it is and once for each rule that broken.list breaks, and runs the
# tests in a virtual machine.  Prints "pass NAME", "fail NAME" or "skip NAME"
# for each rule, and leaves LOGS/NAME.log with _ for /.
set -u

here=$(dirname "$(readlink -f "$0")")
vm=$here/../../scripts/vm
build=$(readlink -f "$1") logs=$(readlink -f "$2") kernel=${3-6.1}
work=$(mktemp -d "$logs/broken.XXXXXX") || exit
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

rules()
{
	sed -n 's/^\([A-Z]\w*\) .*/\1/p' "$here/broken.list" | uniq
}

# What is broken need not please sparse.
build_module() # NAME [MAKE-ARGUMENT...]
{
	local name=$1
	shift
	"$vm/build-module" --output "$work/$name" "$kernel" C=0 "$@" \
		>"$work/$name.build" 2>&1 </dev/null
}

# In the guest: has each test of a rule said what is wrong?
run_tests() # RULE MODULE STATUS
{
	local rule finds command status found=0
	insmod "$2" || return
	while read -r rule finds command; do
		[ "$rule" = "$1" ] || continue
		echo "-- $command"
		timeout -k 5 100 sh -c "$command" >"$work/said" 2>&1 </dev/null
		status=$?
		cat "$work/said"
		if [ $status != "$3" ]; then
			echo "broken.sh: ended with $status and not with $3"
			found=1
		elif [ "$3" = 1 ] && ! grep -q "$finds" "$work/said"; then
			echo "broken.sh: does not say $finds"
			found=1
		fi
	done <"$here/broken.list"
	rmmod ummunotify || return
	return $found
}

in_guest()
{
	local rule
	work=/tmp PATH=$build/tests/kernel:$PATH
	for rule in $(rules); do
		{
			echo "== the module as it is"
			run_tests "$rule" "$1/whole/ummunotify.ko" 0 &&
				echo "== the module with $rule" &&
				run_tests "$rule" "$1/$rule/ummunotify.ko" 1
		} >"$logs/kernel-${kernel}_broken-$rule.log" 2>&1 &&
			echo "pass kernel-$kernel/broken-$rule" ||
			echo "fail kernel-$kernel/broken-$rule"
	done
}

skip_or_fail() # STATUS LOG
{
	local word=fail
	[ "$1" = 77 ] && word=skip
	cp "$2" "$logs/kernel-${kernel}_broken.log"
	echo "$word kernel-$kernel/broken"
	exit 0
}

if [ "${4-}" = guest ]; then
	rm -rf "$work"
	in_guest "$5"
	exit
fi

build_module whole || skip_or_fail $? "$work/whole.build"
for rule in $(rules); do
	build_module "$rule" BREAK="$rule" ||
		skip_or_fail $? "$work/$rule.build"
done
# Two processors that really run at once, for TRYLOCK.
"$vm/run" --kernel "$kernel" --threads multi --memory 2048 --time-limit 600 \
	-- "$here/broken.sh" "$build" "$logs" "$kernel" guest "$work" \
	2>"$work/errors" || skip_or_fail $? "$work/errors"
