#!/bin/bash
# SPDX-License-Identifier: MIT
# rdma.sh - what an MPI program sends over an RDMA adapter while its buffers get
# other pages, with memory/patcher and with the drop-in.
#
# usage: rdma.sh BUILD grdma|threads|ucx|mtl
#
# In a virtual machine, under scripts/vm/soft-roce.  grdma: the ways one by one,
# through Open MPI's own cache; threads: several at once.  ucx, mtl: through the
# caches of UCX and libfabric, which the drop-in leaves to memory/patcher, and
# libfabric's drop-in does not.
# Prints a table of wrong messages, and fails where one was let through that
# should have been seen, or where the test itself sees nothing.
set -u

build=$(readlink -f "$1")
# shellcheck source=/dev/null
. "$build/tests/openmpi/jobs.sh"
program=$build/tests/openmpi/mpi-remap

need mpirun
modprobe rdma_ucm || exit 77

over_grdma=(--mca pml ob1 --mca btl 'self,ofi' --mca btl_ofi_mode 2
	--mca opal_common_ofi_provider_include 'verbs;Ofi_rxm'
	-x FI_UNIVERSE_SIZE=2
	-x "LD_PRELOAD=$build/tests/openmpi/accept-rxm.so")
over_ucx=(--mca pml ucx -x 'UCX_TLS=rc,self' -x 'UCX_NET_DEVICES=rxe0:1'
	-x UCX_UD_VERBS_ETH_DGID_CHECK=n
	-x 'UCX_RNDV_THRESH=16k' -x UCX_LOG_LEVEL=info)
over_mtl=(--mca pml cm --mca mtl ofi
	--mca mtl_ofi_provider_include 'verbs;ofi_rxm' -x FI_UNIVERSE_SIZE=2)

# The rows of an arm: "NAME<TAB>HOOKS<TAB>UFFD<TAB>STAYS<TAB>WRONG<TAB>MESSAGES".
rows() # ARM
{
	sed -n 's/^row\t//p' "$work/$1"
}

wrong() # ARM NAME
{
	rows "$1" | awk -F '\t' -v name="$2" \
		'$1 == name { print $5; n++ } END { if (!n) print "-" }'
}

print_table() # ARM...
{
	local name
	printf '%-32s' 'wrong messages'
	printf '%10s' "$@" messages
	echo
	while IFS=$'\t' read -r name _ _ _ _ messages; do
		printf '%-32s' "$name"
		for arm_name; do
			printf '%10s' "$(wrong "$arm_name" "$name")"
		done
		printf '%10s\n' "$messages"
	done < <(rows "$1")
	for arm_name; do
		# shellcheck disable=SC2046 # two words
		set -- $(hits_and_misses "$arm_name")
		echo "$arm_name: $1 hits, $2 misses in Open MPI's cache"
		told "$arm_name"
	done
}

# One way with one arm, judged by what that arm can see.  What memory/patcher
# does not see has to go wrong, or the test would not notice anything.  What
# userfaultfd does not see it may refuse to watch.
judge() # ARM NAME SEES WRONG
{
	case $4 in
	-) fail "$1: nothing about $2" ;;
	0) [ "$1$3" != patcher0 ] || fail "$1: $2 did no harm: a blind test" ;;
	*) [ "$3" = 0 ] || fail "$1: $4 messages were wrong with $2" ;;
	esac
}

judge_all() # ARM...
{
	local name hooks uffd stays
	while IFS=$'\t' read -r name hooks uffd stays _; do
		for arm_name; do
			case $arm_name in
			patcher) sees=$((hooks | stays)) ;;
			kmod) sees=1 ;;
			uffd) sees=$((hooks | uffd | stays)) ;;
			esac
			judge "$arm_name" "$name" "$sees" \
				"$(wrong "$arm_name" "$name")"
		done
	done < <(rows "$1")
}

# Those that know nothing of the drop-in: told by the hooks as before, and by
# nobody else, unless libfabric has its own.
judge_hooked() # ARM...
{
	local name hooks stays
	while IFS=$'\t' read -r name hooks _ stays _; do
		for arm_name; do
			case $arm_name in
			patcher) sees=$((hooks | stays)) ;;
			kmod) [ "$hooks" = 1 ] || continue ;&
			both) sees=1 ;;
			esac
			judge "$arm_name" "$name" "$sees" \
				"$(wrong "$arm_name" "$name")"
		done
	done < <(rows "$1")
}

# That the drop-in was there, and its lookups did find things gone.
judge_told() # ARM
{
	local lines hits
	lines=$(told "$1" | grep -c "^$1: ")
	hits=$(told "$1" | grep -c ' [1-9][0-9]* watches hit')
	[ "$lines" = 2 ] || fail "$1: $lines processes of 2 had the drop-in"
	[ "$hits" = "$lines" ] || fail "$1: told of nothing"
}

# With two nodes, that there was a process on each.
judge_nodes() # ARM
{
	local node
	for node in node1 node2; do
		grep -q "^\[$node:.* grdma: stats" "$work/$1" ||
			fail "$1: no process on $node"
	done
}

case $2 in
grdma)
	for name in patcher kmod uffd; do
		arm "$name"
		job "$name" "${over_grdma[@]}" "${arm[@]}" "$program"
	done
	print_table patcher kmod uffd
	judge_all patcher kmod uffd
	judge_told kmod
	judge_told uffd
	[ -z "${AGENT-}" ] || judge_nodes kmod
	;;
threads)
	for name in kmod uffd; do
		arm "$name"
		job "$name" "${over_grdma[@]}" "${arm[@]}" \
			"$program" --threads 3
	done
	print_table kmod uffd
	judge_all kmod uffd
	judge_told kmod
	judge_told uffd
	;;
ucx | mtl)
	over=("${over_ucx[@]}") arms=(patcher kmod)
	[ "$2" = ucx ] || over=("${over_mtl[@]}") arms=(patcher kmod both)
	for name in "${arms[@]}"; do
		arm "$name"
		job "$name" "${over[@]}" "${arm[@]}" "$program"
	done
	print_table "${arms[@]}"
	judge_hooked "${arms[@]}"
	;;
*)
	exit 2
	;;
esac
finish
