/* SPDX-License-Identifier: MIT */
/* register.c - serve a get that found no region: watch, pin, validate, publish. */
#define _GNU_SOURCE
#include <errno.h>
#include <time.h>

#include "internal.h"

/* Registrations undone because the memory moved, before get gives up. */
#define RETRIES 8

/* What became of one attempt, when it is not -errno and not done (0). */
enum {
	LOOK_AGAIN = 1, /* somebody else has registered the range meanwhile */
	MOVED,		/* the memory changed during the registration */
	TOO_MUCH,	/* together with its neighbours it cannot be had */
};

/* Let go of a hold that is in no lane.  No lock held. */
static void drop(struct ummu_rcache *rcache, struct region *region)
{
	if (ummu_refs_put(region))
		ummu_last_put(rcache, region);
}

/* A region that was not linked goes; takes over the owner's hold. */
static void discard(struct ummu_rcache *rcache, struct region *region)
{
	ummu_set_state(region, REGION_RETIRED);
	drop(rcache, region);
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

/*
 * model: PIN.  No lock held.  Each retry follows an eviction, so it ends.  What
 * need not be had evicts nothing: a hole in it may look like no room.
 */
static int pin(struct ummu_rcache *rcache, struct region *region, bool needed)
{
	int error;

	do {
		error = call_reg(rcache, region);
	} while (needed && means_no_room(error) &&
		 ummu_evict_idle(rcache, region->pub.length));
	return error;
}

/*
 * Register @region, which is not linked, for this one get.  Takes over the
 * owner's hold: the user's on success, given up on failure.
 */
static int pin_single_use(struct ummu_rcache *rcache, struct region *region,
			  struct region **region_p)
{
	int error;

	ummu_unwatch(rcache, region);
	region->pub.cached = false;
	error = pin(rcache, region, true);
	if (error) {
		discard(rcache, region);
		return error;
	}
	/* From here on the last put releases it. */
	ummu_set_state(region, REGION_RETIRED);
	ummu_count(&rcache->counters.uncached, 1);
	*region_p = region;
	return 0;
}

static struct range range_of(const struct request *request)
{
	return (struct range){ request->start, request->last };
}

static int register_single_use(struct ummu_rcache *rcache,
			       const struct request *request,
			       struct region **region_p)
{
	const struct range range = range_of(request);
	struct region *region;
	int error = ummu_region_new(rcache, &range, request->access, &region);

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

/* model: INSERT.  Link @region unless another serves the request.  Lock. */
static enum admission admit_locked(struct ummu_rcache *rcache,
				   struct request *request,
				   struct region *region,
				   struct region **other_p,
				   struct region_list *dead)
{
	struct region *other = ummu_find(rcache, request, true);

	if (other) {
		/* Linked: it is not released before we unlock. */
		__atomic_fetch_add(&other->refs, 1, __ATOMIC_SEQ_CST);
		*other_p = other;
		return TAKEN;
	}
	if (request->unanswered)
		return UNKNOWN;
	if (!ummu_make_room(rcache, region->pub.length, dead))
		return NO_ROOM;
	ummu_link(rcache, region);
	return ADMITTED;
}

static enum admission admit(struct ummu_rcache *rcache, struct request *request,
			    struct region *region, struct region **other_p)
{
	struct region_list dead = { NULL };
	enum admission admission;

	for (;;) {
		ummu_lock(rcache);
		admission = admit_locked(rcache, request, region, other_p,
					 &dead);
		ummu_unlock(rcache);
		if (admission != UNKNOWN)
			break;
		ummu_request_ask(rcache, request);
	}
	ummu_release(rcache, &dead);
	return admission;
}

/* A region is PENDING no longer.  Under the lock. */
static void wake_waiters(struct ummu_rcache *rcache)
{
	if (rcache->waiters)
		pthread_cond_broadcast(&rcache->settled);
}

/* Wait while another thread registers @region.  Takes over the hold. */
static void wait_for(struct ummu_rcache *rcache, struct region *region)
{
	ummu_lock(rcache);
	rcache->waiters++;
	while (ummu_state(region) == REGION_PENDING)
		ummu_cond_wait(&rcache->settled, &rcache->lock);
	rcache->waiters--;
	ummu_unlock(rcache);
	drop(rcache, region);
}

/* The table has no room for many more: replace it by a larger one. */
static void enlarge_table(struct ummu_rcache *rcache, struct table *old)
{
	struct table *table = ummu_table_new(2 * old->size);

	if (!table)
		return; /* what it leaves out is found in the tree */
	ummu_lock(rcache);
	if (rcache->table != old) {
		ummu_unlock(rcache);
		ummu_table_free(table); /* another thread was faster */
		return;
	}
	ummu_table_move(old, table);
	rcache->table = table;
	/* Release: the words before their address. */
	__atomic_store_n(&rcache->view, table->view, __ATOMIC_RELEASE);
	ummu_unlock(rcache);
	ummu_table_forsake(old);
}

/* model: PUBLISH.  False if its memory changed meanwhile. */
static bool publish(struct ummu_rcache *rcache, struct region *region)
{
	struct region_list retired = { NULL }, dead = { NULL };
	struct table *crowded = NULL;
	bool stale;

	ummu_lock(rcache);
	stale = region->stale;
	if (!stale) {
		ummu_ring_insert(rcache, region);
		/* Release: all that lookups and waiters read of it. */
		ummu_set_state(region, REGION_COLD);
		ummu_table_insert(rcache->table, region);
		if (ummu_table_crowded(rcache->table))
			crowded = rcache->table;
		if (rcache->merges)
			ummu_merge_absorb(rcache, region, &retired);
		ummu_retire_end(rcache, &retired, &dead);
		wake_waiters(rcache);
	}
	ummu_unlock(rcache);
	ummu_release(rcache, &dead);
	if (crowded)
		enlarge_table(rcache, crowded);
	return !stale;
}

/* A PENDING region leaves without having been seen; the owner keeps it. */
static void withdraw(struct ummu_rcache *rcache, struct region *region)
{
	ummu_lock(rcache);
	ummu_retire_start(region);
	ummu_unlink(rcache, region, LEAVE_UNCOUNTED);
	wake_waiters(rcache);
	ummu_unlock(rcache);
}

/* After ummu_watch_valid() said no: known to have changed, or unknown? */
static bool has_moved(const struct region *region)
{
	return ummu_watch_spent(region->watch) ||
	       __atomic_load_n(&region->stale, __ATOMIC_RELAXED);
}

/*
 * Register a region that is linked as PENDING and watched.  Takes over the
 * owner's hold.  Nobody else uses a PENDING region, so it needs no lock until
 * it is published.
 */
static int register_admitted(struct ummu_rcache *rcache, struct region *region,
			     bool needed, struct region **region_p)
{
	int error = pin(rcache, region, needed);
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
	drop(rcache, region);
	return error;
}

/*
 * model: WATCH.  From here on an event can name the region, though it is not
 * linked; the monitor's lock orders its contents before that.
 */
static int watch(struct ummu_rcache *rcache, struct region *region)
{
	int error = ummu_reader_watch(rcache->reader, region->pub.addr,
				      region->pub.length, (uintptr_t)region,
				      &region->watch);

	if (error)
		return error;
	region->proof = region->watch->proof;
	region->expected = region->watch->expected;
	return 0;
}

/* One attempt to watch @region, link it and register it, as attempt(). */
static int try_region(struct ummu_rcache *rcache, struct request *request,
		      struct region *region, struct region **region_p)
{
	struct region *other;
	int error = watch(rcache, region);

	if (means_unwatchable(error))
		return pin_single_use(rcache, region, region_p);
	if (error) {
		discard(rcache, region);
		return error;
	}
	switch (admit(rcache, request, region, &other)) {
	case ADMITTED:
		return register_admitted(rcache, region, true, region_p);
	case NO_ROOM:
		return pin_single_use(rcache, region, region_p);
	default:
		discard(rcache, region);
		wait_for(rcache, other);
		return LOOK_AGAIN;
	}
}

/* The same with what it adjoins or overlaps; nothing is lost if that fails. */
static int try_merged(struct ummu_rcache *rcache, struct request *request,
		      struct region *region, struct region **region_p)
{
	struct region *other;
	int error;

	if (watch(rcache, region)) {
		discard(rcache, region);
		return TOO_MUCH;
	}
	switch (admit(rcache, request, region, &other)) {
	case ADMITTED:
		error = register_admitted(rcache, region, false, region_p);
		return error ? TOO_MUCH : 0;
	case NO_ROOM:
		discard(rcache, region);
		return TOO_MUCH;
	default:
		discard(rcache, region);
		wait_for(rcache, other);
		return LOOK_AGAIN;
	}
}

/*
 * One attempt at a region for @request; 0, -errno, LOOK_AGAIN, MOVED, or, if
 * it may be merged, TOO_MUCH.
 */
static int attempt(struct ummu_rcache *rcache, struct request *request,
		   bool merge, struct region **region_p)
{
	struct range range = range_of(request);
	struct region *region;
	int error;

	if (merge)
		range = ummu_merge_range(rcache, request);
	error = ummu_region_new(rcache, &range, request->access, &region);
	if (error)
		return error;
	if (ummu_range_length(&range) != ummu_request_length(request))
		return try_merged(rcache, request, region, region_p);
	if (rcache->max_bytes && region->pub.length > rcache->max_bytes)
		return pin_single_use(rcache, region, region_p);
	return try_region(rcache, request, region, region_p);
}

static int get_slowly(struct ummu_rcache *rcache, struct request *request,
		      bool unsettled, struct region **region_p)
{
	bool merge = rcache->merges;
	struct region *region;
	int moved = 0;
	int error;

	for (;;) {
		/* What has left need not be evicted. */
		ummu_reap(rcache);
		if (unsettled)
			return register_single_use(rcache, request, region_p);
		error = attempt(rcache, request, merge, region_p);
		if (error <= 0)
			return error;
		if (error == MOVED && ++moved > RETRIES)
			return -EAGAIN;
		merge = merge && error == LOOK_AGAIN;
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
	const struct ummu_call call = ummu_call_begin();

	ummu_count(&rcache->counters.misses, 1);
	return ummu_call_return(&call, get_slowly(rcache, request, unsettled,
						  region_p));
}
