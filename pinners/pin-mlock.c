/* SPDX-License-Identifier: MIT */
/*
 * pin-mlock.c - keeps the pages of regions resident with mlock(2).
 *
 * The kernel does not count locks, so the regions of a pinner are kept in an
 * interval tree, and what a region gives up is unlocked only where no other
 * region lies.  A region is in the tree before its pages are locked, and
 * pages are unlocked under the tree's lock: thus an unlock never undoes the
 * lock of a region that arrives meanwhile.
 */
#define _GNU_SOURCE
#include <ummunotify/pin-mlock.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/call.h"
#include "base/interval.h"
#include "base/lock.h"

/**
 * struct ummu_pin_mlock - the locked regions
 * @lock:    guards @regions, and is held across munlock()
 * @regions: one struct ummu_interval a region, its private storage
 */
struct ummu_pin_mlock {
	pthread_mutex_t lock;
	struct ummu_interval_tree regions;
};

static void unlock_pages(uint64_t start, uint64_t last)
{
	/* Fails where pages are no longer mapped: then nothing is locked. */
	munlock((void *)(uintptr_t)start, last - start + 1);
}

/* Unlocks the parts of a range over which no region lies.  Called locked. */
static void unlock_uncovered(struct ummu_pin_mlock *pin, uint64_t start,
			     uint64_t last)
{
	const struct ummu_interval *other;

	other = ummu_interval_first(&pin->regions, start, last);
	for (; other; other = ummu_interval_next(other, start, last)) {
		if (other->start > start)
			unlock_pages(start, other->start - 1);
		if (other->last >= last)
			return;
		if (other->last >= start)
			start = other->last + 1;
	}
	unlock_pages(start, last);
}

static int mlock_reg(void *ctx, struct ummu_region *region)
{
	struct ummu_interval *range = ummu_region_private(region);
	struct ummu_pin_mlock *pin = ctx;
	int ret;

	range->start = (uintptr_t)region->addr;
	range->last = range->start + region->length - 1;
	ummu_mutex_lock(&pin->lock);
	ummu_interval_insert(&pin->regions, range);
	ummu_mutex_unlock(&pin->lock);

	if (!mlock(region->addr, region->length))
		return 0;

	/* It may have locked a part before it failed. */
	ret = -errno;
	ummu_mutex_lock(&pin->lock);
	ummu_interval_remove(&pin->regions, range);
	unlock_uncovered(pin, range->start, range->last);
	ummu_mutex_unlock(&pin->lock);
	return ret;
}

/*
 * Does the region's memory still belong to it?  Nothing is known about an
 * uncached region; its user had to keep the memory until the put, so that it
 * does, and a lock that was never given back would be a leak.
 */
static bool still_there(const struct ummu_region *region)
{
	return !region->cached || ummu_region_valid(region);
}

static void mlock_dereg(void *ctx, struct ummu_region *region)
{
	struct ummu_interval *range = ummu_region_private(region);
	struct ummu_pin_mlock *pin = ctx;
	bool unlock = still_there(region);

	ummu_mutex_lock(&pin->lock);
	ummu_interval_remove(&pin->regions, range);
	if (unlock)
		unlock_uncovered(pin, range->start, range->last);
	ummu_mutex_unlock(&pin->lock);
}

static bool mlock_covers(void *ctx, uint64_t have, uint64_t want)
{
	(void)ctx;
	(void)have;
	(void)want;
	return true;
}

const struct ummu_rcache_ops ummu_pin_mlock_ops = {
	.size = sizeof(struct ummu_rcache_ops),
	.private_size = sizeof(struct ummu_interval),
	.reg = mlock_reg,
	.dereg = mlock_dereg,
	.covers = mlock_covers,
};

int ummu_pin_mlock_create(struct ummu_pin_mlock **pin_p)
{
	const struct ummu_call call = ummu_call_begin();
	struct ummu_pin_mlock *pin = calloc(1, sizeof(*pin));

	if (!pin)
		return ummu_call_return(&call, -ENOMEM);
	pthread_mutex_init(&pin->lock, NULL);
	*pin_p = pin;
	return ummu_call_return(&call, 0);
}

void ummu_pin_mlock_destroy(struct ummu_pin_mlock *pin)
{
	const struct ummu_call call = ummu_call_begin();

	if (pin)
		pthread_mutex_destroy(&pin->lock);
	free(pin);
	ummu_call_end(&call);
}
