/* SPDX-License-Identifier: MIT */
/*
 * stripes.h - a big-reader lock: readers on different cores share nothing.
 *
 * One mutex a stripe, each on its own cache line.  A reader takes the stripe of
 * its thread, a writer takes all of them in order.  While anybody holds a
 * stripe it does not allocate, free, map, unmap or call a pinner: the thread
 * that unmaps may be waiting for the very thread that wants the lock.
 */
#ifndef UMMU_STRIPES_H
#define UMMU_STRIPES_H

#include <pthread.h>
#include <stdint.h>

#define STRIPE_COUNT 32

/** Most processors fetch lines of 64 bytes. */
#define STRIPE_ALIGN 64

/**
 * struct stripe - what the threads of one stripe touch on a hit
 * @lock: the mutex
 * @hits: gets served from the cache by these threads (relaxed atomic)
 */
struct stripe {
	_Alignas(STRIPE_ALIGN) pthread_mutex_t lock;
	uint64_t hits;
};

struct stripes {
	struct stripe stripe[STRIPE_COUNT];
};

void ummu_stripes_init(struct stripes *stripes);
void ummu_stripes_destroy(struct stripes *stripes);

/** The stripe of the calling thread; always the same one. */
struct stripe *ummu_stripes_mine(struct stripes *stripes);

struct stripe *ummu_stripes_read_lock(struct stripes *stripes);
void ummu_stripes_read_unlock(struct stripe *stripe);

void ummu_stripes_write_lock(struct stripes *stripes);
void ummu_stripes_write_unlock(struct stripes *stripes);

/** Wait until whoever holds the write lock now has dropped it. */
void ummu_stripes_synchronize(struct stripes *stripes);

#endif
