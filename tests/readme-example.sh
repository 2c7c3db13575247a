#!/bin/sh
# SPDX-License-Identifier: MIT
# readme-example.sh - the README shows the example as it is.
#
# The first block of C in README.md has to be what stands between the marks in
# examples/embed-cache.c.  Usage: readme-example.sh SOURCE-DIRECTORY
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

sed -n '/^\/\* ummu: begin \*\/$/,/^\/\* ummu: end \*\/$/p' \
	"$1/examples/embed-cache.c" | sed '1d;$d' >"$work/embed-cache.c"
awk '/^```c$/ { shown = 1; next } /^```$/ && shown { exit } shown' \
	"$1/README.md" >"$work/README.md"

if ! [ -s "$work/embed-cache.c" ]; then
	echo "examples/embed-cache.c: nothing between the marks"
	exit 1
fi
diff -u "$work/embed-cache.c" "$work/README.md"
