#!/bin/sh
# SPDX-License-Identifier: MIT
# calls-listed.sh - each call that a library exports is in calls-keep-errno.c.
#
# usage: calls-listed.sh SOURCE-FOLDER
set -eu

cd "$1"
status=0
count=0
for call in $(sed -n 's/^\t\t\(ummu_[a-z0-9_]*\);$/\1/p' \
	lib/*.map pinners/*.map); do
	case $call in
	*_ops | ummu_pin_verbs_*) continue ;; # no call; needs an adapter
	esac
	count=$((count + 1))
	grep -q "KEEPS.*$call(" tests/calls-keep-errno.c && continue
	echo "tests/calls-keep-errno.c does not call $call()"
	status=1
done
echo "$count calls"
[ "$count" -gt 20 ] || status=1
exit $status
