/* SPDX-License-Identifier: MIT */
/*
 * pin-mlock.c - keeps the pages of regions resident with mlock(2).
 *
 * The kernel does not count locks, so the regions of a pinner are kept in an
 * interval tree, and what a region gives up is unlocked only where no other
 * region lies.  A region is in the tree before its pages are locked, and
 * pages are unlocked under the tree's lock: thus an unlock never undoes the
 * lock of a region that arrives meanwhile.
 *
 * When part of a region's memory is unmapped the kernel keeps the locks of the
 * rest, and those are to be given up.  The part itself is the region's no more:
 * nothing there is unlocked for its sake, nor left locked.
 */
#define _GNU_SOURCE
#include <ummunotify/pin-mlock.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/call.h"
#include "base/containerof.h"
#include "base/interval.h"
#include "base/lock.h"

/**
 * struct locked - a region; its private storage
 * @pages:  in the tree
 * @region: itself
 */
struct locked {
	struct ummu_interval pages;
	const struct ummu_region *region;
};

/** A range of addresses, inclusive; empty if @start is above @last. */
struct range {
	uint64_t start, last;
};

/**
 * struct ummu_pin_mlock - the locked regions
 * @lock:    guards @regions, and is held across munlock()
 * @regions: of struct locked
 */
struct ummu_pin_mlock {
	pthread_mutex_t lock;
	struct ummu_interval_tree regions;
};

/*
 * munlock() ends at the first page that is not mapped.  Behind it there may be
 * more that is: so by halves, down to the pages that are not there.  It is rare
 * to come here with a hole, as what was unmapped first is left out.
 */
static void unlock_pages(uint64_t start, uint64_t pages, uint64_t page)
{
	const uint64_t half = pages / 2;

	if (!munlock((void *)(uintptr_t)start, pages * page) || pages == 1)
		return;
	unlock_pages(start, half, page);
	unlock_pages(start + half * page, pages - half, page);
}

/* What a region has, in at most two parts: before and behind what is gone. */
static void parts_of(const struct locked *locked, struct range parts[2])
{
	void *gone;
	size_t length;

	parts[0].start = locked->pages.start;
	parts[0].last = locked->pages.last;
	parts[1] = (struct range){ 1, 0 };
	if (!ummu_region_unmapped(locked->region, &gone, &length))
		return;
	/* Either is empty where that end of the region is gone. */
	parts[1].start = (uintptr_t)gone + length;
	parts[1].last = locked->pages.last;
	parts[0].last = (uintptr_t)gone - 1;
}

/*
 * Does any region have the page at range->start?  Then *next is the first address
 * behind what it has; otherwise the first that one has further on in the range,
 * or the end of that.  Called locked.
 */
static bool is_had(struct ummu_pin_mlock *pin, const struct range *range,
		   uint64_t *next)
{
	struct ummu_interval *other;
	struct range parts[2];

	*next = range->last + 1;
	other = ummu_interval_first(&pin->regions, range->start, range->last);
	/* In order of their starts: those from *next on are no nearer. */
	for (; other && other->start < *next;
	     other = ummu_interval_next(other, range->start, range->last)) {
		parts_of(container_of(other, struct locked, pages), parts);
		for (int i = 0; i < 2; i++) {
			const struct range *part = &parts[i];

			if (part->start > part->last ||
			    part->last < range->start)
				continue;
			if (part->start <= range->start) {
				*next = part->last + 1;
				return true;
			}
			if (part->start < *next)
				*next = part->start;
		}
	}
	return false;
}

/* Unlocks the parts of a range that no region has.  Called locked. */
static void unlock_unused(struct ummu_pin_mlock *pin, struct range range)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t next;

	while (range.start <= range.last) {
		if (!is_had(pin, &range, &next))
			unlock_pages(range.start, (next - range.start) / page,
				     page);
		range.start = next;
	}
}

/* A region goes, with the locks of what it still has.  Called locked. */
static void give_up(struct ummu_pin_mlock *pin, struct locked *locked)
{
	struct range parts[2];

	ummu_interval_remove(&pin->regions, &locked->pages);
	parts_of(locked, parts);
	unlock_unused(pin, parts[0]);
	unlock_unused(pin, parts[1]);
}

static int mlock_reg(void *ctx, struct ummu_region *region)
{
	struct locked *locked = ummu_region_private(region);
	struct ummu_pin_mlock *pin = ctx;
	int ret;

	locked->region = region;
	locked->pages.start = (uintptr_t)region->addr;
	locked->pages.last = locked->pages.start + region->length - 1;
	ummu_mutex_lock(&pin->lock);
	ummu_interval_insert(&pin->regions, &locked->pages);
	ummu_mutex_unlock(&pin->lock);

	if (!mlock(region->addr, region->length))
		return 0;

	/* It may have locked a part before it failed. */
	ret = -errno;
	ummu_mutex_lock(&pin->lock);
	give_up(pin, locked);
	ummu_mutex_unlock(&pin->lock);
	return ret;
}

static void mlock_dereg(void *ctx, struct ummu_region *region)
{
	struct ummu_pin_mlock *pin = ctx;

	ummu_mutex_lock(&pin->lock);
	give_up(pin, ummu_region_private(region));
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
	.private_size = sizeof(struct locked),
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
