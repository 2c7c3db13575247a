/* SPDX-License-Identifier: MIT */
/*
 * internal.h - what the files of the registration cache share.
 *
 * Life of a region: PENDING (being registered) -> LIVE (published: lookups
 * find it) -> RETIRED (in no structure that a lookup sees).
 *
 * References: one for the cache while the region is linked (PENDING or LIVE),
 * one for each user and each waiter.  Whoever drops the last one releases the
 * region: dereg, unwatch, free, in its own thread and with no lock held.  A new
 * reference is taken under a stripe of a region that is linked, so the count
 * never rises from 0, and under the write lock a region with one reference is
 * idle and stays so.
 *
 * When region memory may be freed.  The cookie of a watch is its region's
 * address, so an event that is read becomes a pointer.  Events are read, and
 * what they point to is used, only inside one hold of the write lock.  Memory
 * is freed after
 *   (a) the region was unlinked under the write lock, or never linked,
 *   (b) its watch was unwatched, which drops an event that was not read, and
 *   (c) ummu_stripes_synchronize() after that.
 * Proof: a lookup cannot reach it because of (a) and the references.  A reader
 * of events that got its cookie did so before (b), inside a hold of the write
 * lock that began before (b); (c) waits for the end of that hold, and no later
 * hold can get the cookie.  region->watch == NULL says that (b) and (c) are
 * done.
 *
 * Locks: the stripes; rcache->lock; the registry of caches (fork.c), which is
 * taken before rcache->lock around a fork.  No other two are held together.
 * Monitor calls are made with the write lock held (read, generation); they
 * never call out and never wait for a lock of a cache.
 */
#ifndef UMMU_RCACHE_INTERNAL_H
#define UMMU_RCACHE_INTERNAL_H

#include <ummunotify/rcache.h>

#include <pthread.h>
#include <stdalign.h>
#include <stddef.h>
#include <sys/queue.h>

#include "../base/containerof.h"
#include "../base/interval.h"
#include "stripes.h"

enum region_state {
	REGION_PENDING, /* being registered: waited for, never handed out */
	REGION_LIVE,	/* lookups find it */
	REGION_RETIRED, /* they do not, nor ever will again */
};

/**
 * struct region - one registration
 * @pub:        what the user sees; constant while anybody but its owner, the
 *              thread that registers it, can see it
 * @node:       its range, in rcache->tree while linked
 * @watch:      NULL: not watched (any more); constant while LIVE
 * @refs:       atomic, see above
 * @state:      enum region_state; written under the write lock (or by the
 *              owner before it is linked), atomic for the threads that wait
 * @used:       handed out since the clock hand passed; relaxed atomic, only a
 *              hint for eviction
 * @stale:      its memory changed; written under the write lock, relaxed
 *              atomic for ummu_region_valid()
 * @registered: reg() succeeded and dereg() has not run; owner, then whoever
 *              drops the last reference
 * @ring:       in rcache->ring while LIVE; write lock
 * @member:     in rcache->all; cache->lock
 * @next:       in the list of the thread that dropped the last reference
 * @private:    the pinner's
 */
struct region {
	struct ummu_region pub;
	struct ummu_interval node;
	struct ummu_watch *watch;
	uint32_t refs;
	uint32_t state;
	uint32_t used;
	bool stale;
	bool registered;
	TAILQ_ENTRY(region) ring;
	LIST_ENTRY(region) member;
	struct region *next;
	alignas(max_align_t) unsigned char private[];
};

/** What one thread has to release once it holds no lock.  NULL: nothing. */
struct released {
	struct region *first;
};

/** Why regions leave, as far as statistics tell it apart. */
enum leave_reason {
	LEAVE_UNMAP,
	LEAVE_CLEAR,
	LEAVE_MOVE,
	LEAVE_OTHER,
	LEAVE_EVICTED,
	LEAVE_UNCOUNTED, /* flushed, or never published */
	LEAVE_REASONS
};

/** Relaxed atomics all: they order nothing. */
struct counters {
	uint64_t misses;
	uint64_t registrations;
	uint64_t deregistrations;
	uint64_t uncached;
	uint64_t retries;
	uint64_t left[LEAVE_REASONS];
	uint64_t pinned_bytes;
	uint64_t reg_ns;
};

/**
 * struct ummu_rcache - a cache
 * @monitor, @ops, @ctx, @max_bytes, @max_regions, @page_mask: constant
 * @seen:     the monitor's generation up to which events were read; written
 *            under the write lock, atomic for those who compare
 * @tree:     linked regions; stripes
 * @ring:     LIVE regions in the order in which the clock hand meets them
 * @hand:     the next one it looks at, NULL for the first; write lock
 * @regions, @bytes: linked now; written under the write lock, relaxed atomics
 *            for statistics
 * @lock:     protects @all and, with @settled, the wait for PENDING regions
 * @settled:  some region is PENDING no longer
 * @all:      every region there is, so that destroy can find it
 * @registry: in the list of caches; lock of fork.c
 */
struct ummu_rcache {
	struct ummu_monitor *monitor;
	struct ummu_rcache_ops ops;
	void *ctx;
	uint64_t max_bytes, max_regions;
	uint64_t page_mask;

	uint64_t seen;
	struct ummu_interval_tree tree;
	TAILQ_HEAD(, region) ring;
	struct region *hand;
	uint64_t regions, bytes;

	pthread_mutex_t lock;
	pthread_cond_t settled;
	LIST_HEAD(, region) all;

	LIST_ENTRY(ummu_rcache) registry;
	struct counters counters;
	struct stripes stripes;
};

static inline void ummu_count(uint64_t *counter, uint64_t amount)
{
	__atomic_fetch_add(counter, amount, __ATOMIC_RELAXED);
}

/** No deferred cancellation until ummu_cancel_restore(). */
static inline int ummu_cancel_disable(void)
{
	int before;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
	return before;
}

static inline void ummu_cancel_restore(int before)
{
	pthread_setcancelstate(before, NULL);
}

#define ANSWER_COUNT 8

/**
 * struct request - what one get asks for; on its stack
 * @start, @last: whole pages, inclusive
 * @access:       bits wanted
 * @answers:      what the pinner's covers() said for this request, so that it
 *                need not be called with a lock held
 * @known:        how many of @answers are filled in
 * @unanswered:   a search met access bits @ask that are not among @answers
 */
struct request {
	uint64_t start, last;
	uint64_t access;
	struct {
		uint64_t have;
		bool serves;
	} answers[ANSWER_COUNT];
	unsigned int known;
	bool unanswered;
	uint64_t ask;
};

static inline uint64_t ummu_request_length(const struct request *request)
{
	return request->last - request->start + 1;
}

/* Under the write lock; the stores are atomic for statistics. */
static inline void ummu_account_add(struct ummu_rcache *rcache,
				    const struct region *region)
{
	__atomic_store_n(&rcache->regions, rcache->regions + 1,
			 __ATOMIC_RELAXED);
	__atomic_store_n(&rcache->bytes, rcache->bytes + region->pub.length,
			 __ATOMIC_RELAXED);
}

static inline void ummu_account_sub(struct ummu_rcache *rcache,
				    const struct region *region)
{
	__atomic_store_n(&rcache->regions, rcache->regions - 1,
			 __ATOMIC_RELAXED);
	__atomic_store_n(&rcache->bytes, rcache->bytes - region->pub.length,
			 __ATOMIC_RELAXED);
}

/* lookup.c */
int ummu_request_init(struct request *request, uint64_t page_mask,
		      const void *addr, size_t length, uint64_t access);
struct region *ummu_find(const struct ummu_rcache *rcache,
			 struct request *request, bool pending_too);
void ummu_request_ask(const struct ummu_rcache *rcache, struct request *request);
struct region *ummu_lookup(struct ummu_rcache *rcache, struct request *request,
			   bool *unsettled);

/* register.c */
void ummu_region_free(struct ummu_rcache *rcache, struct region *region);
int ummu_get_slowly(struct ummu_rcache *rcache, struct request *request,
		    bool unsettled, struct region **region_p);

/* evict.c */
void ummu_ring_insert(struct ummu_rcache *rcache, struct region *region);
void ummu_ring_remove(struct ummu_rcache *rcache, struct region *region);
bool ummu_make_room(struct ummu_rcache *rcache, uint64_t length,
		    struct released *evicted);
int ummu_evict_idle(struct ummu_rcache *rcache, uint64_t length);
int ummu_flush_idle(struct ummu_rcache *rcache);

/* retire.c */
void ummu_unlink(struct ummu_rcache *rcache, struct region *region,
		 enum leave_reason reason);
void ummu_drop(struct region *region, struct released *released);
void ummu_unregister(struct ummu_rcache *rcache, struct region *region);
void ummu_unwatch(struct ummu_rcache *rcache, struct region *region);
int ummu_release(struct ummu_rcache *rcache, struct released *released);
void ummu_drop_now(struct ummu_rcache *rcache, struct region *region);
void ummu_retire(struct ummu_rcache *rcache, struct region *region,
		 enum leave_reason reason);
int ummu_reap(struct ummu_rcache *rcache);

/* fork.c */
int ummu_fork_prepare_for(struct ummu_rcache *rcache);
void ummu_fork_forget(struct ummu_rcache *rcache);

#endif
