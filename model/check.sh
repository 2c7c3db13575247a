#!/bin/bash
# SPDX-License-Identifier: MIT
#
# check.sh - run the Spin model: what must hold holds, what must break breaks.
#
#   check.sh               every case below; exit status 1 if one fails
#   check.sh trace NAME    the shortest counterexample of one case, step by step
#
# SPIN, CC and JOBS may be set in the environment.  Nothing is written outside
# a temporary directory.

set -u
model=$(dirname "$0")/rcache-uffd.pml
SPIN=${SPIN:-spin}
CC=${CC:-gcc}
JOBS=${JOBS:-2}

race="-DOWNERS=3 -DRUDES=0"
rude="-DOWNERS=2 -DRUDES=1"
pair="-DOWNERS=1 -DRUDES=1"

# expect|name|what makes it|says
#   holds    the search is complete and finds nothing
#   refutes  the search finds that very claim broken (G1, WON, G2, REAPED)
#   reaches  the search finds that the event happens
cases() {
	cat <<-END
	holds|RACE|$race -DMADVISE|threads win the address from each other
	holds|RUDE|$rude -DMADVISE|... and one registers what is not its own
	holds|NO_FIRST_SEQ|$race -DNO_FIRST_SEQ|to look at seq before the probe only saves time
	holds|NO_FIRST_SEQ_RUDE|$pair -DNO_FIRST_SEQ|... here too
	holds|HITS_VALIDATED|$pair -DNO_VALIDATION -DCLAIMS=G1+WON|without VALIDATE after PIN hits stay right
	refutes WON|NO_PROBE|$race -DNO_PROBE|trust the state word alone
	refutes G1|READ_OUTSIDE_LOCK|$race -DREAD_OUTSIDE_LOCK|read the event, then take the lock
	refutes WON|NO_SEQ|$race -DNO_SEQ|do not look at seq again after the probe
	refutes WON|TRUST_EMPTY_QUEUE|$race -DTRUST_EMPTY_QUEUE|EAGAIN and nothing to read: trust it
	refutes G1|WATCH_AFTER_PIN|$pair -DWATCH_AFTER_PIN|pin, then watch
	refutes G2|NO_VALIDATION|$pair -DNO_VALIDATION|publish what was pinned as it is
	refutes REAPED|IGNORE_STALE|$pair -DIGNORE_STALE|publish although REAP has marked it
	refutes G1|SKIP_REGISTER|$pair -DSKIP_REGISTER|where another watch is, do not register again
	refutes G1|LATE_UNREGISTER|$pair -DLATE_UNREGISTER|unregister after the lock is dropped
	refutes G1|RUDE_MADVISE|$pair -DRUDE_MADVISE|get() beside madvise(): the documented exception
	END
	sed -n 's/^#define \(R_[A-Z_]*\)[^*]*\* \(.*\) \*.*/\1|\2/p' "$model" |
	while IFS='|' read -r event says; do
		echo "reaches|$event|$rude -DREACH=$event|$says"
	done
}

# build EXPECT DEFINES: ./pan from ./model.pml, in the current directory
# shellcheck disable=SC2086
build() {
	local search="-O0 -DBFS" # the shortest counterexample first
	local defines=$2

	case $1 in
	holds) search="-O2 -DCOLLAPSE" ;;
	refutes*) defines="$2 -DCLAIMS=${1#* }" ;;
	esac
	$SPIN -a $defines model.pml &&
		$CC $search -DSAFETY -DMEMLIM=900 -w -o pan pan.c
}

# Why the output does not show what was expected; nothing if it does.
complaint() {
	local violated bit

	violated=$(sed -n 's/^pan:1: assertion violated//p' out)
	case $1 in
	holds)
		if ! grep -q '^Full statespace search' out ||
		   ! grep -q 'errors: 0$' out; then
			echo "does not hold: ${violated:-$(grep -m1 -i 'pan:\|error' out)}"
		elif grep -qi 'not completed\|too small\|MEMLIM\|memory bound' out; then
			echo "the search was cut short"
		fi ;;
	refutes*)
		bit=$(sed -n "s/^#define ${1#* }[[:space:]]*\([0-9]*\).*/\1/p" model.pml)
		case $violated in
		*"($bit&$bit)"*) ;;
		*) echo "not refuted: ${violated:-$(grep -m1 -i 'pan:\|error' out)}" ;;
		esac ;;
	reaches)
		echo "$violated" | grep -q '^ *(\([0-9]*\)!=\1)' ||
			echo "never happens: ${violated:-$(grep -m1 -i 'pan:\|error' out)}" ;;
	esac
}

run_case() {
	local states seconds steps bad=ok why

	if build "$1" "$3" >out 2>&1; then
		./pan -m1000000 -w22 >out 2>&1
		why=$(complaint "$1")
	else
		why="does not build: $(tail -n 1 out)"
	fi
	[ -n "$why" ] && bad=FAIL
	states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' out)
	seconds=$(sed -n 's/^pan: elapsed time \([0-9.]*\).*/\1/p' out)
	steps=$(sed -n 's/.*assertion violated.*(at depth \([0-9]*\)).*/\1 steps: /p' out)
	printf '%-4s %-14s %-18s %8s states %5s s  %s%s\n' "$bad" "$1" "$2" \
		"${states:-?}" "${seconds:-?}" "$steps" "${why:-$4}"
}

# The trail as one line for each turn of a thread: which labels it passed.
story() {
	awk -v owners="$1" '
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
	match($0, /model.pml:[0-9]+ .*\[/) {
		at = label[substr($0, RSTART + 10) + 0]
		who = $0
		sub(/^.*proc +/, "", who)
		user = who - 2
		who = who ~ /reader/ ? "reader" : \
		      (user < owners ? "owner " : "rude ") user
		if (at == "" || user == -1 || (who at) == last)
			next
		if (who != turn)
			printf "%s%-8s", (NR > FNR && turn) ? "\n" : "", who
		printf " %s", at
		turn = who
		last = who at
	}
	END { print "" }
	' model.pml -
}

# shellcheck disable=SC2086
trace() {
	local expect name defines says

	IFS='|' read -r expect name defines says < <(cases | grep "^[^|]*|$1|")
	case $expect in
	"") echo "no case is called '$1'" >&2; exit 2 ;;
	holds) echo "$name holds: it has no counterexample" >&2; exit 2 ;;
	refutes*) defines="$defines -DCLAIMS=${expect#* }" ;;
	esac
	echo "$expect $name: $says"
	build "$expect" "$defines" && ./pan -m1000000 -w22 >out || exit 2
	set -- $defines
	$SPIN -t -p $defines model.pml | story "${1#*=}"
}

work=$(mktemp -d "${TMPDIR:-/tmp}/check-model.XXXXXX") || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

if [ "${1:-}" = trace ]; then
	mkdir "$work/trace" && cp "$model" "$work/trace/model.pml" &&
		cd "$work/trace" || exit 2
	model=model.pml
	trace "${2:-}"
	exit
fi

cases >"$work/cases"
number=0
while IFS='|' read -r expect name defines says; do
	number=$((number + 1))
	while [ "$(jobs -rp | wc -l)" -ge "$JOBS" ]; do wait -n; done
	mkdir "$work/$number"
	cp "$model" "$work/$number/model.pml"
	(cd "$work/$number" && run_case "$expect" "$name" "$defines" "$says" \
		>line 2>&1; rm -f pan pan.?) &
done <"$work/cases"
wait

passed=0
failed=0
for i in $(seq "$number"); do
	cat "$work/$i/line"
	case $(cat "$work/$i/line") in
	"ok "*) passed=$((passed + 1)) ;;
	*) failed=$((failed + 1)) ;;
	esac
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
