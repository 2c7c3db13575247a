/* SPDX-License-Identifier: MIT */
/*
 * merge.c - register what adjoins or overlaps as one region.
 *
 * Only where the monitor says that watches may cover memory nobody asked for
 * (UMMU_CAPS_EXACT), and only ranges that were asked for, together: no memory
 * is registered that no get named.  A program that walks over an array in
 * pieces ends with one region of it.
 *
 * Each piece registers anew what came before it.  That is bounded: in all, the
 * bytes registered again are at most FREE_BYTES and PER_BYTE times what misses
 * have asked for.  Where that is spent, a piece is a region of its own.
 */
#define _GNU_SOURCE
#include "internal.h"

#define FREE_BYTES ((uint64_t)4 << 30)
#define PER_BYTE 8

/* May it be part of a region with those bits?  Under the lock. */
static bool may_join(const struct region *region, uint64_t access)
{
	return ummu_is_live(region) && region->pub.access == access &&
	       !ummu_watch_spent(region->watch);
}

static bool is_affordable(const struct ummu_rcache *rcache,
			  const struct range *whole,
			  const struct request *request)
{
	uint64_t length = ummu_range_length(whole);

	/* All of memory is no range that can be registered. */
	return length && (!rcache->max_bytes || length <= rcache->max_bytes) &&
	       rcache->merge_debt + length - ummu_request_length(request) <=
		       FREE_BYTES;
}

/* Widen @range by one neighbour.  False: there is none.  Under the lock. */
static bool join_one(struct ummu_rcache *rcache, const struct request *request,
		     struct range *range)
{
	/* A byte further on both sides: what adjoins, too. */
	uint64_t start = range->start ? range->start - 1 : 0;
	uint64_t last = range->last + 1 ? range->last + 1 : range->last;
	struct ummu_interval *node;

	for (node = ummu_interval_first(&rcache->tree, start, last); node;
	     node = ummu_interval_next(node, start, last)) {
		struct range whole = *range;

		if (whole.start > node->start)
			whole.start = node->start;
		if (whole.last < node->last)
			whole.last = node->last;
		if (ummu_range_length(&whole) == ummu_range_length(range))
			continue;
		if (!may_join(container_of(node, struct region, node),
			      request->access) ||
		    !is_affordable(rcache, &whole, request))
			continue;
		*range = whole;
		return true;
	}
	return false;
}

/* What to register for a request: its range, or more.  No lock held. */
struct range ummu_merge_range(struct ummu_rcache *rcache,
			      const struct request *request)
{
	struct range range = { request->start, request->last };
	uint64_t paid = PER_BYTE * ummu_request_length(request);

	ummu_lock(rcache);
	rcache->merge_debt -= paid < rcache->merge_debt ? paid :
							  rcache->merge_debt;
	while (join_one(rcache, request, &range))
		;
	rcache->merge_debt += ummu_range_length(&range) -
			      ummu_request_length(request);
	ummu_unlock(rcache);
	return range;
}

/*
 * A region has become live: those within it, with the same bits, leave.  Their
 * users keep them.  Under the lock.
 */
void ummu_merge_absorb(struct ummu_rcache *rcache, const struct region *into,
		       struct region_list *retired)
{
	uint64_t start = into->node.start, last = into->node.last;
	struct ummu_interval *node, *next;

	for (node = ummu_interval_first(&rcache->tree, start, last); node;
	     node = next) {
		struct region *region = container_of(node, struct region, node);

		next = ummu_interval_next(node, start, last);
		if (region != into && node->start >= start &&
		    node->last <= last && ummu_is_live(region) &&
		    region->pub.access == into->pub.access)
			ummu_retire_live(rcache, region, LEAVE_UNCOUNTED,
					 retired);
	}
}
