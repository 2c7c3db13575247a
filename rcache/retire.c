/* SPDX-License-Identifier: MIT */
/* retire.c - take regions out of lookup, and release them after their last use. */
#define _GNU_SOURCE
#include <errno.h>

#include "internal.h"

/* Events fetched by one read, and handled in one hold of the write lock. */
#define EVENT_BATCH 32
#define EVENTS_PER_HOLD 1024

/*
 * model: RETIRE.  No lookup finds the region from here on.  Write lock; it is
 * off the ring, and the caller takes over the cache's reference and drops it.
 */
void ummu_unlink(struct ummu_rcache *rcache, struct region *region,
		 enum leave_reason reason)
{
	ummu_interval_remove(&rcache->tree, &region->node);
	ummu_account_sub(rcache, region);
	ummu_count(&rcache->counters.left[reason], 1);
	/* Release: a waiter that sees it sees what the owner did before. */
	__atomic_store_n(&region->state, REGION_RETIRED, __ATOMIC_RELEASE);
}

/*
 * model: DROP.  Give up one reference.  The region joins @released if it was the
 * last one; with a lock held too, but ummu_release() must follow without any.
 */
void ummu_drop(struct region *region, struct released *released)
{
	/*
	 * Release: what this thread did with the region comes before its
	 * dereg.  Acquire: the last one sees what all the others did.
	 */
	if (__atomic_sub_fetch(&region->refs, 1, __ATOMIC_ACQ_REL))
		return;
	region->next = released->first;
	released->first = region;
}

/* model: UNPIN.  No lock held. */
void ummu_unregister(struct ummu_rcache *rcache, struct region *region)
{
	if (!region->registered)
		return;
	region->registered = false;
	rcache->ops.dereg(rcache->ctx, &region->pub);
	ummu_count(&rcache->counters.deregistrations, 1);
	__atomic_fetch_sub(&rcache->counters.pinned_bytes, region->pub.length,
			   __ATOMIC_RELAXED);
}

/* model: UNWATCH.  Steps (b) and (c) of the rule in internal.h.  No lock held. */
void ummu_unwatch(struct ummu_rcache *rcache, struct region *region)
{
	struct ummu_watch *watch = region->watch;

	if (!watch)
		return;
	/* NULL first: a fork in between leaks the handle, never frees twice. */
	region->watch = NULL;
	ummu_monitor_unwatch(rcache->monitor, watch);
	ummu_stripes_synchronize(&rcache->stripes);
}

/*
 * Deregister and free what nobody refers to any more; returns how many of them
 * were registered.  No lock held.
 */
int ummu_release(struct ummu_rcache *rcache, struct released *released)
{
	struct region *region;
	int deregistered = 0;
	int cancel;

	if (!released->first)
		return 0;
	cancel = ummu_cancel_disable();
	while ((region = released->first)) {
		released->first = region->next;
		deregistered += region->registered;
		/* The pinner may ask ummu_region_valid(): watched till then. */
		ummu_unregister(rcache, region);
		ummu_unwatch(rcache, region);
		ummu_region_free(rcache, region);
	}
	ummu_cancel_restore(cancel);
	return deregistered;
}

/* Give up one reference, with no lock held. */
void ummu_drop_now(struct ummu_rcache *rcache, struct region *region)
{
	struct released released = { NULL };

	ummu_drop(region, &released);
	ummu_release(rcache, &released);
}

/* A region the caller has a reference to leaves, unless it has left already. */
void ummu_retire(struct ummu_rcache *rcache, struct region *region,
		 enum leave_reason reason)
{
	struct released released = { NULL };

	ummu_stripes_write_lock(&rcache->stripes);
	if (__atomic_load_n(&region->state, __ATOMIC_RELAXED) == REGION_LIVE) {
		ummu_ring_remove(rcache, region);
		ummu_unlink(rcache, region, reason);
		ummu_drop(region, &released);
	}
	ummu_stripes_write_unlock(&rcache->stripes);
	ummu_release(rcache, &released);
}

static enum leave_reason leave_reason_of(uint32_t reason)
{
	switch (reason) {
	case UMMU_REASON_UNMAP:
		return LEAVE_UNMAP;
	case UMMU_REASON_CLEAR:
		return LEAVE_CLEAR;
	case UMMU_REASON_MOVE:
		return LEAVE_MOVE;
	default:
		return LEAVE_OTHER;
	}
}

/* The memory of a region changed.  Write lock.  True if it left by that. */
static bool spoil(struct ummu_rcache *rcache, struct region *region,
		  enum leave_reason reason, struct released *released)
{
	uint32_t state = __atomic_load_n(&region->state, __ATOMIC_RELAXED);

	if (state == REGION_RETIRED)
		return false;
	/* Relaxed: its owner reads it under the write lock. */
	__atomic_store_n(&region->stale, true, __ATOMIC_RELAXED);
	if (state == REGION_PENDING)
		return false; /* the owner will not publish it */
	ummu_ring_remove(rcache, region);
	ummu_unlink(rcache, region, reason);
	ummu_drop(region, released);
	return true;
}

/*
 * model: REAP.  Handle some events in one hold of the write lock; true if there
 * may be more.  Reading an event and using the region that its cookie names
 * happen in the same hold: see internal.h.
 */
static bool reap_some(struct ummu_rcache *rcache, struct released *released)
{
	struct ummu_event events[EVENT_BATCH];
	uint64_t generation;
	bool more = true;
	int count;

	ummu_stripes_write_lock(&rcache->stripes);
	for (int done = 0; done < EVENTS_PER_HOLD; done += count) {
		/*
		 * Sampled before the read that empties the queue: what is queued
		 * after that read moves the generation past the sample.
		 */
		generation = ummu_monitor_generation(rcache->monitor);
		count = ummu_monitor_read(rcache->monitor, events, EVENT_BATCH);
		for (int i = 0; i < count; i++)
			spoil(rcache,
			      (struct region *)(uintptr_t)events[i].cookie,
			      leave_reason_of(events[i].reason), released);
		if (count < EVENT_BATCH) {
			/* Relaxed: a stale value costs one more reap. */
			__atomic_store_n(&rcache->seen, generation,
					 __ATOMIC_RELAXED);
			more = false;
			break;
		}
	}
	ummu_stripes_write_unlock(&rcache->stripes);
	return more;
}

static __attribute__((noinline)) int reap(struct ummu_rcache *rcache)
{
	struct released released = { NULL };
	int cancel = ummu_cancel_disable();
	int deregistered = 0;
	bool more;

	do {
		more = reap_some(rcache, &released);
		deregistered += ummu_release(rcache, &released);
	} while (more);
	ummu_cancel_restore(cancel);
	return deregistered;
}

/*
 * Retire what was invalidated since the last reap; returns how many regions
 * were deregistered.  One comparison when nothing was.  No lock held.
 */
int ummu_reap(struct ummu_rcache *rcache)
{
	if (__builtin_expect(ummu_monitor_generation(rcache->monitor) ==
				     __atomic_load_n(&rcache->seen,
						     __ATOMIC_RELAXED),
			     1))
		return 0;
	return reap(rcache);
}

/* Everything linked that overlaps the request leaves.  Write lock. */
static int spoil_range(struct ummu_rcache *rcache,
		       const struct request *request, struct released *released)
{
	struct ummu_interval *node, *next;
	int left = 0;

	for (node = ummu_interval_first(&rcache->tree, request->start,
					request->last);
	     node; node = next) {
		next = ummu_interval_next(node, request->start, request->last);
		left += spoil(rcache, container_of(node, struct region, node),
			      LEAVE_OTHER, released);
	}
	return left;
}

int ummu_rcache_invalidate(struct ummu_rcache *rcache, const void *addr,
			   size_t length)
{
	struct released released = { NULL };
	struct request request;
	int left;

	/* First, as in every call: a child touches no lock. */
	if (ummu_monitor_status(rcache->monitor) == -ECHILD)
		return -ECHILD;
	if (ummu_request_init(&request, rcache->page_mask, addr, length, 0))
		return -EINVAL;

	ummu_reap(rcache);
	ummu_stripes_write_lock(&rcache->stripes);
	left = spoil_range(rcache, &request, &released);
	ummu_stripes_write_unlock(&rcache->stripes);
	ummu_release(rcache, &released);
	return left;
}
