/* SPDX-License-Identifier: MIT */
/* stats.c - report what a cache has counted. */
#define _GNU_SOURCE
#include <errno.h>

#include "../base/sized.h"
#include "../lib/explain.h"
#include "internal.h"

/* Relaxed: each number is right by itself, they are not one moment. */
static uint64_t value(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static uint64_t sum_of_hits(const struct ummu_rcache *rcache)
{
	uint64_t hits = value(&rcache->counters.hits);

	for (unsigned int i = 1; i < LANE_COUNT; i++)
		hits += value(&rcache->lanes[i].hits);
	return hits;
}

/* Takes no lock: works in a child of fork as well. */
int ummu_rcache_stats(const struct ummu_rcache *rcache,
		      struct ummu_rcache_stats *stats)
{
	const struct counters *counters = &rcache->counters;
	const struct ummu_call call = ummu_call_begin();
	const struct ummu_rcache_stats known = {
		.size = sizeof(known),
		.hits = sum_of_hits(rcache),
		.misses = value(&counters->misses),
		.registrations = value(&counters->registrations),
		.deregistrations = value(&counters->deregistrations),
		.uncached = value(&counters->uncached),
		.retries = value(&counters->retries),
		.evictions = value(&counters->left[LEAVE_EVICTED]),
		.invalidated_unmap = value(&counters->left[LEAVE_UNMAP]),
		.invalidated_clear = value(&counters->left[LEAVE_CLEAR]),
		.invalidated_move = value(&counters->left[LEAVE_MOVE]),
		.invalidated_other = value(&counters->left[LEAVE_OTHER]),
		.regions = value(&rcache->regions),
		.bytes = value(&rcache->bytes),
		.pinned_bytes = value(&counters->pinned_bytes),
		.reg_ns = value(&counters->reg_ns),
	};
	const char *why = ummu_sized_out(stats, &known, sizeof(known));

	return ummu_call_return(&call,
				why ? ummu_explain(-EINVAL,
						   "struct ummu_rcache_stats: %s",
						   why) :
				      0);
}
