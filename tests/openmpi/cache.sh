#!/bin/bash
# SPDX-License-Identifier: MIT
# cache.sh - runs asking-cache where Open MPI finds the drop-in.
#
# usage: cache.sh BUILD kmod|uffd
set -u

build=$(readlink -f "$1")
[ -e "$build/integrations/openmpi/mca_memory_ummunotify.so" ] || {
	echo 'the drop-in for Open MPI was not built'
	exit 77
}
export OMPI_MCA_mca_base_component_path=$build/integrations/openmpi:SYSTEM_DEFAULT
export UMMU_MONITOR=$2
exec "$build/tests/openmpi/asking-cache"
