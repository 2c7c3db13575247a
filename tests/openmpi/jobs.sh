# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# jobs.sh - runs MPI jobs of two processes, with and without the drop-in.
#
# For sourcing, with $build set.  AGENT names the program by which mpirun reaches
# node2; otherwise both processes are here.

drop_in=$build/integrations/openmpi
[ -e "$drop_in/mca_memory_ummunotify.so" ] || {
	echo 'the drop-in for Open MPI was not built'
	exit 77
}
work=$(mktemp -d) || exit
trap 'rm -rf "$work"' EXIT
failures=0
where=(--mca plm isolated)
[ -z "${AGENT-}" ] ||
	where=(--host 'node1:1,node2:1' --mca plm rsh --mca plm_rsh_agent "$AGENT"
		--mca oob_tcp_if_include eth0)

# Not what the caller's environment says.
unset "${!OMPI_MCA_@}" UMMU_MONITOR

fail()
{
	echo "FAILED: $*"
	failures=$((failures + 1))
}

need() # COMMAND
{
	command -v "$1" >/dev/null && return
	echo "there is no $1 here"
	exit 77
}

# One run of a job.  Each process waits by asking all the time, and had better let
# others run, the other process for one.
run_job() # NAME ARGUMENT...
{
	local name=$1
	shift
	timeout -k 5 "${JOB_SECONDS:-600}" mpirun --allow-run-as-root -np 2 \
		--oversubscribe "${where[@]}" \
		--mca btl_base_warn_component_unused 0 \
		--mca mpi_yield_when_idle 1 \
		--mca rcache_grdma_print_stats 1 \
		--mca memory_ummunotify_print_stats 1 \
		"$@" >"$work/$name" 2>&1 </dev/null
}

# libfabric 1.17 may crash when ofi_rxm is closed, after all has been sent: seen
# with memory/patcher, and nothing of ours in the process.
crashed_in_libfabric() # NAME
{
	grep -q '\] .*mca_btl_ofi_finalize' "$work/$1" &&
		! grep -q '\] .*ummunotify[^/ ]*\.so' "$work/$1"
}

# One job; what it prints goes to $work/NAME.
job() # NAME ARGUMENT...
{
	local status
	run_job "$@" && return
	status=$?
	if crashed_in_libfabric "$1"; then
		echo "$1: libfabric crashed as it was closed; once again"
		run_job "$@" && return
		status=$?
	fi
	fail "the job $1 ended with $status"
	tail -n 30 "$work/$1"
	return 1
}

# Options of mpirun by the name of the arm; both: with libfabric's drop-in too.
arm() # patcher|kmod|uffd|both
{
	arm=()
	[ "$1" = patcher ] && return
	arm=(--mca mca_base_component_path "$drop_in:SYSTEM_DEFAULT")
	if [ "$1" = both ]; then
		arm+=(-x UMMU_MONITOR=kmod
			-x "FI_PROVIDER_PATH=$build/integrations/libfabric")
	else
		arm+=(-x "UMMU_MONITOR=$1")
	fi
}

# What Open MPI's cache did, both processes together: "HITS MISSES".
hits_and_misses() # NAME
{
	sed -n 's,.* grdma: stats .*: \([0-9]*\)/\([0-9]*\)/.*,\1 \2,p' \
		"$work/$1" | awk '{ h += $1; m += $2 } END { print h + 0, m + 0 }'
}

# What the drop-in says it has done, a line for each process.
told() # NAME
{
	sed -n 's/.*memory\/ummunotify: \([a-z]*: .* lookups, .*\)/\1/p' \
		"$work/$1"
}

finish()
{
	echo
	[ "$failures" = 0 ] || echo "$failures failures"
	[ "$failures" = 0 ]
	exit
}
