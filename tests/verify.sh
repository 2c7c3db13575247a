#!/bin/bash
# SPDX-License-Identifier: MIT
# verify.sh - runs the operation matrix as root and as nobody, and checks it.
#
# usage: verify.sh BUILD-FOLDER
#
# Not root: runs it as whoever calls.  On userfaultfd; 77 where there is none.
set -u
export UMMU_MONITOR=uffd

build=$(readlink -f "${1:?usage: verify.sh BUILD-FOLDER}")
here=$(dirname "$(readlink -f "$0")")
setting=/proc/sys/vm/nr_hugepages
failed=0
export TSAN_OPTIONS=${TSAN_OPTIONS:-}:atexit_sleep_ms=0

scratch=$(mktemp -d) || exit 1
chmod 755 "$scratch"
trap 'rm -rf "$scratch"' EXIT

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

# What nobody can read, with the libraries where the tool looks for them.
copy_for_everybody()
{
	local file
	while read -r file; do
		mkdir -p "$scratch/build/$(dirname "$file")"
		cp -L "$build/$file" "$scratch/build/$file"
	done < <(cd "$build" && find tools lib pinners -maxdepth 1 -xtype f \
		\( -name ummunotify -o -name '*.so' -o -name '*.so.[0-9]' \))
	chmod -R a+rX "$scratch/build"
}

# A row that takes so many seconds hangs, on a busy machine too.
patience=100

# It has to give back what it borrowed, however it ends.
restores_after() # SIGNAL
{
	local before during after pid i
	wait_for_others
	before=$(cat "$setting")
	# a shell ignores SIGINT for what runs in its background
	env --default-signal=INT "$tool" verify >"$scratch/killed" 2>&1 &
	pid=$!
	for ((i = 0; i < 2000; i++)); do
		during=$(cat "$setting")
		[ "$during" != "$before" ] && break
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.05
	done
	kill -"$1" "$pid"
	wait "$pid" 2>/dev/null
	for ((i = 0; i < 2000; i++)); do
		after=$(cat "$setting")
		[ "$after" = "$before" ] && break
		# only what cannot be caught may take a moment longer
		[ "$1" = KILL ] || break
		sleep 0.05
	done
	echo "nr_hugepages $before, $during during the run, $after after SIG$1"
	[ "$before" = "$after" ] && [ "$during" != "$before" ]
}

# Another run that borrows the same setting has its turn first.
wait_for_others()
{
	flock -w 300 "$setting" true
}

copy_for_everybody
tool=$scratch/build/tools/ummunotify

if ! "$tool" status >"$scratch/status" 2>&1; then
	cat "$scratch/status"
	exit 77
fi

"$tool" verify --timeout $patience --only munmap --json >"$scratch/only.json"
check "only what is asked for" [ $? = 0 ]
"$tool" verify --only nonsense >/dev/null 2>&1
check "which must be there" [ $? = 2 ]

# ThreadSanitizer takes 0.1 s or more to start each row's process.
if nm "$build/tools/ummunotify" | grep -q __tsan_init; then
	echo "the rest is for builds without ThreadSanitizer"
	exit $failed
fi

if [ "$(id -u)" = 0 ]; then
	wait_for_others
	before=$(cat "$setting")
	(cd / && "$tool" verify --timeout $patience --json) \
		>"$scratch/root.json"
	check "root: exit status" [ $? = 0 ]
	check "root: rows" python3 "$here/verify-rows.py" \
		"$scratch/root.json" --rows 60 --caught 30 --root
	check "root: nr_hugepages is $before again" \
		[ "$(cat "$setting")" = "$before" ]
	if [ -w $setting ] &&
		[ "$(awk '/HugePages_Free/{print $2}' /proc/meminfo)" -lt 16 ]
	then
		for signal in INT TERM HUP KILL; do
			check "restored after SIG$signal" restores_after $signal
		done
	fi
	(cd / && runuser -u nobody -- "$tool" verify --timeout $patience \
		--json) >"$scratch/nobody.json"
	check "nobody: exit status" [ $? = 0 ]
else
	"$tool" verify --timeout $patience --json >"$scratch/nobody.json"
	check "exit status" [ $? = 0 ]
fi
check "nobody: rows" python3 "$here/verify-rows.py" \
	"$scratch/nobody.json" --rows 40 --caught 30

# And it has to be able to fail.
verify_overclaimed()
{
	LD_PRELOAD=$scratch/overclaim.so "$tool" verify --timeout $patience \
		--only shmdt
	[ $? = 1 ]
}

preloaded() # NAME
{
	${CC:-cc} -shared -fPIC -I "$here/../include" \
		-o "$scratch/$1.so" "$here/verify-$1.c"
}

# The sanitizers' run-time libraries want to be the first that are loaded.
if ! nm "$build/tools/ummunotify" | grep -q __asan_init; then
	preloaded overclaim
	check "what is claimed and missed is exit status 1" verify_overclaimed
	preloaded crash
	check "a row that crashes or hangs is exit status 1" \
		python3 "$here/verify-crash.py" "$tool" "$scratch/crash.so"
fi

(cd / && "$tool" verify --backend none --timeout $patience --json) \
	>"$scratch/none.json"
check "backend none: watches nothing, breaks nothing" [ $? = 0 ]
"$tool" verify --backend nonsense >/dev/null 2>&1
check "an unknown backend is exit status 3" [ $? = 3 ]
"$tool" verify nonsense >/dev/null 2>&1
check "an unknown argument is exit status 2" [ $? = 2 ]
exit $failed
