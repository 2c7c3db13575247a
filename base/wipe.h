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

/**
 * ummu_wipe_alloc - zeroed memory; NULL with errno set
 * @bytes: the kernel rounds this up to whole pages, of whatever size they are
 */
void *ummu_wipe_alloc(size_t bytes);

/** ummu_wipe_free - with the @bytes it was allocated with; NULL is allowed. */
void ummu_wipe_free(void *memory, size_t bytes);

#endif
