#!/bin/bash
# SPDX-License-Identifier: MIT
# node.sh - one of two virtual machines that run an MPI job together.
#
# usage: node.sh NUMBER BUILD EXCHANGE
#
# For the guest.  The first runs the test, and the second what mpirun asks for.
set -u

number=$1 build=$2
export EXCHANGE=$3 SOFT_ROCE=eth0
here=$(dirname "$(readlink -f "$0")")
soft_roce=${here%/tests/openmpi}/scripts/vm/soft-roce

give_up()
{
	echo "node $number: $*" >&2
	exit 1
}

# Until it is there; what it waits for is made by the other node.
wait_for() # FILE
{
	local tries=600
	until [ -e "$EXCHANGE/$1" ]; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || give_up "there is no $1"
		sleep 0.5
	done
}

serve()
{
	local command
	until [ -e "$EXCHANGE/over" ]; do
		sleep 0.2
		[ -e "$EXCHANGE/command" ] || continue
		command=$(<"$EXCHANGE/command")
		rm "$EXCHANGE/command"
		bash -c "$command" </dev/null
		echo $? >"$EXCHANGE/status"
	done
}

modprobe virtio_net || exit 77
modprobe rdma_ucm || exit 77
echo "node$number" >/proc/sys/kernel/hostname
printf '10.9.8.%s node%s\n' 1 1 2 2 >>/etc/hosts
ip address add "10.9.8.$number/24" dev eth0
ip link set eth0 up
"$soft_roce" true || exit
: >"$EXCHANGE/node$number"
if [ "$number" = 2 ]; then
	serve
else
	wait_for node2
	AGENT=$here/agent.sh "$here/rdma.sh" "$build" grdma
	status=$?
	: >"$EXCHANGE/over"
	exit $status
fi
