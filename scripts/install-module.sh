#!/bin/sh
# SPDX-License-Identifier: MIT
# install-module.sh - has DKMS build the kernel module, now and for every kernel
# to come, and loads it, now and at every boot.
#
# usage: install-module.sh [remove]
#
# KERNEL names another kernel than the running one: its module is built, and
# not loaded.  DESTDIR only lays out the files, for who makes a package.
set -eu
cd "$(dirname "$0")/.."

version=$(sed -n 's/^PACKAGE_VERSION="\(.*\)"/\1/p' kmod/dkms.conf)
running=$(uname -r)
kernel=${KERNEL:-$running}
tree=${DESTDIR:-}/usr/src/ummunotify-$version
at_boot=${DESTDIR:-}/etc/modules-load.d/ummunotify.conf

say()
{
	echo "install-module: $*"
}

need_root()
{
	[ "$(id -u)" = 0 ] && return
	say "only root can do this" >&2
	exit 1
}

remove()
{
	need_root
	if grep -q '^ummunotify ' /proc/modules; then
		modprobe -r ummunotify ||
			say "the module is in use; it goes at the next boot"
	fi
	if command -v dkms >/dev/null; then
		dkms remove "ummunotify/$version" --all >/dev/null 2>&1 || true
	fi
	rm -rf "$tree" "$at_boot"
	say "removed"
}

lay_out()
{
	rm -rf "$tree"
	mkdir -p "$tree/kmod" "$tree/include/uapi/linux" \
		"$(dirname "$at_boot")"
	cp kmod/dkms.conf "$tree"
	cp kmod/Kbuild kmod/Makefile kmod/*.[ch] "$tree/kmod"
	cp include/uapi/linux/ummunotify.h "$tree/include/uapi/linux"
	# A device with a number of its own choosing is not loaded on demand.
	cat >"$at_boot" <<-END
		# The device /dev/ummunotify; see ummunotify(4).
		ummunotify
	END
}

build()
{
	if [ ! -e "/lib/modules/$kernel/build" ]; then
		say "no headers of kernel $kernel.  On Debian:" >&2
		say "    apt-get install linux-headers-$kernel" >&2
		exit 1
	fi
	dkms remove "ummunotify/$version" -k "$kernel" >/dev/null 2>&1 || true
	dkms install "ummunotify/$version" -k "$kernel" --force
}

load()
{
	if [ "$kernel" != "$running" ]; then
		say "built for $kernel; it is loaded when that kernel runs"
	elif modprobe ummunotify; then
		say "loaded: $(ls -l /dev/ummunotify)"
	else
		say "this machine does not load modules; programs use" \
			"userfaultfd instead" >&2
		exit 1
	fi
}

if [ "${1:-}" = remove ]; then
	remove
	exit
fi
if [ -n "${DESTDIR:-}" ]; then
	lay_out
	exit
fi
need_root
scripts/install-packages.sh module
lay_out
build
load
