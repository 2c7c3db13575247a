/* SPDX-License-Identifier: MIT */
/* lookup.c - what a get asks for, and search for it under the lock. */
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
	request->addr = first;
	request->length = length;
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
	if (have == request->access)
		return true;
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
	request->answers[i].serves = ummu_covers(rcache, request->ask,
						 request->access);
}

/*
 * The linked region that serves a request, or NULL.  Under the lock.  On NULL
 * with request->unanswered the caller unlocks, calls ummu_request_ask() and
 * searches again.
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
		if (!pending_too && !ummu_is_live(region))
			continue;
		if (access_serves(rcache, request, region->pub.access))
			return region;
	}
	return NULL;
}
