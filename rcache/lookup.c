/* SPDX-License-Identifier: MIT */
/* lookup.c - find a region that serves a request and may be trusted. */
#define _GNU_SOURCE
#include <errno.h>

#include "internal.h"

int ummu_request_init(struct request *request, uint64_t page_mask,
		      const void *addr, size_t length, uint64_t access)
{
	uint64_t first = (uintptr_t)addr;
	uint64_t last = first + (length - 1);

	if (!length || last < first)
		return -EINVAL;
	/* Inclusive ends: rounding up cannot wrap at the top. */
	request->start = first & ~page_mask;
	request->last = last | page_mask;
	if (request->last - request->start >= SIZE_MAX)
		return -EINVAL;
	request->access = access;
	request->known = 0;
	request->unanswered = false;
	return 0;
}

/*
 * A search runs under a lock, and the pinner is never called under one.  So a
 * search uses the answers that covers() gave earlier to this request; one that
 * it lacks it leaves in request->ask.  Past ANSWER_COUNT different sets of bits
 * over one range the answer is no: another registration, never a wrong one.
 */
static bool access_serves(const struct ummu_rcache *rcache,
			  struct request *request, uint64_t have)
{
	if (!rcache->ops.covers)
		return (have & request->access) == request->access;

	for (unsigned int i = 0; i < request->known; i++)
		if (request->answers[i].have == have)
			return request->answers[i].serves;
	if (request->known < ANSWER_COUNT) {
		request->unanswered = true;
		request->ask = have;
	}
	return false;
}

/* Call covers() for what the last search lacked.  No lock held. */
void ummu_request_ask(const struct ummu_rcache *rcache, struct request *request)
{
	unsigned int i = request->known++;

	request->answers[i].have = request->ask;
	request->answers[i].serves = rcache->ops.covers(rcache->ctx,
							request->ask,
							request->access);
}

/*
 * The linked region that serves a request, or NULL.  Under a stripe or the
 * write lock.  On NULL with request->unanswered the caller unlocks, calls
 * ummu_request_ask() and searches again.
 */
struct region *ummu_find(const struct ummu_rcache *rcache,
			 struct request *request, bool pending_too)
{
	struct ummu_interval *node;
	uint64_t start = request->start;

	request->unanswered = false;
	/* What contains the range overlaps its first byte. */
	for (node = ummu_interval_first(&rcache->tree, start, start); node;
	     node = ummu_interval_next(node, start, start)) {
		struct region *region = container_of(node, struct region, node);

		if (node->last < request->last)
			continue;
		/* Relaxed: the state of linked regions changes under the lock. */
		if (!pending_too &&
		    __atomic_load_n(&region->state, __ATOMIC_RELAXED) !=
			    REGION_LIVE)
			continue;
		if (access_serves(rcache, request, region->pub.access))
			return region;
	}
	return NULL;
}

/* model: LOOKUP.  The region comes back with a reference. */
static struct region *find_live(struct ummu_rcache *rcache,
				struct request *request)
{
	struct region *region;
	struct stripe *stripe;

	for (;;) {
		stripe = ummu_stripes_read_lock(&rcache->stripes);
		region = ummu_find(rcache, request, false);
		if (region) {
			/*
			 * Relaxed: the cache's own reference, which only a
			 * writer gives up, keeps the region while we hold the
			 * stripe.
			 */
			__atomic_fetch_add(&region->refs, 1, __ATOMIC_RELAXED);
			/* Written only on change: no false sharing of hits. */
			if (!__atomic_load_n(&region->used, __ATOMIC_RELAXED))
				__atomic_store_n(&region->used, 1,
						 __ATOMIC_RELAXED);
		}
		ummu_stripes_read_unlock(stripe);
		if (region || !request->unanswered)
			return region;
		ummu_request_ask(rcache, request);
	}
}

/*
 * A LIVE region that serves the request and whose pages did not change, with a
 * reference; NULL on a miss.  *unsettled is set when there is a region but the
 * monitor could not find out: it stays, and this request goes without it.
 *
 * No lock is held while the monitor is asked: on uffd that is a system call
 * which may store invalidations.  The region cannot go away meanwhile because
 * of the reference; it can be retired, and then its user holds a registration
 * that was right when this get began, which is all that G1 asks.
 *
 * Each round that does not return takes one spent region out of the tree.
 */
struct region *ummu_lookup(struct ummu_rcache *rcache, struct request *request,
			   bool *unsettled)
{
	struct region *region;

	while ((region = find_live(rcache, request))) {
		/* model: VALIDATE */
		if (__builtin_expect(ummu_watch_valid(region->watch), 1))
			return region;
		if (!ummu_watch_spent(region->watch)) {
			ummu_drop_now(rcache, region);
			*unsettled = true;
			return NULL;
		}
		/* Its event tells the reason; without one it leaves anyway. */
		ummu_reap(rcache);
		ummu_retire(rcache, region, LEAVE_OTHER);
		ummu_drop_now(rcache, region);
	}
	return NULL;
}
