#!/bin/sh
# SPDX-License-Identifier: MIT
# install-packages.sh - makes sure that the Debian packages of a task are there.
#
# usage: install-packages.sh build|bench|drop-ins|check|model|format|module|vm|plot...
#
# Touches neither apt nor the network when nothing is missing.
set -eu

packages_of()
{
	case $1 in
	build)
		echo gcc libc6-dev meson ninja-build pkg-config \
			libibverbs-dev libjson-c-dev liburing-dev ;;
	bench)
		# What the cache is compared with, plots, callgrind.
		echo binutils gnuplot-nox libck-dev libucx-dev python3 valgrind ;;
	drop-ins)
		echo libfabric-dev libopenmpi-dev ;;
	check)
		# llvm: names for the sanitizers' addresses.
		echo binutils clang clang-format g++ git libcmocka-dev \
			libfabric-bin llvm mandoc openmpi-bin python3 valgrind ;;
	model)
		echo gcc libc6-dev spin ;;
	format)
		echo clang-format git ;;
	module)
		echo dkms kmod make ;;
	vm)
		# The kernels' archives, and how they are compressed; soft-RoCE
		# and what runs over it.
		echo cpio debian-archive-keyring ibverbs-providers iproute2 \
			kmod libfabric-bin qemu-system-x86 stress-ng xz-utils \
			zstd ;;
	plot)
		echo gnuplot-nox ;;
	*)
		echo "install-packages.sh: no such task: $1" >&2
		exit 2 ;;
	esac
}

missing_of()
{
	for package; do
		status=$(dpkg-query -W -f='${db:Status-Status}' "$package" \
			2>/dev/null) || status=
		[ "$status" = installed ] || printf '%s ' "$package"
	done
}

give_up()
{
	echo "$1  Please install:" >&2
	echo "    $missing" >&2
	exit 1
}

install()
{
	missing=$(missing_of "$@")
	[ -n "$missing" ] || return 0

	[ "$(id -u)" = 0 ] || give_up "Packages are missing, and only root can install them."

	echo "Installing Debian packages: $missing"
	export DEBIAN_FRONTEND=noninteractive
	# Packages that are there before the update need no network for it.
	apt-get update -qq </dev/null ||
		echo "apt-get update failed; trying with what apt knows." >&2
	# shellcheck disable=SC2086 # a list of names
	apt-get install -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 \
		$missing </dev/null >/dev/null ||
		give_up "apt-get could not install what is missing."
}

if ! command -v dpkg-query >/dev/null; then
	echo "This is not Debian: the tools must be there already." >&2
	exit 0
fi

for task; do
	packages=$(packages_of "$task")
	# shellcheck disable=SC2086 # a list of names
	install $packages
	if [ "$task" = check ]; then
		# The sanitizers' and libFuzzer's runtime, of clang's own version.
		major=$(clang -dumpversion | cut -d. -f1)
		install "libclang-rt-$major-dev"
	fi
done
