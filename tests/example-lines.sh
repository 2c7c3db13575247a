#!/bin/sh
# SPDX-License-Identifier: MIT
# example-lines.sh - what a program needs to embed the cache stays short.
#
# Counts the lines that are not blank between the marks in
# examples/embed-cache.c.  Usage: example-lines.sh SOURCE-DIRECTORY
set -eu

file=$1/examples/embed-cache.c
limit=25

marks=$(grep -c '^/\* ummu: \(begin\|end\) \*/$' "$file")
if [ "$marks" -ne 2 ]; then
	echo "$file: $marks marks; expected one begin and one end"
	exit 1
fi
lines=$(sed -n '/ummu: begin/,/ummu: end/p' "$file" |
	sed '1d;$d' | grep -c '[^[:space:]]')
echo "$lines lines, $limit allowed"
[ "$lines" -gt 0 ] && [ "$lines" -le "$limit" ]
