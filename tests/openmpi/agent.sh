#!/bin/bash
# SPDX-License-Identifier: MIT
# agent.sh - what mpirun uses in place of ssh: runs a command on node2.
#
# usage: agent.sh HOST COMMAND...
#
# The nodes share the folder EXCHANGE.
set -eu

[ "$1" = node2 ] || exit 1
shift
rm -f "$EXCHANGE/status"
echo "$*" >"$EXCHANGE/command.new"
mv "$EXCHANGE/command.new" "$EXCHANGE/command"
until [ -s "$EXCHANGE/status" ]; do
	sleep 0.2
done
exit "$(<"$EXCHANGE/status")"
