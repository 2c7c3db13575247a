/* SPDX-License-Identifier: MIT */
/* rcache.c - the public calls of the registration cache. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/sized.h"
#include "internal.h"

static int copy_ops(struct ummu_rcache_ops *known,
		    const struct ummu_rcache_ops *ops)
{
	int error = ummu_sized_in(known, sizeof(*known), ops,
				  offsetof(struct ummu_rcache_ops, covers));

	if (error)
		return error;
	if (!known->reg || !known->dereg ||
	    known->private_size > SIZE_MAX - sizeof(struct region))
		return -EINVAL;
	return 0;
}

static int copy_opts(struct ummu_rcache_opts *known,
		     const struct ummu_rcache_opts *opts)
{
	if (opts)
		return ummu_sized_in(known, sizeof(*known), opts,
				     sizeof(opts->size));
	memset(known, 0, sizeof(*known));
	return 0;
}

static struct ummu_rcache *rcache_new(struct ummu_monitor *monitor,
				      const struct ummu_rcache_ops *ops,
				      void *ctx,
				      const struct ummu_rcache_opts *opts)
{
	struct ummu_rcache *rcache = aligned_alloc(STRIPE_ALIGN,
						   sizeof(*rcache));

	if (!rcache)
		return NULL;
	memset(rcache, 0, sizeof(*rcache));
	rcache->monitor = monitor;
	rcache->ops = *ops;
	rcache->ctx = ctx;
	rcache->max_bytes = opts->max_bytes;
	rcache->max_regions = opts->max_regions;
	rcache->page_mask = (uint64_t)sysconf(_SC_PAGESIZE) - 1;
	rcache->seen = ummu_monitor_generation(monitor);
	TAILQ_INIT(&rcache->ring);
	LIST_INIT(&rcache->all);
	pthread_mutex_init(&rcache->lock, NULL);
	pthread_cond_init(&rcache->settled, NULL);
	ummu_stripes_init(&rcache->stripes);
	return rcache;
}

static void rcache_free(struct ummu_rcache *rcache)
{
	ummu_stripes_destroy(&rcache->stripes);
	pthread_cond_destroy(&rcache->settled);
	pthread_mutex_destroy(&rcache->lock);
	free(rcache);
}

int ummu_rcache_create(struct ummu_monitor *monitor,
		       const struct ummu_rcache_ops *ops, void *ctx,
		       const struct ummu_rcache_opts *opts,
		       struct ummu_rcache **rcache_p)
{
	struct ummu_rcache_opts known_opts;
	struct ummu_rcache_ops known_ops;
	struct ummu_rcache *rcache;
	int error;

	if (!monitor || !ops || !rcache_p || copy_ops(&known_ops, ops) ||
	    copy_opts(&known_opts, opts))
		return -EINVAL;
	error = ummu_monitor_status(monitor);
	if (error)
		return error;
	error = ummu_monitor_claim(monitor);
	if (error)
		return error;
	rcache = rcache_new(monitor, &known_ops, ctx, &known_opts);
	if (!rcache) {
		error = -ENOMEM;
		goto unclaim;
	}
	error = ummu_fork_prepare_for(rcache);
	if (error)
		goto free_rcache;
	*rcache_p = rcache;
	return 0;

free_rcache:
	rcache_free(rcache);
unclaim:
	ummu_monitor_unclaim(monitor);
	return error;
}

/*
 * In a child nothing is deregistered, and the watches' handles are freed with
 * the monitor.  The condition variable is not destroyed, for that would wait
 * for waiters which exist in the parent only.
 */
static void destroy_in_child(struct ummu_rcache *rcache)
{
	struct region *region;

	/* Taken only after a raw clone(): see fork.c.  Leave it all alone. */
	if (pthread_mutex_trylock(&rcache->lock))
		return;
	pthread_mutex_unlock(&rcache->lock);
	while ((region = LIST_FIRST(&rcache->all))) {
		LIST_REMOVE(region, member);
		free(region);
	}
	free(rcache);
}

/*
 * A region that was not put is a mistake of the caller, who may still have I/O
 * on it: it stays registered and its memory is not freed.  But its watch ends,
 * because the next owner of the monitor's events would take the cookie for one
 * of its own.
 */
static void abandon(struct ummu_rcache *rcache)
{
	struct region *region;

	for (region = LIST_FIRST(&rcache->all); region;
	     region = LIST_NEXT(region, member)) {
		region->pub.cached = false; /* ummu_region_valid() says no */
		ummu_unwatch(rcache, region);
	}
}

void ummu_rcache_destroy(struct ummu_rcache *rcache)
{
	if (!rcache)
		return;
	if (ummu_monitor_status(rcache->monitor) == -ECHILD) {
		destroy_in_child(rcache);
		return;
	}
	ummu_flush_idle(rcache);
	abandon(rcache);
	ummu_fork_forget(rcache);
	ummu_monitor_unclaim(rcache->monitor);
	rcache_free(rcache);
}

int ummu_rcache_get(struct ummu_rcache *rcache, void *addr, size_t length,
		    uint64_t access, struct ummu_region **region_p)
{
	bool unsettled = false;
	struct request request;
	struct region *region;
	int error;

	/*
	 * Before any lock: in a child of fork its holder may not exist.  What
	 * a failed monitor has invalidated is still unpinned.
	 */
	error = ummu_monitor_status(rcache->monitor);
	if (__builtin_expect(error, 0)) {
		if (error != -ECHILD)
			ummu_reap(rcache);
		return error;
	}
	error = ummu_request_init(&request, rcache->page_mask, addr, length,
				  access);
	if (error)
		return error;

	region = ummu_lookup(rcache, &request, &unsettled);
	if (__builtin_expect(region != NULL, 1)) {
		/* Relaxed, on the line of this thread's stripe. */
		ummu_count(&ummu_stripes_mine(&rcache->stripes)->hits, 1);
		ummu_reap(rcache);
	} else {
		error = ummu_get_slowly(rcache, &request, unsettled, &region);
		if (error)
			return error;
	}
	*region_p = &region->pub;
	return 0;
}

void ummu_rcache_put(struct ummu_rcache *rcache, struct ummu_region *pub)
{
	struct region *region = container_of(pub, struct region, pub);

	if (__builtin_expect(ummu_monitor_status(rcache->monitor) == -ECHILD,
			     0)) {
		/* Nothing is deregistered here; destroy frees the memory. */
		__atomic_fetch_sub(&region->refs, 1, __ATOMIC_RELAXED);
		return;
	}
	ummu_drop_now(rcache, region);
	ummu_reap(rcache);
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
