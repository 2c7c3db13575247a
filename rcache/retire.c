/* SPDX-License-Identifier: MIT */
/* retire.c - take regions out of lookup, and release them after their last use. */
#define _GNU_SOURCE
#include <errno.h>

#include "internal.h"

/* Events fetched by one read; and handled in one hold of the lock. */
#define EVENT_BATCH 32
#define EVENTS_PER_HOLD 1024
#define EVENTS_PER_HIT EVENT_BATCH

/* R1.  Under the lock.  From here on no lookup returns the region. */
void ummu_retire_start(struct region *region)
{
	if (__atomic_exchange_n(&region->state, REGION_RETIRED,
				__ATOMIC_SEQ_CST) == REGION_USED)
		region->laned = true;
}

/* model: RETIRE.  A RETIRED region leaves tree and table.  Under the lock. */
void ummu_unlink(struct ummu_rcache *rcache, struct region *region,
		 enum leave_reason reason)
{
	ummu_interval_remove(&rcache->tree, &region->node);
	ummu_table_remove(rcache->table, region);
	__atomic_store_n(&rcache->regions, rcache->regions - 1,
			 __ATOMIC_RELAXED);
	__atomic_store_n(&rcache->bytes, rcache->bytes - region->pub.length,
			 __ATOMIC_RELAXED);
	ummu_count(&rcache->counters.left[reason], 1);
}

/* A live region leaves; ummu_retire_end() follows.  Under the lock. */
void ummu_retire_live(struct ummu_rcache *rcache, struct region *region,
		      enum leave_reason reason, struct region_list *retired)
{
	ummu_ring_remove(rcache, region);
	ummu_retire_start(region);
	ummu_unlink(rcache, region, reason);
	ummu_list_add(retired, region);
}

static bool any_laned(const struct region_list *list)
{
	for (struct region *region = list->first; region; region = region->next)
		if (region->laned)
			return true;
	return false;
}

/*
 * R2 and R3 for what has been retired in this hold of the lock: whatever nobody
 * holds joins @dead, for ummu_release().
 */
void ummu_retire_end(struct ummu_rcache *rcache, struct region_list *retired,
		     struct region_list *dead)
{
	bool known = !any_laned(retired) || ummu_see_slots(rcache);
	struct region *region;

	while ((region = ummu_list_take(retired))) {
		if ((region->laned && !known) || ummu_is_held(rcache, region))
			continue;
		ummu_set_state(region, REGION_DEAD);
		ummu_list_add(dead, region);
	}
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

/* model: UNWATCH.  No lock held. */
void ummu_unwatch(struct ummu_rcache *rcache, struct region *region)
{
	struct ummu_watch *watch = region->watch;

	if (!watch)
		return;
	/* NULL first: a fork in between leaks the handle, never frees twice. */
	region->watch = NULL;
	ummu_monitor_unwatch(rcache->monitor, watch);
}

/*
 * Deregister what is DEAD, and let its memory be used again; returns how many
 * of them were registered.  No lock held.
 */
int ummu_release(struct ummu_rcache *rcache, struct region_list *dead)
{
	struct region *region;
	struct ummu_call call;
	int deregistered = 0;

	if (!dead->first)
		return 0;
	call = ummu_call_begin();
	for (region = dead->first; region; region = region->next) {
		deregistered += region->registered;
		/* The pinner may ask ummu_region_valid(): watched till then. */
		ummu_unregister(rcache, region);
		ummu_unwatch(rcache, region);
	}
	ummu_regions_free(rcache, dead);
	return ummu_call_return(&call, deregistered);
}

/* A region the caller holds leaves, unless it has left already. */
void ummu_retire(struct ummu_rcache *rcache, struct region *region,
		 enum leave_reason reason)
{
	struct region_list retired = { NULL }, dead = { NULL };

	ummu_lock(rcache);
	if (ummu_is_live(region)) {
		ummu_retire_live(rcache, region, reason, &retired);
		ummu_retire_end(rcache, &retired, &dead);
	}
	ummu_unlock(rcache);
	ummu_release(rcache, &dead);
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

/* For ummu_region_unmapped().  Under the lock. */
static void note_unmapped(struct region *region, const struct ummu_event *event)
{
	if (event->reason != UMMU_REASON_UNMAP &&
	    event->reason != UMMU_REASON_MOVE)
		return;
	__atomic_store_n(&region->unmapped_start, event->hint_start,
			 __ATOMIC_RELAXED);
	__atomic_store_n(&region->unmapped_end, event->hint_end,
			 __ATOMIC_RELAXED);
}

/*
 * The memory of a region changed; NULL for @event: somebody said so.  Lock.  True
 * if it left by that.
 */
static bool spoil(struct ummu_rcache *rcache, struct region *region,
		  const struct ummu_event *event, struct region_list *retired)
{
	enum leave_reason reason = event ? leave_reason_of(event->reason) :
					   LEAVE_OTHER;
	bool pending = ummu_state(region) == REGION_PENDING;

	if (!pending && !ummu_is_live(region))
		return false;
	if (event)
		note_unmapped(region, event);
	/* Release: which part is known with it. */
	__atomic_store_n(&region->stale, true, __ATOMIC_RELEASE);
	if (pending)
		return false; /* the owner will not publish it */
	ummu_retire_live(rcache, region, reason, retired);
	return true;
}

/*
 * model: REAP.  Handle up to @most events; true if there may be more.  Reading an
 * event and using the region that its cookie names happen in the same hold of the
 * lock: see internal.h.
 */
static bool reap_up_to(struct ummu_rcache *rcache, int most,
		       struct region_list *dead)
{
	struct region_list retired = { NULL };
	struct ummu_event events[EVENT_BATCH];
	uint64_t generation;
	bool more = true;
	int count;

	for (int done = 0; done < most; done += count) {
		/*
		 * Sampled before the read that empties the queue: what is queued
		 * after that read moves the generation past the sample.
		 */
		generation = ummu_monitor_generation(rcache->monitor);
		if (!generation) {
			/* A child: a read would explain that, under the lock. */
			more = false;
			break;
		}
		count = ummu_reader_read(rcache->reader, events, EVENT_BATCH);
		for (int i = 0; i < count; i++)
			spoil(rcache,
			      (struct region *)(uintptr_t)events[i].cookie,
			      &events[i], &retired);
		if (count < EVENT_BATCH) {
			/* Relaxed: a stale value costs one more reap. */
			__atomic_store_n(&rcache->seen, generation,
					 __ATOMIC_RELAXED);
			more = false;
			break;
		}
	}
	ummu_retire_end(rcache, &retired, dead);
	return more;
}

static __attribute__((noinline)) int reap(struct ummu_rcache *rcache)
{
	const struct ummu_call call = ummu_call_begin();
	struct region_list dead = { NULL };
	int deregistered = 0;
	bool more;

	do {
		ummu_lock(rcache);
		more = reap_up_to(rcache, EVENTS_PER_HOLD, &dead);
		ummu_unlock(rcache);
		deregistered += ummu_release(rcache, &dead);
	} while (more);
	return ummu_call_return(&call, deregistered);
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

/*
 * The same for a hit or a put, which can wait neither for all of them nor for
 * the lock: what it leaves is still news to the next call.
 */
void ummu_reap_some(struct ummu_rcache *rcache)
{
	struct region_list dead = { NULL };
	struct ummu_call call;

	if (!ummu_mutex_trylock(&rcache->lock))
		return;
	call = ummu_call_begin();
	reap_up_to(rcache, EVENTS_PER_HIT, &dead);
	ummu_unlock(rcache);
	ummu_release(rcache, &dead);
	ummu_call_end(&call);
}

/* Everything linked that overlaps the request leaves.  Lock. */
static int spoil_range(struct ummu_rcache *rcache,
		       const struct request *request,
		       struct region_list *retired)
{
	struct ummu_interval *node, *next;
	int left = 0;

	for (node = ummu_interval_first(&rcache->tree, request->start,
					request->last);
	     node; node = next) {
		next = ummu_interval_next(node, request->start, request->last);
		left += spoil(rcache, container_of(node, struct region, node),
			      NULL, retired);
	}
	return left;
}

static int invalidate(struct ummu_rcache *rcache, const void *addr,
		      size_t length)
{
	struct region_list retired = { NULL }, dead = { NULL };
	struct request request;
	int left;

	/* First, as in every call: a child touches no lock. */
	if (ummu_monitor_status(rcache->monitor) == -ECHILD)
		return -ECHILD;
	if (ummu_request_init(&request, ~rcache->page_bits, addr, length, 0))
		return -EINVAL;

	ummu_reap(rcache);
	ummu_lock(rcache);
	left = spoil_range(rcache, &request, &retired);
	ummu_retire_end(rcache, &retired, &dead);
	ummu_unlock(rcache);
	ummu_release(rcache, &dead);
	/*
	 * Their watches have ended.  What a monitor cannot give back it does not
	 * have: it has failed, and the kernel has forgotten its ranges.
	 */
	ummu_monitor_release(rcache->monitor, addr, length);
	return left;
}

int ummu_rcache_invalidate(struct ummu_rcache *rcache, const void *addr,
			   size_t length)
{
	const struct ummu_call call = ummu_call_begin();

	return ummu_call_return(&call, invalidate(rcache, addr, length));
}
