#!/bin/bash
# SPDX-License-Identifier: MIT
# demo.sh - runs `ummunotify demo` as root and as nobody, and checks its numbers.
#
# usage: demo.sh BUILD-FOLDER
#
# Not root: runs it as whoever calls.  77 where no monitor or no io_uring works.
set -u

build=$(readlink -f "${1:?usage: demo.sh BUILD-FOLDER}")
tool=$build/tools/ummunotify
failed=0

# Not TMPDIR, which may be small or hidden from nobody.
scratch=$(mktemp -d /var/tmp/demo-test-XXXXXX) || exit 1
trap 'rm -rf "$scratch"' EXIT
mkdir -m 1777 "$scratch/out"
chmod 755 "$scratch"

check() # NAME COMMAND...
{
	local name=$1
	shift
	if "$@"; then
		echo "pass $name"
	else
		echo "FAIL $name"
		failed=1
	fi
}

# RESULT CONDITION: d is the document, u, n and t the three ways
holds()
{
	python3 - "$@" <<-'END'
	import json, sys
	d = json.load(open(sys.argv[1]))
	u, n, t = d["uncached"], d["untold"], d["ummunotify"]
	ok = bool(eval(sys.argv[2]))
	if not ok:
	    print(sys.argv[2], "does not hold:", json.dumps(d))
	sys.exit(not ok)
	END
}

has_right_numbers() # RESULT
{
	holds "$1" 'd["schema"] == 1' &&
	holds "$1" 'n["wrong_blocks"] > 0' &&
	holds "$1" 't["wrong_blocks"] == 0 and u["wrong_blocks"] == 0' &&
	holds "$1" 'u["registrations"] >= 20 * t["registrations"] > 0' &&
	holds "$1" 'u["blocks"] == n["blocks"] == t["blocks"] >= 1024' &&
	holds "$1" 'u["registrations"] == 2 * u["blocks"]' &&
	holds "$1" 'min(x["remaps"] for x in (u, n, t)) > 0' &&
	holds "$1" 'min(x["bytes_per_second"] for x in (u, n, t)) > 0' &&
	holds "$1" 'type(d["direct"]) is bool and d["backend"]'
}

is_empty() # FOLDER
{
	[ -z "$(ls -A "$1")" ] && return
	ls -lA "$1"
	return 1
}

exits() # STATUS ARGUMENT...
{
	local wanted=$1 got
	shift
	"$tool" demo "$@" >"$scratch/said" 2>&1
	got=$?
	[ $got = "$wanted" ] && return
	echo "exit status $got:"
	cat "$scratch/said"
	return 1
}

says() # PATTERN ARGUMENT...
{
	local pattern=$1
	shift
	exits 3 "$@" && grep -q "$pattern" "$scratch/said"
}

# Ends the demo in the middle; what it made must be gone.
interrupted() # SIGNAL
{
	local pid got
	# a shell ignores SIGINT for what runs in its background
	env --default-signal=INT "$tool" demo --directory "$scratch/out" \
		>"$scratch/said" 2>&1 &
	pid=$!
	sleep 1
	kill -"$1" $pid
	wait $pid 2>/dev/null
	got=$?
	if [ $got != $((128 + $(kill -l "$1"))) ]; then
		echo "exit status $got:"
		cat "$scratch/said"
		return 1
	fi
	is_empty "$scratch/out"
}

# Where nobody can read, with the libraries where the tool looks for them.
copy_for_nobody()
{
	local file
	for file in tools/ummunotify lib/libummunotify.so.1 \
		pinners/libummunotify-uring.so.1; do
		mkdir -p "$scratch/build/${file%/*}"
		cp -L "$build/$file" "$scratch/build/$file"
	done
	chmod -R a+rX "$scratch/build"
}

"$tool" demo --json >"$scratch/default" 2>"$scratch/said"
status=$?
if [ $status = 3 ] && grep -Eq 'no monitor works|io_uring' "$scratch/said"; then
	cat "$scratch/said"
	exit 77
fi
check "a large file of the system" test $status = 0
check "its numbers" has_right_numbers "$scratch/default"
check "it is large" holds "$scratch/default" 'd["bytes"] >= 1 << 20'

# A short file with an odd end is copied again and again.
cat "$tool" "$tool" "$tool" "$tool" "$tool" "$tool" "$tool" "$tool" |
	head -c 1234567 >"$scratch/odd"
"$tool" demo --json --directory "$scratch/out" "$scratch/odd" >"$scratch/short"
check "a short file" test $? = 0
check "its numbers" has_right_numbers "$scratch/short"
check "it was named" holds "$scratch/short" \
	'd["file"].endswith("/odd") and d["bytes"] == 1234567'
printf x >"$scratch/byte"
check "a file of one byte" exits 0 "$scratch/byte"
check "for people" grep -q '^ummunotify: every block is right' "$scratch/said"
check "nothing left behind" is_empty "$scratch/out"

if [ "$(id -u)" = 0 ]; then
	copy_for_nobody
	(cd / && env -u TMPDIR runuser -u nobody -- \
		"$scratch/build/tools/ummunotify" demo --json \
		--directory "$scratch/out" "$scratch/odd") >"$scratch/nobody"
	check "as nobody" test $? = 0
	check "its numbers" has_right_numbers "$scratch/nobody"
	check "nothing left behind" is_empty "$scratch/out"
fi

UMMU_MONITOR=none "$tool" demo --json "$scratch/odd" >"$scratch/none"
check "without a backend" test $? = 0
check "it registers each time" holds "$scratch/none" \
	't["registrations"] == u["registrations"] and t["wrong_blocks"] == 0'

check "interrupt" interrupted INT
check "kill" interrupted KILL
check "two files" exits 2 "$scratch/odd" "$scratch/odd"
check "unknown option" exits 2 --nonsense
check "no such file" says 'No such file' "$scratch/missing"
check "a folder" says 'not a regular file' "$scratch"
: >"$scratch/empty"
check "an empty file" says 'is empty' "$scratch/empty"
check "no such folder" says 'No such file' --directory "$scratch/missing"
truncate -s 1P "$scratch/huge" 2>/dev/null || truncate -s 8T "$scratch/huge"
check "no room" says 'free and the demo needs' "$scratch/huge"

exit $failed
