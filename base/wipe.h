/* SPDX-License-Identifier: MIT */
/*
 * wipe.h - memory that reads as zeros in a child of fork.
 *
 * A child must find every watch invalid and every monitor dead, however it was
 * made: by fork() or by a raw clone() that runs no handler.  The kernel does
 * it: MADV_WIPEONFORK, Linux 4.14, madvise(2).  vfork() shares the memory and
 * so wipes nothing, which is right: it is the same process in this respect.
 */
#ifndef UMMU_WIPE_H
#define UMMU_WIPE_H

#include <stddef.h>

/** @bytes is a multiple of the page size; zeroed; NULL with errno set. */
void *ummu_wipe_alloc(size_t bytes);
void ummu_wipe_free(void *memory, size_t bytes);

#endif
