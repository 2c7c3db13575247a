/* SPDX-License-Identifier: MIT */
/*
 * patcher.h - Open MPI's own hooks in libc, kept for those that are fed by them.
 *
 * UCX and libfabric do not say what they register, so nobody can watch it for
 * them: they keep being told by the hooks.
 */
#ifndef UMMU_OPENMPI_PATCHER_H
#define UMMU_OPENMPI_PATCHER_H

#include <stdbool.h>

/** ummu_ompi_patcher_find - is it in this Open MPI?  While we may be selected. */
bool ummu_ompi_patcher_find(void);

/** ummu_ompi_patcher_open - once we are; false: no hooks, and nobody is fed. */
bool ummu_ompi_patcher_open(void);
void ummu_ompi_patcher_close(void);

#endif
