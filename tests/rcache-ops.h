/* SPDX-License-Identifier: MIT */
/* rcache-ops.h - run a cache and a naive model of it side by side. */
#ifndef RCACHE_OPS_H
#define RCACHE_OPS_H

#include <stddef.h>
#include <stdint.h>

/** What a run did, to see that runs are worth something. */
struct rcache_ops_summary {
	uint64_t gets, hits, retries, evictions, uncached, failures;
};

/**
 * rcache_ops_run - do what @bytes say, and abort where the two differ
 * @summary: the run's numbers are added to it; NULL is allowed
 *
 * Any bytes are a program.
 */
void rcache_ops_run(const uint8_t *bytes, size_t count,
		    struct rcache_ops_summary *summary);

#endif
