/* SPDX-License-Identifier: MIT */
/* evict.c - choose idle regions that leave to make room for others. */
#define _GNU_SOURCE
#include <errno.h>

#include "internal.h"

/* What a set of regions amounts to. */
struct amount {
	uint64_t regions, bytes;
};

/* Would one more region keep the bounds if those in @gone left?  Write lock. */
static bool fits(const struct ummu_rcache *rcache, uint64_t length,
		 struct amount gone)
{
	uint64_t bytes = rcache->bytes - gone.bytes;

	if (rcache->max_regions &&
	    rcache->regions - gone.regions >= rcache->max_regions)
		return false;
	return !rcache->max_bytes || (length <= rcache->max_bytes &&
				      bytes <= rcache->max_bytes - length);
}

/* Where the clock hand comes by last.  Write lock. */
void ummu_ring_insert(struct ummu_rcache *rcache, struct region *region)
{
	if (rcache->hand)
		TAILQ_INSERT_BEFORE(rcache->hand, region, ring);
	else
		TAILQ_INSERT_TAIL(&rcache->ring, region, ring);
}

/* Write lock. */
void ummu_ring_remove(struct ummu_rcache *rcache, struct region *region)
{
	if (rcache->hand == region)
		rcache->hand = TAILQ_NEXT(region, ring);
	TAILQ_REMOVE(&rcache->ring, region, ring);
}

/* Write lock: then one reference is the cache's own, and stays alone. */
static bool is_idle(const struct region *region)
{
	/* Acquire: what the last user did comes before what we do. */
	return __atomic_load_n(&region->refs, __ATOMIC_ACQUIRE) == 1;
}

/* Steps that let the hand pass each region twice. */
static uint64_t two_rounds(const struct ummu_rcache *rcache)
{
	return 2 * rcache->regions;
}

/*
 * The next region to give up, off the ring, or NULL after *steps steps.  A
 * second chance goes to what was used since the hand last came by; each hit
 * pays for one such step.  Write lock.
 */
static struct region *next_victim(struct ummu_rcache *rcache, uint64_t *steps)
{
	struct region *region;

	while (*steps) {
		--*steps;
		region = rcache->hand ? rcache->hand :
					TAILQ_FIRST(&rcache->ring);
		if (!region)
			return NULL;
		rcache->hand = TAILQ_NEXT(region, ring);
		if (!is_idle(region))
			continue;
		/* Relaxed: a hint. */
		if (__atomic_exchange_n(&region->used, 0, __ATOMIC_RELAXED))
			continue;
		ummu_ring_remove(rcache, region);
		return region;
	}
	return NULL;
}

/*
 * Make the bounds hold for one more region of @length bytes; the caller
 * releases @evicted after it has unlocked.  False if that cannot be: then
 * nothing has left, as it would have left in vain.  Write lock.
 *
 * O(1) amortised while regions get idle; a walk over all of them when the cache
 * is full of regions in use.
 */
bool ummu_make_room(struct ummu_rcache *rcache, uint64_t length,
		    struct released *evicted)
{
	TAILQ_HEAD(, region) chosen = TAILQ_HEAD_INITIALIZER(chosen);
	struct amount gone = { 0, 0 };
	uint64_t steps = two_rounds(rcache);
	struct region *region;

	while (!fits(rcache, length, gone)) {
		region = next_victim(rcache, &steps);
		if (!region)
			goto restore;
		TAILQ_INSERT_TAIL(&chosen, region, ring);
		gone.regions++;
		gone.bytes += region->pub.length;
	}
	while ((region = TAILQ_FIRST(&chosen))) {
		TAILQ_REMOVE(&chosen, region, ring);
		ummu_unlink(rcache, region, LEAVE_EVICTED);
		ummu_drop(region, evicted);
	}
	return true;

restore:
	while ((region = TAILQ_FIRST(&chosen))) {
		TAILQ_REMOVE(&chosen, region, ring);
		ummu_ring_insert(rcache, region);
	}
	return false;
}

/*
 * A pinner has no room for @length bytes: deregister idle regions of at least
 * as many, or all there are.  Returns how many; 0: nothing is idle.  No lock
 * held.
 */
int ummu_evict_idle(struct ummu_rcache *rcache, uint64_t length)
{
	struct released evicted = { NULL };
	struct region *region;
	uint64_t bytes = 0;
	uint64_t steps;

	ummu_stripes_write_lock(&rcache->stripes);
	steps = two_rounds(rcache);
	while (bytes < length && (region = next_victim(rcache, &steps))) {
		bytes += region->pub.length;
		ummu_unlink(rcache, region, LEAVE_EVICTED);
		ummu_drop(region, &evicted);
	}
	ummu_stripes_write_unlock(&rcache->stripes);
	return ummu_release(rcache, &evicted);
}

/* Deregister every idle region.  No lock held. */
int ummu_flush_idle(struct ummu_rcache *rcache)
{
	struct released released = { NULL };
	struct region *region, *next;

	ummu_stripes_write_lock(&rcache->stripes);
	for (region = TAILQ_FIRST(&rcache->ring); region; region = next) {
		next = TAILQ_NEXT(region, ring);
		if (!is_idle(region))
			continue;
		ummu_ring_remove(rcache, region);
		ummu_unlink(rcache, region, LEAVE_UNCOUNTED);
		ummu_drop(region, &released);
	}
	ummu_stripes_write_unlock(&rcache->stripes);
	return ummu_release(rcache, &released);
}

int ummu_rcache_flush(struct ummu_rcache *rcache, bool all)
{
	int deregistered;

	/* First, as in every call: a child touches no lock. */
	if (ummu_monitor_status(rcache->monitor) == -ECHILD)
		return -ECHILD;
	deregistered = ummu_reap(rcache);
	if (all)
		deregistered += ummu_flush_idle(rcache);
	return deregistered;
}
