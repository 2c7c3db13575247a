/* SPDX-License-Identifier: MIT */
/* evict.c - choose idle regions that leave to make room for others. */
#define _GNU_SOURCE
#include <errno.h>

#include "internal.h"

/* What a set of regions amounts to. */
struct amount {
	uint64_t regions, bytes;
};

/* Would one more region keep the bounds if those in @gone left?  Lock. */
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

/* Where the clock hand comes by last.  Lock. */
void ummu_ring_insert(struct ummu_rcache *rcache, struct region *region)
{
	if (rcache->hand)
		TAILQ_INSERT_BEFORE(rcache->hand, region, ring);
	else
		TAILQ_INSERT_TAIL(&rcache->ring, region, ring);
}

/* Lock. */
void ummu_ring_remove(struct ummu_rcache *rcache, struct region *region)
{
	if (rcache->hand == region)
		rcache->hand = TAILQ_NEXT(region, ring);
	TAILQ_REMOVE(&rcache->ring, region, ring);
}

/* Steps that let the hand pass each region twice. */
static uint64_t two_rounds(const struct ummu_rcache *rcache)
{
	return 2 * rcache->regions;
}

TAILQ_HEAD(region_queue, region);

/*
 * The next region that may be idle, off the ring and RETIRED (R1), or NULL
 * after *steps steps.  It is still linked: whoever looks for it meanwhile waits
 * for the lock.  A second chance goes to what was used since the hand last came
 * by; each hit pays for one such step.  Lock.
 */
static struct region *next_candidate(struct ummu_rcache *rcache, uint64_t *steps)
{
	struct region *region;
	uint32_t cold;

	while (*steps) {
		--*steps;
		region = rcache->hand ? rcache->hand :
					TAILQ_FIRST(&rcache->ring);
		if (!region)
			return NULL;
		rcache->hand = TAILQ_NEXT(region, ring);
		cold = REGION_COLD;
		if (!__atomic_compare_exchange_n(&region->state, &cold,
						 REGION_RETIRED, false,
						 __ATOMIC_SEQ_CST,
						 __ATOMIC_RELAXED)) {
			/* USED.  Nobody else takes it out of that state. */
			region->laned = true;
			ummu_set_state(region, REGION_COLD);
			continue;
		}
		ummu_ring_remove(rcache, region);
		return region;
	}
	return NULL;
}

/* It stays.  Lock. */
static void restore(struct ummu_rcache *rcache, struct region *region)
{
	ummu_set_state(region, REGION_COLD);
	ummu_ring_insert(rcache, region);
}

/*
 * R2 and R3 for all that was chosen: what is held goes back to the ring.
 * Returns what that amounts to.  Lock.
 */
static struct amount restore_held(struct ummu_rcache *rcache,
				  struct region_queue *chosen)
{
	struct amount held = { 0, 0 };
	struct region *region, *next;
	bool laned = false, known;

	for (region = TAILQ_FIRST(chosen); region && !laned;
	     region = TAILQ_NEXT(region, ring))
		laned = region->laned;
	known = !laned || ummu_see_slots(rcache);
	for (region = TAILQ_FIRST(chosen); region; region = next) {
		next = TAILQ_NEXT(region, ring);
		if ((!region->laned || known) && !ummu_is_held(rcache, region))
			continue;
		TAILQ_REMOVE(chosen, region, ring);
		restore(rcache, region);
		held.regions++;
		held.bytes += region->pub.length;
	}
	return held;
}

/* What was chosen is idle, and leaves.  Lock. */
static void let_go(struct ummu_rcache *rcache, struct region_queue *chosen,
		   enum leave_reason reason, struct region_list *dead)
{
	struct region *region;

	while ((region = TAILQ_FIRST(chosen))) {
		TAILQ_REMOVE(chosen, region, ring);
		ummu_unlink(rcache, region, reason);
		ummu_set_state(region, REGION_DEAD);
		ummu_list_add(dead, region);
	}
}

/* Choose until the bounds would hold; false if there is no more to choose. */
static bool choose(struct ummu_rcache *rcache, uint64_t length,
		   struct region_queue *chosen, struct amount *gone,
		   uint64_t *steps)
{
	struct region *region;

	while (!fits(rcache, length, *gone)) {
		region = next_candidate(rcache, steps);
		if (!region)
			return false;
		TAILQ_INSERT_TAIL(chosen, region, ring);
		gone->regions++;
		gone->bytes += region->pub.length;
	}
	return true;
}

/*
 * Make the bounds hold for one more region of @length bytes; the caller
 * releases @dead after it has unlocked.  False if that cannot be: then nothing
 * has left, as it would have left in vain.  Lock.
 *
 * O(1) amortised while regions get idle; a walk over all of them when the cache
 * is full of regions in use.
 */
bool ummu_make_room(struct ummu_rcache *rcache, uint64_t length,
		    struct region_list *dead)
{
	struct region_queue chosen = TAILQ_HEAD_INITIALIZER(chosen);
	uint64_t steps = two_rounds(rcache);
	struct amount gone = { 0, 0 }, held;
	struct region *region;

	do {
		if (!choose(rcache, length, &chosen, &gone, &steps))
			goto restore_all;
		held = restore_held(rcache, &chosen);
		gone.regions -= held.regions;
		gone.bytes -= held.bytes;
	} while (held.regions);
	let_go(rcache, &chosen, LEAVE_EVICTED, dead);
	return true;

restore_all:
	while ((region = TAILQ_FIRST(&chosen))) {
		TAILQ_REMOVE(&chosen, region, ring);
		restore(rcache, region);
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
	struct region_queue chosen = TAILQ_HEAD_INITIALIZER(chosen);
	struct region_list dead = { NULL };
	struct region *region;
	uint64_t bytes = 0;
	uint64_t steps;

	ummu_lock(rcache);
	steps = two_rounds(rcache);
	do {
		while (bytes < length &&
		       (region = next_candidate(rcache, &steps))) {
			bytes += region->pub.length;
			TAILQ_INSERT_TAIL(&chosen, region, ring);
		}
		bytes -= restore_held(rcache, &chosen).bytes;
		let_go(rcache, &chosen, LEAVE_EVICTED, &dead);
	} while (bytes < length && steps);
	ummu_unlock(rcache);
	return ummu_release(rcache, &dead);
}

/* Deregister every idle region.  No lock held. */
int ummu_flush_idle(struct ummu_rcache *rcache)
{
	struct region_queue chosen = TAILQ_HEAD_INITIALIZER(chosen);
	struct region_list dead = { NULL };
	struct region *region;

	ummu_lock(rcache);
	while ((region = TAILQ_FIRST(&rcache->ring))) {
		ummu_ring_remove(rcache, region);
		ummu_retire_start(region);
		TAILQ_INSERT_TAIL(&chosen, region, ring);
	}
	restore_held(rcache, &chosen);
	let_go(rcache, &chosen, LEAVE_UNCOUNTED, &dead);
	ummu_unlock(rcache);
	return ummu_release(rcache, &dead);
}

static int flush(struct ummu_rcache *rcache, bool all)
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

int ummu_rcache_flush(struct ummu_rcache *rcache, bool all)
{
	const struct ummu_call call = ummu_call_begin();

	return ummu_call_return(&call, flush(rcache, all));
}
