/* SPDX-License-Identifier: MIT */
/*
 * fake-pinner.h - a pinner that remembers what it registered and fails on
 * demand.
 *
 * It aborts when the cache breaks its side: a dereg without a reg, a second
 * dereg, or a dereg while a user of the test holds the region.
 */
#ifndef FAKE_PINNER_H
#define FAKE_PINNER_H

#include <pthread.h>
#include <sys/queue.h>

#include <ummunotify/rcache.h>

/**
 * struct fake_pin - the private storage of a region
 * @users: references that the test holds (atomic); pinner_hold(), _release()
 */
struct fake_pin {
	struct ummu_region *region;
	uint64_t start, last, access, handle;
	unsigned int users;
	LIST_ENTRY(fake_pin) member;
};

/**
 * struct fake_pinner - the ctx of fake_pinner_ops
 * @lock:        protects everything but the hooks
 * @live:        registered now
 * @calls, @registered, @deregistered: counts of reg calls, of those that
 *               succeeded and of deregs (the last one atomic)
 * @fail_at:     from the reg call of this number (the first is 1) on,
 * @fail_count:  this many calls fail
 * @fail_error:  with this
 * @bytes, @max_bytes: registered now; reg answers @full_error above the bound
 * @on_reg:      called in reg before it succeeds or fails, no lock held
 * @on_dereg:    called in dereg, no lock held
 * @last_valid:  what ummu_region_valid() said in the last dereg
 */
struct fake_pinner {
	pthread_mutex_t lock;
	LIST_HEAD(, fake_pin) live;
	unsigned int calls, registered, deregistered;
	unsigned int fail_at, fail_count;
	int fail_error;
	uint64_t bytes, max_bytes;
	int full_error;
	void (*on_reg)(void *arg, struct ummu_region *region);
	void (*on_dereg)(void *arg, struct ummu_region *region);
	void *arg;
	bool last_valid;
};

extern const struct ummu_rcache_ops fake_pinner_ops;

void fake_pinner_init(struct fake_pinner *pinner);

/** The test got or is about to put a region. */
void fake_pinner_hold(struct ummu_region *region);
void fake_pinner_release(struct ummu_region *region);

unsigned int fake_pinner_live(struct fake_pinner *pinner);

#endif
