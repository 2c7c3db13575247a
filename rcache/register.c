/* SPDX-License-Identifier: MIT */
/* register.c - serve a get that found no region: watch, pin, validate, publish. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "internal.h"

/* Registrations undone because the memory moved, before get gives up. */
#define RETRIES 8

/* What became of one attempt, when it is not -errno and not done (0). */
enum {
	LOOK_AGAIN = 1, /* somebody else has registered the range meanwhile */
	MOVED,		/* the memory changed during the registration */
};

/* A PENDING region that nobody else knows, with the owner's reference. */
static int region_new(struct ummu_rcache *rcache, const struct request *request,
		      struct region **region_p)
{
	struct region *region = calloc(1, sizeof(*region) +
						  rcache->ops.private_size);

	if (!region)
		return -ENOMEM;
	region->pub.addr = (void *)(uintptr_t)request->start;
	region->pub.length = ummu_request_length(request);
	region->pub.access = request->access;
	region->pub.cached = true;
	region->node.start = request->start;
	region->node.last = request->last;
	region->refs = 1;
	region->state = REGION_PENDING;

	pthread_mutex_lock(&rcache->lock);
	LIST_INSERT_HEAD(&rcache->all, region, member);
	pthread_mutex_unlock(&rcache->lock);
	*region_p = region;
	return 0;
}

/* Nobody refers to it, and its watch has ended.  No lock held. */
void ummu_region_free(struct ummu_rcache *rcache, struct region *region)
{
	pthread_mutex_lock(&rcache->lock);
	LIST_REMOVE(region, member);
	pthread_mutex_unlock(&rcache->lock);
	free(region);
}

static uint64_t now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000ULL + (uint64_t)time.tv_nsec;
}

static int call_reg(struct ummu_rcache *rcache, struct region *region)
{
	uint64_t before = now_ns();
	int error = rcache->ops.reg(rcache->ctx, &region->pub);

	ummu_count(&rcache->counters.reg_ns, now_ns() - before);
	if (error)
		return error < 0 ? error : -EINVAL;
	region->registered = true;
	ummu_count(&rcache->counters.registrations, 1);
	ummu_count(&rcache->counters.pinned_bytes, region->pub.length);
	return 0;
}

static bool means_no_room(int error)
{
	return error == -ENOMEM || error == -EAGAIN || error == -ENOBUFS;
}

/* model: PIN.  No lock held.  Each retry follows an eviction, so it ends. */
static int pin(struct ummu_rcache *rcache, struct region *region)
{
	int error;

	do {
		error = call_reg(rcache, region);
	} while (means_no_room(error) &&
		 ummu_evict_idle(rcache, region->pub.length));
	return error;
}

/*
 * Register @region, which is not linked, for this one get.  Takes over the
 * owner's reference: the user's on success, dropped on failure.
 */
static int pin_single_use(struct ummu_rcache *rcache, struct region *region,
			  struct region **region_p)
{
	int error;

	ummu_unwatch(rcache, region);
	/* Relaxed: nobody else can reach it. */
	__atomic_store_n(&region->state, REGION_RETIRED, __ATOMIC_RELAXED);
	region->pub.cached = false;
	error = pin(rcache, region);
	if (error) {
		ummu_drop_now(rcache, region);
		return error;
	}
	ummu_count(&rcache->counters.uncached, 1);
	*region_p = region;
	return 0;
}

static int register_single_use(struct ummu_rcache *rcache,
			       const struct request *request,
			       struct region **region_p)
{
	struct region *region;
	int error = region_new(rcache, request, &region);

	return error ? error : pin_single_use(rcache, region, region_p);
}

/* The monitor cannot watch this range now, but the memory can be used. */
static bool means_unwatchable(int error)
{
	switch (error) {
	case -EOPNOTSUPP:
	case -EBUSY:
	case -EPERM:
	case -ENOMEM:
	case -ENOSPC:
	case -EAGAIN:
		return true;
	default:
		return false;
	}
}

enum admission {
	ADMITTED, /* linked, PENDING */
	NO_ROOM,  /* the bounds do not allow it */
	TAKEN,	  /* another region serves the request */
	UNKNOWN,  /* covers() has to be asked first */
};

/* model: INSERT.  Link @region unless another serves the request.  Write lock. */
static enum admission admit_locked(struct ummu_rcache *rcache,
				   struct request *request,
				   struct region *region,
				   struct region **other_p,
				   struct released *evicted)
{
	struct region *other = ummu_find(rcache, request, true);

	if (other) {
		/* Relaxed: linked, and so referred to by the cache. */
		__atomic_fetch_add(&other->refs, 1, __ATOMIC_RELAXED);
		*other_p = other;
		return TAKEN;
	}
	if (request->unanswered)
		return UNKNOWN;
	if (!ummu_make_room(rcache, region->pub.length, evicted))
		return NO_ROOM;
	__atomic_fetch_add(&region->refs, 1, __ATOMIC_RELAXED);
	ummu_interval_insert(&rcache->tree, &region->node);
	ummu_account_add(rcache, region);
	return ADMITTED;
}

static enum admission admit(struct ummu_rcache *rcache, struct request *request,
			    struct region *region, struct region **other_p)
{
	struct released evicted = { NULL };
	enum admission admission;

	for (;;) {
		ummu_stripes_write_lock(&rcache->stripes);
		admission = admit_locked(rcache, request, region, other_p,
					 &evicted);
		ummu_stripes_write_unlock(&rcache->stripes);
		if (admission != UNKNOWN)
			break;
		ummu_request_ask(rcache, request);
	}
	ummu_release(rcache, &evicted);
	return admission;
}

static void wake_waiters(struct ummu_rcache *rcache)
{
	/*
	 * The state changed before this.  A waiter that saw the old one under
	 * the lock waits by now; one that takes the lock later sees the new.
	 */
	pthread_mutex_lock(&rcache->lock);
	pthread_cond_broadcast(&rcache->settled);
	pthread_mutex_unlock(&rcache->lock);
}

/* Wait while another thread registers @region.  Takes over the reference. */
static void wait_for(struct ummu_rcache *rcache, struct region *region)
{
	pthread_mutex_lock(&rcache->lock);
	/* Acquire: pairs with the release of publish() and ummu_unlink(). */
	while (__atomic_load_n(&region->state, __ATOMIC_ACQUIRE) ==
	       REGION_PENDING)
		pthread_cond_wait(&rcache->settled, &rcache->lock);
	pthread_mutex_unlock(&rcache->lock);
	ummu_drop_now(rcache, region);
}

/* model: PUBLISH.  False if its memory changed meanwhile. */
static bool publish(struct ummu_rcache *rcache, struct region *region)
{
	bool stale;

	ummu_stripes_write_lock(&rcache->stripes);
	stale = region->stale;
	if (!stale) {
		ummu_ring_insert(rcache, region);
		/* Release: lookups see it through the stripes, waiters here. */
		__atomic_store_n(&region->state, REGION_LIVE, __ATOMIC_RELEASE);
	}
	ummu_stripes_write_unlock(&rcache->stripes);
	if (!stale)
		wake_waiters(rcache);
	return !stale;
}

/* A PENDING region leaves without having been seen; the owner keeps it. */
static void withdraw(struct ummu_rcache *rcache, struct region *region)
{
	ummu_stripes_write_lock(&rcache->stripes);
	ummu_unlink(rcache, region, LEAVE_UNCOUNTED);
	ummu_stripes_write_unlock(&rcache->stripes);
	wake_waiters(rcache);
	ummu_drop_now(rcache, region); /* the cache's reference */
}

/* After ummu_watch_valid() said no: known to have changed, or unknown? */
static bool has_moved(const struct region *region)
{
	return ummu_watch_spent(region->watch) ||
	       __atomic_load_n(&region->stale, __ATOMIC_RELAXED);
}

/*
 * Register a region that is linked as PENDING and watched.  Takes over the
 * owner's reference.  Nobody else uses a PENDING region, so it needs no lock
 * until it is published.
 */
static int register_admitted(struct ummu_rcache *rcache, struct region *region,
			     struct region **region_p)
{
	int error = pin(rcache, region);
	bool valid;

	if (error)
		goto withdraw;
	/*
	 * model: VALIDATE.  The watch is older than the pin: if it is valid
	 * now, the pages that were pinned are the pages that are mapped.  An
	 * invalidation after this spends the watch, which the next lookup
	 * checks.
	 */
	valid = ummu_watch_valid(region->watch);
	if (valid && publish(rcache, region)) {
		*region_p = region;
		return 0;
	}
	if (!valid && !has_moved(region)) {
		/* The monitor could not find out: for this get only. */
		withdraw(rcache, region);
		ummu_unwatch(rcache, region);
		region->pub.cached = false;
		ummu_count(&rcache->counters.uncached, 1);
		*region_p = region;
		return 0;
	}
	ummu_count(&rcache->counters.retries, 1);
	/* Before others try: they may need the room. */
	ummu_unregister(rcache, region);
	error = MOVED;
withdraw:
	withdraw(rcache, region);
	ummu_drop_now(rcache, region);
	return error;
}

/* One attempt at a region for @request; 0, -errno, LOOK_AGAIN or MOVED. */
static int attempt(struct ummu_rcache *rcache, struct request *request,
		   struct region **region_p)
{
	struct region *region, *other;
	int error;

	error = region_new(rcache, request, &region);
	if (error)
		return error;
	if (rcache->max_bytes && region->pub.length > rcache->max_bytes)
		return pin_single_use(rcache, region, region_p);

	/*
	 * model: WATCH.  From here on an event can name the region, though it
	 * is not linked; the monitor's lock orders its contents before that.
	 */
	error = ummu_monitor_watch(rcache->monitor, region->pub.addr,
				   region->pub.length, (uintptr_t)region,
				   &region->watch);
	if (means_unwatchable(error))
		return pin_single_use(rcache, region, region_p);
	if (error) {
		ummu_drop_now(rcache, region);
		return error;
	}

	switch (admit(rcache, request, region, &other)) {
	case ADMITTED:
		return register_admitted(rcache, region, region_p);
	case NO_ROOM:
		return pin_single_use(rcache, region, region_p);
	default:
		ummu_drop_now(rcache, region);
		wait_for(rcache, other);
		return LOOK_AGAIN;
	}
}

static int get_slowly(struct ummu_rcache *rcache, struct request *request,
		      bool unsettled, struct region **region_p)
{
	struct region *region;
	int moved = 0;
	int error;

	for (;;) {
		/* What has left need not be evicted. */
		ummu_reap(rcache);
		if (unsettled)
			return register_single_use(rcache, request, region_p);
		error = attempt(rcache, request, region_p);
		if (error <= 0)
			return error;
		if (error == MOVED && ++moved > RETRIES)
			return -EAGAIN;
		region = ummu_lookup(rcache, request, &unsettled);
		if (region) {
			*region_p = region;
			return 0;
		}
	}
}

/* A get that is not a hit.  @unsettled as ummu_lookup() left it.  No lock. */
int ummu_get_slowly(struct ummu_rcache *rcache, struct request *request,
		    bool unsettled, struct region **region_p)
{
	int cancel = ummu_cancel_disable();
	int error;

	ummu_count(&rcache->counters.misses, 1);
	error = get_slowly(rcache, request, unsettled, region_p);
	ummu_cancel_restore(cancel);
	return error;
}
