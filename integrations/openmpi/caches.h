/* SPDX-License-Identifier: MIT */
/* caches.h - Open MPI's registration caches, with a question in front of each. */
#ifndef UMMU_OPENMPI_CACHES_H
#define UMMU_OPENMPI_CACHES_H

#include <stdbool.h>
#include <stdint.h>

/**
 * ummu_ompi_adopt_caches - every cache of rcache/grdma that is created from now
 * on asks first; false if there is no grdma
 * @ended: called when the last of them has been finalized
 */
bool ummu_ompi_adopt_caches(void (*ended)(void));

/**
 * ummu_ompi_release_caches - those created from now on are Open MPI's own again
 *
 * False if there are still some that ask.
 */
bool ummu_ompi_release_caches(void);

/**
 * ummu_ompi_forget - no lookup finds a registration of this range any more
 *
 * Those in use are deregistered by their last user.  With the lock of truth.h
 * held alone.
 */
void ummu_ompi_forget(uint64_t start, uint64_t end);

#endif
