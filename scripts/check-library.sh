#!/bin/sh
# SPDX-License-Identifier: MIT
# check-library.sh - holds a built library against its map and its headers.
#
# usage: check-library.sh LIBRARY MAP NEEDED HEADER...
#
# What the library exports is what the map names and what the headers declare,
# and it needs no library but those in NEEDED (a pattern for grep -E).
set -eu

library=$1 map=$2 needed=$3
shift 3

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The versions' own names are absolute symbols.
nm -D --defined-only --format=posix "$library" |
	sed '/ A /d; s/[@ ].*//' | sort >"$work/exported"

sed -n 's/^\t\t\(ummu_[a-z0-9_]*\);$/\1/p' "$map" | sort >"$work/map"

# Declarations begin in the first column; inline functions are static.
grep -hE '^[a-z].*\bummu_[a-z0-9_]+(\(|;)' "$@" | grep -v '^static' |
	sed -E 's/^[^(]*\b(ummu_[a-z0-9_]+)(\(|;).*/\1/' |
	sort >"$work/headers"
# "struct name;" declares no symbol.
grep -hE '^struct ummu_[a-z0-9_]+;' "$@" |
	sed -E 's/struct (.*);.*/\1/' | sort >"$work/types"
comm -23 "$work/headers" "$work/types" >"$work/declared"

status=0
diff -u "$work/map" "$work/exported" || status=1
diff -u "$work/map" "$work/declared" || status=1

if readelf -d "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' |
	grep -vE "^($needed|libc\.so\.6|ld-linux.*)\$"; then
	echo "$library needs the libraries above, and must not"
	status=1
fi
exit $status
