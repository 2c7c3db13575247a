#!/bin/bash
# SPDX-License-Identifier: MIT
# libfabric-2.sh - the table of wrong bytes, with the drop-in as this machine's
# libfabric built it, in the 2.x of a later Debian.
#
# usage: libfabric-2.sh BUILD [KERNEL]
#
# In a virtual machine.  Debian's packages are kept beside the kernels.
set -u

here=$(dirname "$(readlink -f "$0")")
vm=${here%/tests/integrations}/scripts/vm
# shellcheck source-path=SCRIPTDIR/../../scripts/vm source=cache.sh
. "$vm/cache.sh"
kept=${kernels%/kernels}/libfabric-2

# One at a time: clones share it.
fetch()
(
	new=$kept.new
	mkdir -p "${kept%/*}"
	exec 9>"$kept.lock"
	flock 9
	[ -s "$kept/version" ] && exit
	rm -rf "$new" "$kept"
	mkdir "$new"
	"$vm/unpack-packages" "$new" trixie libfabric1 ibverbs-providers || exit
	awk '$1 == "libfabric1" { print $2 }' "$new/packages" >"$new/version"
	mv "$new" "$kept"
)

# In the guest, whose files are thrown away: all of it in the other root.
inside() # BUILD COMMAND...
{
	local build=$1 root=$kept/root folder
	shift
	for folder in /proc /sys /dev "$build"; do
		mkdir -p "$root$folder"
		mount --rbind "$folder" "$root$folder" || return
	done
	mkdir -p "$root/tmp"
	FABRIC_IN="chroot $root" "$@"
}

if [ "$1" = inside ]; then
	shift
	inside "$@"
	exit
fi

build=$(readlink -f "$1") kernel=${2:-newest}
[ -e "$build/integrations/libfabric/ummunotify-fi.so" ] || {
	echo 'the drop-in for libfabric was not built'
	exit 77
}
fetch || exit
echo "libfabric $(<"$kept/version")"
"$vm/run" --kernel "$kernel" --module --memory 2048 --time-limit 900 -- \
	"$vm/soft-roce" "$here/libfabric-2.sh" inside "$build" \
	"$here/fabric-table.sh" "$build" kmod uffd memhooks
