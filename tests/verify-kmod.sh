#!/bin/bash
# SPDX-License-Identifier: MIT
# verify-kmod.sh - runs the operation matrix on the kernel module, as root and in
# part as nobody, and checks that every page that left was told of.
#
# usage: verify-kmod.sh BUILD-FOLDER
#
# 77 where the module is not loaded.
set -u

build=$(readlink -f "${1:?usage: verify-kmod.sh BUILD-FOLDER}")
here=$(dirname "$(readlink -f "$0")")
failed=0
unset UMMU_MONITOR

[ -e /dev/ummunotify ] || exit 77
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
	for file in tools/ummunotify lib/libummunotify.so.1 \
		pinners/libummunotify-uring.so.1; do
		mkdir -p "$scratch/build/${file%/*}"
		cp -L "$build/$file" "$scratch/build/$file"
	done
	chmod -R a+rX "$scratch/build"
}

copy_for_everybody
tool=$scratch/build/tools/ummunotify
cd / || exit

# Emulated machines are slow, and this one may be busy.
"$tool" verify --backend kmod --timeout 300 --json >"$scratch/root.json"
check "root: exit status" [ $? = 0 ]
check "root: rows" python3 "$here/verify-rows.py" "$scratch/root.json" \
	--backend kmod --rows 500 --caught 330 --root
runuser -u nobody -- "$tool" verify --timeout 300 --json --only munmap \
	>"$scratch/nobody.json"
check "nobody: exit status" [ $? = 0 ]
check "nobody: gets the module" grep -q '"backend": *"kmod"' \
	"$scratch/nobody.json"
check "nobody: nothing is missed" grep -q '"missed": *0' \
	"$scratch/nobody.json"
exit $failed
