#!/bin/bash
# SPDX-License-Identifier: MIT
#
# check.sh - run the Spin models: what must hold holds, what must break breaks.
#
#   check.sh               every case below; exit status 1 if one fails
#   check.sh quick         all but the long ones
#   check.sh trace NAME    the shortest counterexample of one case, step by step;
#                          MODEL/NAME where two models have such a case
#
# SPIN, CC and JOBS may be set in the environment.  Nothing is written outside
# a temporary directory.

set -u
models=$(cd "$(dirname "$0")" && pwd)
SPIN=${SPIN:-spin}
CC=${CC:-gcc}
JOBS=${JOBS:-2}

# model|when|expect|name|what makes it|says
#   quick    always; all: not with "check.sh quick"
#   holds    the search is complete and finds nothing
#   refutes  the search finds that very claim broken
#   reaches  the search finds that the event happens
cases() {
	cases_rcache_uffd | sed 's/^/rcache-uffd|/'
	cases_uffd_reader | sed 's/^/uffd-reader|/'
	cases_kmod | sed 's/^/kmod|/'
}

cases_rcache_uffd() {
	local race="-DOWNERS=3 -DRUDES=0"
	local rude="-DOWNERS=2 -DRUDES=1"
	local pair="-DOWNERS=1 -DRUDES=1"

	cat <<-END
	quick|holds|RUDE|$rude -DMADVISE|one registers what others win from each other
	quick|holds|RACE|$race -DMADVISE|threads win the address from each other
	quick|holds|NO_FIRST_SEQ|$race -DNO_FIRST_SEQ|to look at seq before the probe only saves time
	quick|holds|NO_FIRST_SEQ_RUDE|$pair -DNO_FIRST_SEQ|... here too
	quick|holds|HITS_VALIDATED|$pair -DNO_VALIDATION -DCLAIMS=G1+WON|without VALIDATE after PIN hits stay right
	quick|refutes WON|NO_PROBE|$race -DNO_PROBE|trust the state word alone
	quick|refutes G1|READ_OUTSIDE_LOCK|$race -DREAD_OUTSIDE_LOCK|read the event, then take the lock
	quick|refutes WON|NO_SEQ|$race -DNO_SEQ|do not look at seq again after the probe
	quick|refutes WON|TRUST_EMPTY_QUEUE|$race -DTRUST_EMPTY_QUEUE|EAGAIN and nothing to read: trust it
	quick|refutes G1|WATCH_AFTER_PIN|$pair -DWATCH_AFTER_PIN|pin, then watch
	quick|refutes G2|NO_VALIDATION|$pair -DNO_VALIDATION|publish what was pinned as it is
	quick|refutes REAPED|IGNORE_STALE|$pair -DIGNORE_STALE|publish although REAP has marked it
	quick|refutes G1|SKIP_REGISTER|$pair -DSKIP_REGISTER|where another watch is, do not register again
	quick|refutes G1|LATE_UNREGISTER|$pair -DLATE_UNREGISTER|unregister after the lock is dropped
	quick|refutes G1|RUDE_MADVISE|$pair -DRUDE_MADVISE|get() beside madvise(): the documented exception
	END
	events rcache-uffd | while IFS='|' read -r event says; do
		echo "quick|reaches|$event|$rude -DREACH=$event|$says"
	done
}

cases_uffd_reader() {
	local one="-DRELEASERS=0"
	local when

	# Without sizes: 1 watcher, 1 app.
	cat <<-END
	quick|holds|READER|$one|one watches and gives up, another moves memory
	all|holds|READER_RELEASE|-DRELEASERS=1|a third gives up ranges
	all|holds|READER_APPS|$one -DAPPS=2|two unmap and move memory
	quick|refutes G1|NO_LEAVING|$one -DNO_LEAVING|unregister without L, and without a word
	quick|refutes G1|NO_WAIT|$one -DNO_WAIT|WATCH does not wait for what is leaving
	quick|refutes HANG|NO_SWEEP|$one -DNO_SWEEP|an empty ledger is enough to end
	quick|refutes HANG|END_UNCHECKED|$one -DEND_UNCHECKED|a watch that was armed meanwhile does not matter
	quick|refutes HANG|END_LIVE_ONLY|$one -DEND_LIVE_ONLY|... does if it still is
	quick|refutes HANG|END_NO_PROBE|$one -DEND_NO_PROBE|a sweep without a probe
	quick|refutes HANG|END_NO_EVENTS|$one -DEND_NO_EVENTS|... in which events may be read
	quick|refutes HANG|END_WHILE_LEAVING|$one -DEND_WHILE_LEAVING|end while another thread unregisters
	all|refutes HANG|END_NO_LEDGER|$one -DEND_NO_LEDGER|... or after that has failed
	END
	events uffd-reader | while IFS='|' read -r event says; do
		case $event in
		R_IN_FLIGHT|R_READ) when=all ;;
		*) when=quick ;;
		esac
		echo "$when|reaches|$event|$one -DREACH=$event|$says"
	done
}

cases_kmod() {
	local old="-DCLIENT=OLD"
	local words="-DCLIENT=WORDS"
	local generation="-DCLIENT=GENERATION"
	local own="-DFOREIGN=0"
	local foreign="-DOWN=0"
	local one="-DUSERS=1 -DFOREIGN=0"
	local two="-DFDS=2"
	local room="-DTABLE=2"

	# Without sizes: 2 users, 1 unmapper, 1 foreign task, 1 descriptor.
	cat <<-END
	quick|holds|WORDS|$words|two users of state words
	quick|holds|OLD|$old|two users of the counter and the events of 2010
	quick|holds|GENERATION_OWN|$generation $own|two users of the generation and the log; the unmapper
	quick|holds|GENERATION_FOREIGN|$generation $foreign|... the foreign task
	all|holds|GENERATION|$generation|... both
	all|holds|WORDS_ROOM|$words $room|both windows fit the table
	all|holds|OLD_ROOM|$old $room|... here too
	all|holds|GENERATION_ROOM|$generation $room|... and here
	all|holds|WORDS_TWO|$words $two|a descriptor for each user
	all|holds|OLD_TWO|$old $two|... here too
	all|holds|GENERATION_TWO|$generation $two|... and here
	quick|refutes G2|NO_IN_FLIGHT|$words $one -DNO_IN_FLIGHT|mark at the start only
	quick|refutes G2|NO_IN_FLIGHT_OLD|$old $one -DNO_IN_FLIGHT|... here too
	quick|refutes G2|ONLY_ADDED|$old $one -DONLY_ADDED|the table is for new watches, not for DRAIN
	quick|refutes G2|ONLY_ADDED_REARM|$words $one -DONLY_ADDED|... nor for REARM
	quick|refutes CHANGED|LATE|$words $one -DLATE|mark at the end only
	quick|refutes G1|LATE_FOREIGN|$words -DUSERS=1 $foreign -DLATE|... of another process's window
	quick|refutes G1|TRYLOCK|$words $one -DTRYLOCK|the lock is held: mark some time later
	quick|refutes LAST|NO_LAST|$old $own -DNO_LAST|UNREGISTER drops the event, and that the counter moved
	quick|refutes G1|BOOLEAN|$words -DBOOLEAN|a window in flight is a yes or no
	quick|refutes G1|OVERFLOW_LOST|$words -DOVERFLOW_LOST|what the table has no room for is forgotten
	quick|refutes G1|END_BY_RANGE|$words $room -DEND_BY_RANGE|END takes out a window of another class
	quick|refutes G1|TABLE_LAST|$words $own -DTABLE_LAST|walk over the tree, then enter the window
	quick|refutes G1|ONCE|$old $own -DONCE|the counter moves once for a walk, pauses or not
	quick|refutes G1|GENERATION_FIRST|$generation $own -DGENERATION_FIRST|the generation moves at the first hit of a hold only
	quick|refutes G1|TELL_FIRST|$generation $own -DTELL_FIRST|the generation moves before the event is logged
	quick|refutes G1|LOAD_LATE|$generation $own -DLOAD_LATE|read the log, then load the generation
	quick|refutes G1|RESET|$words $own -DRESET|a state word takes a value it has had before
	quick|refutes G1|WORD_STAYS|$words $own -DWORD_STAYS|UNWATCH leaves the state word as it is
	quick|refutes ROOM|ARM_ANYWAY|$words $own -DARM_ANYWAY|arm although the log has no room
	quick|refutes G2|NO_VALIDATION|$words $one -DNO_VALIDATION|publish what was pinned as it is
	quick|refutes G2|VALIDATE_FIRST|$words $one -DVALIDATE_FIRST|validate, then pin
	END
	events kmod | while IFS='|' read -r event says; do
		case $event in
		R_OVER*) tasks= ;;
		*) tasks=" $own" ;;
		esac
		for client in ${says%%:*}; do
			echo "quick|reaches|${event}_$client|-DCLIENT=$client$tasks -DREACH=$event|${says#*: }"
		done
	done
}

# The events that a model says it is about.
events() {
	sed -n 's/^#define \(R_[A-Z_]*\)[^*]*\* \(.*\) \*.*/\1|\2/p' "$models/$1.pml"
}

# build MODEL EXPECT DEFINES: ./pan, and the ./model.pml that it is made from, in
# the current directory.  We preprocess, and keep comments, because Spin loses
# count of lines in what the preprocessor leaves to it.
# shellcheck disable=SC2086
build() {
	local search="-O0 -DBFS" # the shortest counterexample first
	local defines=$3

	case $2 in
	holds) search="-O2" ;;
	refutes*) defines="$3 -DCLAIMS=${2#* }" ;;
	esac
	$CC -E -P -C -nostdinc -x c $defines "$models/$1.pml" >model.pml &&
		$SPIN -a model.pml &&
		$CC $search -DSAFETY -DMEMLIM=1900 -w -o pan pan.c
}

# complaint MODEL EXPECT: why ./out does not show that; nothing if it does.
complaint() {
	local violated bit

	violated=$(sed -n 's/^pan:1: assertion violated//p' out)
	case $2 in
	holds)
		if ! grep -q '^Full statespace search' out ||
		   ! grep -q 'errors: 0$' out; then
			echo "does not hold: ${violated:-$(grep -m1 -i 'pan:\|error' out)}"
		elif grep -qi 'not completed\|too small\|MEMLIM\|memory bound' out; then
			echo "the search was cut short"
		fi ;;
	refutes*)
		bit=$(sed -n "s/^#define ${2#* }[[:space:]]*\([0-9]*\).*/\1/p" "$models/$1.pml")
		case $violated in
		*"($bit&$bit)"*) ;;
		*) echo "not refuted: ${violated:-$(grep -m1 -i 'pan:\|error' out)}" ;;
		esac ;;
	reaches)
		echo "$violated" | grep -q '^ *((*\([0-9]*\)!=\1)' ||
			echo "never happens: ${violated:-$(grep -m1 -i 'pan:\|error' out)}" ;;
	esac
}

# run_case MODEL EXPECT NAME DEFINES SAYS
run_case() {
	local states seconds steps bad=ok why

	if build "$1" "$2" "$4" >out 2>&1; then
		./pan -m4000000 -w23 >out 2>&1
		why=$(complaint "$1" "$2")
	else
		why="does not build: $(tail -n 1 out)"
	fi
	[ -n "$why" ] && bad=FAIL
	states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' out)
	seconds=$(sed -n 's/^pan: elapsed time \([0-9.]*\).*/\1/p' out)
	steps=$(sed -n 's/.*assertion violated.*(at depth \([0-9]*\)).*/\1 steps: /p' out)
	printf '%-4s %-15s %-23s %8s states %5s s  %s%s\n' "$bad" "$2" "$3" \
		"${states:-?}" "${seconds:-?}" "$steps" "${why:-$5}"
}

# The trail as one line for each turn of a thread: which labels it passed.
story() {
	awk -v owners="$1" '
	function name(kind) {
		if (kind != "user")
			return kind
		if (owners == "")
			return "user " users++
		return (users < owners ? "owner " : "rude ") users++
	}
	NR == FNR {
		if (match($0, /^(\/\* )?[A-Z_]+:/)) {
			at = substr($0, 1, RLENGTH - 1)
			sub(/^\/\* /, "", at)
		} else if (/^[a-z]|^\/\* its end/) {
			at = ""
		}
		label[FNR] = at
		next
	}
	/assertion violated/ { exit }
	/^Starting / { who[$5] = name($2) }
	match($0, /model.pml:[0-9]+ .*\[/) {
		at = label[substr($0, RSTART + 10) + 0]
		if (/\(reader:/)
			who[$3] = "reader"
		if (at == "" || !($3 in who) || ($3 at) == last)
			next
		if ($3 != turn)
			printf "%s%-9s", turn == "" ? "" : "\n", who[$3]
		printf " %s", at
		turn = $3
		last = $3 at
	}
	END { print "" }
	' model.pml -
}

trace() {
	local found model expect name defines says

	found=$(cases | awk -F'|' -v name="$1" \
		'$4 == name || $1 "/" $4 == name')
	if [ "$(echo "$found" | wc -l)" -gt 1 ]; then
		echo "more than one model has a case '$1': say MODEL/$1" >&2
		exit 2
	fi
	IFS='|' read -r model _ expect name defines says <<<"$found"
	case $expect in
	"") echo "no case is called '$1'" >&2; exit 2 ;;
	holds) echo "$name holds: it has no counterexample" >&2; exit 2 ;;
	esac
	cd "$work" || exit 2
	echo "$expect $name: $says"
	build "$model" "$expect" "$defines" && ./pan -m4000000 -w23 >out || exit 2
	$SPIN -t -p model.pml |
		story "$(sed -n 's/.*-DOWNERS=\([0-9]*\).*/\1/p' <<<"$defines")"
}

work=$(mktemp -d "${TMPDIR:-/tmp}/check-model.XXXXXX") || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

case ${1:-all} in
all) cases >"$work/cases" ;;
quick) cases | grep '^[^|]*|quick|' >"$work/cases" ;;
trace) trace "${2:-}"; exit ;;
*) echo "usage: check.sh [quick | trace NAME]" >&2; exit 2 ;;
esac

number=0
while IFS='|' read -r model _ expect name defines says; do
	number=$((number + 1))
	while [ "$(jobs -rp | wc -l)" -ge "$JOBS" ]; do wait -n; done
	mkdir "$work/$number"
	(cd "$work/$number" && run_case "$model" "$expect" "$name" "$defines" "$says" \
		>line 2>&1; rm -f pan pan.?) &
done <"$work/cases"
wait

passed=0
failed=0
section=
for i in $(seq "$number"); do
	model=$(sed -n "${i}s/|.*//p" "$work/cases")
	[ "$model" = "$section" ] || echo "$model.pml"
	section=$model
	cat "$work/$i/line"
	case $(cat "$work/$i/line") in
	"ok "*) passed=$((passed + 1)) ;;
	*) failed=$((failed + 1)) ;;
	esac
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
