/* SPDX-License-Identifier: MIT */
/* rcache.c - create and destroy a cache; what one may ask of a region. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/sized.h"
#include "../base/wipe.h"
#include "../lib/explain.h"
#include "internal.h"

/* Words of the first hash table: 4 KiB. */
#define LEAST_TABLE 512

static int copy_ops(struct ummu_rcache_ops *known,
		    const struct ummu_rcache_ops *ops)
{
	const char *why = ummu_sized_in(known, sizeof(*known), ops,
					offsetof(struct ummu_rcache_ops,
						 covers));

	if (!why && (!known->reg || !known->dereg))
		why = "reg or dereg is missing";
	if (!why &&
	    known->private_size > SIZE_MAX - sizeof(struct region) - LINE_BYTES)
		why = "private_size is no size";
	return why ? ummu_explain(-EINVAL, "struct ummu_rcache_ops: %s", why) :
		     0;
}

static int copy_opts(struct ummu_rcache_opts *known,
		     const struct ummu_rcache_opts *opts)
{
	const char *why = NULL;

	if (opts)
		why = ummu_sized_in(known, sizeof(*known), opts,
				    sizeof(opts->size));
	else
		memset(known, 0, sizeof(*known));
	return why ? ummu_explain(-EINVAL, "struct ummu_rcache_opts: %s", why) :
		     0;
}

/* A word of the monitor that tells in one load that there is no news. */
static const uint64_t *proof_of(const struct ummu_monitor *monitor)
{
	struct ummu_checkpoint checkpoint;

	ummu_monitor_checkpoint(monitor, &checkpoint);
	return checkpoint.proof;
}

static bool may_merge(const struct ummu_monitor *monitor)
{
	struct ummu_caps caps = { .size = sizeof(caps) };

	return !ummu_monitor_caps(monitor, &caps) &&
	       caps.flags & UMMU_CAPS_EXACT;
}

static size_t region_bytes(const struct ummu_rcache_ops *ops)
{
	size_t bytes = sizeof(struct region) + ops->private_size;

	return (bytes + LINE_BYTES - 1) / LINE_BYTES * LINE_BYTES;
}

static void rcache_free(struct ummu_rcache *rcache)
{
	ummu_wipe_free(rcache->lanes, LANE_COUNT * sizeof(struct lane));
	ummu_chunks_free(rcache);
	ummu_table_free(rcache->table);
	free(rcache);
}

static struct ummu_rcache *rcache_new(struct ummu_monitor *monitor,
				      const struct ummu_rcache_ops *ops,
				      void *ctx,
				      const struct ummu_rcache_opts *opts)
{
	struct ummu_rcache *rcache = aligned_alloc(LINE_BYTES, sizeof(*rcache));

	if (!rcache)
		return NULL;
	memset(rcache, 0, sizeof(*rcache));
	rcache->lanes = ummu_wipe_alloc(LANE_COUNT * sizeof(struct lane));
	rcache->table = ummu_table_new(LEAST_TABLE);
	if (!rcache->lanes || !rcache->table ||
	    ummu_threads_prepare(&rcache->threads)) {
		rcache_free(rcache);
		return NULL;
	}
	rcache->proof = proof_of(monitor);
	rcache->seen = ummu_monitor_generation(monitor);
	rcache->view = rcache->table->view;
	rcache->page_bits = ~((uint64_t)sysconf(_SC_PAGESIZE) - 1);
	rcache->covers = ops->covers;
	rcache->monitor = monitor;
	rcache->ops = *ops;
	rcache->ctx = ctx;
	rcache->max_bytes = opts->max_bytes;
	rcache->max_regions = opts->max_regions;
	rcache->region_bytes = region_bytes(ops);
	rcache->merges = may_merge(monitor);
	TAILQ_INIT(&rcache->ring);
	pthread_mutex_init(&rcache->lock, NULL);
	pthread_cond_init(&rcache->settled, NULL);
	return rcache;
}

static int create(struct ummu_monitor *monitor,
		  const struct ummu_rcache_ops *ops, void *ctx,
		  const struct ummu_rcache_opts *opts,
		  struct ummu_rcache **rcache_p)
{
	struct ummu_rcache_opts known_opts;
	struct ummu_rcache_ops known_ops;
	struct ummu_reader *reader;
	struct ummu_rcache *rcache;
	int error;

	if (!monitor || !ops || !rcache_p)
		return ummu_explain(
			-EINVAL,
			"ummu_rcache_create() needs a monitor, a pinner and a place for the cache");
	error = copy_ops(&known_ops, ops);
	if (!error)
		error = copy_opts(&known_opts, opts);
	if (error)
		return error;
	error = ummu_monitor_claim(monitor, &reader);
	if (error)
		return error;
	rcache = rcache_new(monitor, &known_ops, ctx, &known_opts);
	if (!rcache) {
		error = ummu_explain(-ENOMEM, "no memory for a cache");
		goto drop_reader;
	}
	rcache->reader = reader;
	*rcache_p = rcache;
	return 0;

drop_reader:
	ummu_reader_drop(reader);
	return error;
}

static void destroy(struct ummu_rcache *rcache)
{
	/*
	 * In a child nothing is deregistered, and the watches' handles are
	 * freed with the monitor.  Nor is the condition variable destroyed, for
	 * that would wait for waiters which exist in the parent only.
	 */
	if (ummu_monitor_status(rcache->monitor) != -ECHILD) {
		ummu_flush_idle(rcache);
		ummu_sweep(rcache);
		ummu_abandon(rcache);
		ummu_reader_drop(rcache->reader);
		pthread_cond_destroy(&rcache->settled);
		pthread_mutex_destroy(&rcache->lock);
	}
	rcache_free(rcache);
}

int ummu_rcache_create(struct ummu_monitor *monitor,
		       const struct ummu_rcache_ops *ops, void *ctx,
		       const struct ummu_rcache_opts *opts,
		       struct ummu_rcache **rcache_p)
{
	const struct ummu_call call = ummu_call_begin();

	return ummu_call_return(&call,
				create(monitor, ops, ctx, opts, rcache_p));
}

void ummu_rcache_destroy(struct ummu_rcache *rcache)
{
	const struct ummu_call call = ummu_call_begin();

	if (rcache)
		destroy(rcache);
	ummu_call_end(&call);
}

void *ummu_region_private(const struct ummu_region *pub)
{
	return (void *)container_of(pub, struct region, pub)->private;
}

bool ummu_region_valid(const struct ummu_region *pub)
{
	const struct region *region = container_of(pub, struct region, pub);

	/* The watch is constant while anybody has a cached region. */
	return pub->cached &&
	       !__atomic_load_n(&region->stale, __ATOMIC_RELAXED) &&
	       ummu_watch_valid(region->watch);
}

bool ummu_region_unmapped(const struct ummu_region *pub, void **addr_p,
			  size_t *length_p)
{
	const struct region *region = container_of(pub, struct region, pub);
	uint64_t start, end;

	/* Acquire: pairs with spoil() in retire.c. */
	if (!__atomic_load_n(&region->stale, __ATOMIC_ACQUIRE))
		return false;
	start = __atomic_load_n(&region->unmapped_start, __ATOMIC_RELAXED);
	end = __atomic_load_n(&region->unmapped_end, __ATOMIC_RELAXED);
	if (start == end)
		return false;
	*addr_p = (void *)(uintptr_t)start;
	*length_p = end - start;
	return true;
}
