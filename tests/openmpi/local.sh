#!/bin/bash
# SPDX-License-Identifier: MIT
# local.sh - the drop-in for Open MPI without an RDMA adapter.
#
# usage: local.sh BUILD
#
# Over libfabric's provider on sockets: it registers nothing, so no message goes
# wrong, but Open MPI's cache is asked all the same, and counts.
set -u

build=$(readlink -f "$1")
# shellcheck source=/dev/null
. "$build/tests/openmpi/jobs.sh"
program=$build/tests/openmpi/mpi-remap
JOB_SECONDS=200

need mpirun
need ompi_info

sockets=(--mca pml ob1 --mca btl 'self,ofi' --mca btl_ofi_mode 2
	--mca opal_common_ofi_provider_include sockets)

# Both processes together.
misses() # NAME
{
	hits_and_misses "$1" | cut -d ' ' -f 2
}

has() # NAME COUNT PATTERN
{
	local found
	found=$(grep -c -- "$3" "$work/$1")
	[ "$found" = "$2" ] || fail "$1: $found lines and not $2: $3"
}

says_what_it_is()
{
	OMPI_MCA_mca_base_component_path=$drop_in:SYSTEM_DEFAULT \
		ompi_info --param memory ummunotify --level 9 >"$work/info" 2>&1
	has info 1 'MCA memory: ummunotify (MCA v2.1.0, API v2.0.0, Component v'
	has info 1 'memory_ummunotify_library_version'
	has info 1 'memory_ummunotify_priority" (current value: "90"'
}

# In five of the ways that hooks in libc do not see, three times in each of two
# processes, what memory/patcher's lookup finds the drop-in's does not.
finds_less()
{
	arm patcher
	job patcher "${sockets[@]}" "$program"
	arm uffd
	job uffd "${sockets[@]}" "${arm[@]}" "$program"
	echo "misses: patcher $(misses patcher), uffd $(misses uffd)"
	[ "$(misses uffd)" -ge $(($(misses patcher) + 30)) ] ||
		fail 'memory that has gone was found'
	told uffd
	[ "$(told uffd | grep -c '^uffd: ')" = 2 ] ||
		fail 'no word of the drop-in from one of the two'
}

# Whatever memory component there is, the job is done.
works() # NAME ARGUMENT...
{
	local name=$1
	shift
	job "$name" "${sockets[@]}" "$@" --mca mpi_warn_on_fork 0 \
		"$program" --fork
	has "$name" 1 '^row	children of fork	1	1	0	0	'
}

children_are_left_alone()
{
	arm uffd
	works forks "${arm[@]}"
	has forks 2 'memory/ummunotify: uffd: '
}

# One line, of one process.
steps_aside()
{
	arm nonsense
	works nonsense "${arm[@]}"
	has nonsense 1 'memory/ummunotify: '
	has nonsense 1 'memory/ummunotify: not used, memory/patcher is: .*"nonsense"'

	arm uffd
	works series "${arm[@]}" \
		-x "LD_PRELOAD=$build/tests/openmpi/other-series.so"
	has series 1 'memory/ummunotify: '
	has series 1 'memory/ummunotify: not used: .* Open MPI 4.1, .* 5.0.1'
}

can_be_turned_off()
{
	arm uffd
	works off "${arm[@]}" --mca memory '^ummunotify'
	has off 0 'memory/ummunotify'
}

# memory/patcher is not a candidate then, and its hooks are there nevertheless.
can_be_alone()
{
	arm uffd
	works alone "${arm[@]}" --mca memory ummunotify \
		--mca memory_base_verbose 1
	has alone 2 'rcache/grdma is told by uffd'
	has alone 0 'could not be opened'
}

says_what_it_is
steps_aside
can_be_turned_off
if "$build/tools/ummunotify" status | grep -q '^ *uffd *yes'; then
	finds_less
	children_are_left_alone
	can_be_alone
else
	echo 'userfaultfd does not work here'
fi
finish
