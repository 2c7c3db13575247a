/* SPDX-License-Identifier: MIT */
/*
 * teller.h - the thread that tells libfabric's caches what has left.
 *
 * It holds nothing while it does.  Nobody's correctness waits for it: it gives
 * memory back that nobody asks for again, and lets ranges that several caches
 * hold be registered anew.
 */
#ifndef UMMU_LIBFABRIC_TELLER_H
#define UMMU_LIBFABRIC_TELLER_H

#include <stddef.h>

#include "integrations/libfabric/ranges.h"

struct ummu_teller; /* opaque */

/**
 * ummu_teller_start - open the ranges of a monitor, and a thread for them
 * @max, @trust, @notify: as in struct ummu_ranges_opts
 *
 * The thread has all signals blocked, ordinary scheduling, and every CPU,
 * whoever starts it.
 *
 * Errors: of ummu_ranges_open(), socketpair(2), pthread_create(3).
 */
int ummu_teller_start(struct ummu_monitor *monitor, size_t max, bool trust,
		      void (*notify)(void *arg, const void *addr, size_t length),
		      struct ummu_teller **teller_p);

/**
 * ummu_teller_stop - end the thread, then close the ranges
 *
 * With no lock held that notify takes.  In a child of fork it only frees.
 *
 * Where the program has closed the thread's descriptors this takes up to a
 * second, and ten if a child of fork still has them.
 */
void ummu_teller_stop(struct ummu_teller *teller);

struct ummu_ranges *ummu_teller_ranges(const struct ummu_teller *teller);

#endif
