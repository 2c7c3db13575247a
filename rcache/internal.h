/* SPDX-License-Identifier: MIT */
/*
 * internal.h - what the files of the registration cache share.
 *
 * Life of a region: PENDING (being registered) -> COLD or USED (live: lookups
 * find it; USED once one has returned it since the clock hand came by) ->
 * RETIRED (in no structure that a lookup sees) -> DEAD (nobody holds it; being
 * released) -> FREE.  Memory of regions is used again for regions, and freed
 * with the cache, so that ->state can be read at any time.
 *
 * Holds.  A region is held as often as it is noted in slots of lanes (lane.h)
 * plus ->refs, which may be negative: a put by another thread than got the
 * region leaves the slot and lowers ->refs.  The sum never is.
 *
 *   A hit: a table word or a tree node names r
 *     H1  slot = r                            (release)
 *     H2  load r->state                       (acquire)
 *     H3  COLD: make it USED by compare-and-exchange.  Neither: give up
 *     H4  compare the range, check the watch
 *   A put, and a hit that gives up:
 *     P1  slot = free                         (release), or --r->refs
 *     P2  load r->state                       (acquire)
 *     P3  RETIRED: lock, and release r if it is RETIRED with a sum of 0
 *   Whoever retires r, under the lock:
 *     R1  exchange r->state for RETIRED       (sequentially consistent)
 *     R2  if r is ->laned, or was USED: a full barrier in every thread
 *     R3  read all slots (acquire), then r->refs: a sum of 0 makes it DEAD
 *
 * Who is handed r at H4 is seen at R3, and nobody is handed it later.  R2
 * interrupts each running thread between two of its steps.  H2 before that
 * point: then H1 was, too, and R3 sees the slot.  H2 after that point: it loads
 * RETIRED or what came later, and H3 gives up.  Without R2 no thread has r by a
 * slot: H3's exchange would have come before R1's, which would have found USED.
 * The same for ->refs, which rises under the lock, or (spill() in lane.c)
 * before the slot that it stands for is freed; R3 reads them in that order.
 *
 * The last put of a retired region is seen.  P1 before R2's point: R3 sees it.
 * P2 after that point: P3 looks again, under the lock and after P1.  Of several
 * such the last to lock finds 0.  Lowering ->refs is a sequentially consistent
 * exchange followed by P2, as R1 is one followed by R3: one sees the other.  A
 * slot that H1 filled with a region that has since become another one is a hold
 * of that one, for a moment; it ends with P1 to P3.
 *
 * So the memory of a region is not used again while a lookup may return it or
 * a user has it: FREE comes after DEAD, and DEAD after R3.
 *
 * Events.  The cookie of a watch is its region's address, so an event that is
 * read becomes a pointer.  The monitor is claimed, so that each is
 * one of ours.  Events are read, and what they point to is used, only inside
 * one hold of the lock.  A region becomes FREE under the lock,
 * after its watch was unwatched, which drops an event that was not read.  A
 * reader that has got the cookie did so inside a hold of the lock that began
 * before that, and finds it RETIRED or DEAD.
 *
 * Locks: rcache->lock, and that of thread.c.  They are not held together.
 * Monitor calls are made with the lock held (read, generation) and the barrier
 * is had with it held; they never call out and never wait for a lock of a
 * cache.  Nothing is allocated, freed, watched or pinned under it, nor put into
 * words: base/lock.h has that rule, and the order of all locks.
 *
 * Every call keeps errno, and no thread is cancelled in one (base/call.h): flush,
 * invalidate and the like begin and end so, and in get and put each way that
 * leads to a system call or to the pinner.  A plain hit does neither.
 *
 * A forked child calls nothing of a cache but destroy, which takes no lock: it
 * frees the chunks and the tables, which are linked by one store each.
 */
#ifndef UMMU_RCACHE_INTERNAL_H
#define UMMU_RCACHE_INTERNAL_H

#include <ummunotify/rcache.h>

#include <pthread.h>
#include <stddef.h>
#include <sys/queue.h>

#include "../base/call.h"
#include "../base/containerof.h"
#include "../base/interval.h"
#include "../base/lock.h"
#include "lane.h"
#include "table.h"

enum region_state {
	REGION_FREE,	/* on the free list */
	REGION_PENDING, /* being registered: waited for, never handed out */
	REGION_COLD,	/* live, and not used since the clock hand came by */
	REGION_USED,	/* live */
	REGION_RETIRED, /* lookups do not find it, nor ever will again */
	REGION_DEAD,	/* and nobody has it any more */
};

/**
 * struct region - one registration
 * @pub:        what the user sees; constant while anybody but its owner, the
 *              thread that registers it, can see it
 * @proof, @expected: of the watch, here to be on the line of @pub; constant
 *              while live
 * @state:      enum region_state, atomic; written under the lock, or by the
 *              owner before the region is linked, except COLD to USED
 * @stale:      its memory changed; written under the lock, atomic for
 *              ummu_region_valid() and ummu_region_unmapped()
 * @registered: reg() succeeded and dereg() has not run; owner, then whoever
 *              makes it DEAD
 * @laned:      some lane may hold it, or have held it; lock
 * @watch:      NULL: not watched (any more); constant while live
 * @node:       its range, in rcache->tree while linked
 * @ring:       in rcache->ring while live; lock
 * @next:       in a list of one thread, or of free regions
 * @refs:       holds that are in no lane, less puts of those that are: atomic,
 *              see above; kept when the memory is used again
 * @seen:       slots that named it in count @pass; lock
 * @unmapped_start, @unmapped_end: the part that was unmapped first; written before
 *              @stale; relaxed atomics.  Empty: none is known
 * @private:    the pinner's
 */
struct region {
	struct ummu_region pub;
	const uint64_t *proof;
	uint64_t expected;
	uint32_t state;
	bool stale;
	bool registered;
	bool laned;
	struct ummu_watch *watch;
	struct ummu_interval node;
	union {
		TAILQ_ENTRY(region) ring;
		struct region *next;
	};
	int32_t refs;
	uint32_t seen;
	uint64_t pass;
	uint64_t unmapped_start, unmapped_end;
	_Alignas(max_align_t) unsigned char private[];
};

_Static_assert(offsetof(struct region, watch) <= LINE_BYTES,
	       "what a hit reads is one line");

/** A list of regions through ->next.  NULL: nothing. */
struct region_list {
	struct region *first;
};

/** Why regions leave, as far as statistics tell it apart. */
enum leave_reason {
	LEAVE_UNMAP,
	LEAVE_CLEAR,
	LEAVE_MOVE,
	LEAVE_OTHER,
	LEAVE_EVICTED,
	LEAVE_UNCOUNTED, /* flushed, merged, or never published */
	LEAVE_REASONS
};

/** Relaxed atomics all: they order nothing. */
struct counters {
	uint64_t hits; /* of threads without a lane */
	uint64_t misses;
	uint64_t registrations;
	uint64_t deregistrations;
	uint64_t uncached;
	uint64_t retries;
	uint64_t left[LEAVE_REASONS];
	uint64_t pinned_bytes;
	uint64_t reg_ns;
};

struct chunk;

/**
 * struct ummu_rcache - a cache
 * @proof:     holds @seen while the monitor has no news beyond doubt; atomic, as
 *             it is a word that is always 0 once the monitor is known to have
 *             failed: then every get asks for its status
 * @seen:      the monitor's generation up to which events were read; written
 *             under the lock, relaxed atomic for those who compare
 * @view:      of @table; atomic
 * @page_bits, @lanes, @threads, @ops, @monitor, @reader, @ctx, @max_bytes,
 * @max_regions, @merges, @region_bytes: constant; @page_bits: of an address, without those in a page
 * @lock:      all of the following, and with @settled the wait for PENDING
 *             regions
 * @lanes_used, @lanes_claimed: lanes that were ever used are below the one, and
 *             so many; they only grow
 * @tree:      linked regions; read without the lock too
 * @table:     live ones
 * @ring:      live ones in the order in which the clock hand meets them
 * @hand:      the next one it looks at, NULL for the first
 * @regions, @bytes: linked now; relaxed atomics for statistics
 * @merge_debt: bytes registered again because ranges were merged, less what
 *             misses have paid: see merge.c
 * @waiters:   who wait for @settled
 * @passes:    how often slots were counted
 * @free:      regions to use
 * @chunks, @chunk_bytes: their memory, the latest first, and how much; one
 *             atomic store links it
 */
struct ummu_rcache {
	_Alignas(LINE_BYTES) const uint64_t *proof;
	uint64_t seen;
	uint64_t view;
	uint64_t page_bits;
	struct lane *lanes;
	const uint64_t *threads;
	bool (*covers)(void *ctx, uint64_t have, uint64_t want);

	_Alignas(LINE_BYTES) struct ummu_monitor *monitor;
	struct ummu_reader *reader;
	struct ummu_rcache_ops ops;
	void *ctx;
	uint64_t max_bytes, max_regions;
	size_t region_bytes;
	bool merges;

	_Alignas(LINE_BYTES) pthread_mutex_t lock;
	pthread_cond_t settled;
	unsigned int lanes_used, lanes_claimed;
	unsigned int waiters;
	struct ummu_interval_tree tree;
	struct table *table;
	TAILQ_HEAD(, region) ring;
	struct region *hand;
	uint64_t regions, bytes;
	uint64_t merge_debt;
	uint64_t passes;
	struct region *free;
	struct chunk *chunks;
	size_t chunk_bytes;
	struct counters counters;
};

static inline void ummu_count(uint64_t *counter, uint64_t amount)
{
	__atomic_fetch_add(counter, amount, __ATOMIC_RELAXED);
}

static inline void ummu_lock(struct ummu_rcache *rcache)
{
	ummu_mutex_lock(&rcache->lock);
}

static inline void ummu_unlock(struct ummu_rcache *rcache)
{
	ummu_mutex_unlock(&rcache->lock);
}

/** ummu_covers - ask the pinner, as hits do too.  No lock held. */
static inline bool ummu_covers(const struct ummu_rcache *rcache, uint64_t have,
			       uint64_t want)
{
	const struct ummu_call call = ummu_call_begin();
	const bool covers = rcache->covers(rcache->ctx, have, want);

	ummu_call_end(&call);
	return covers;
}

/** Acquire: what the region is came before it got that state. */
static inline uint32_t ummu_state(const struct region *region)
{
	return __atomic_load_n(&region->state, __ATOMIC_ACQUIRE);
}

/** Release: the other side of that. */
static inline void ummu_set_state(struct region *region, uint32_t state)
{
	__atomic_store_n(&region->state, state, __ATOMIC_RELEASE);
}

static inline bool ummu_is_live(const struct region *region)
{
	uint32_t state = ummu_state(region);

	return state == REGION_COLD || state == REGION_USED;
}

static inline void ummu_list_add(struct region_list *list, struct region *region)
{
	region->next = list->first;
	list->first = region;
}

static inline struct region *ummu_list_take(struct region_list *list)
{
	struct region *region = list->first;

	if (region)
		list->first = region->next;
	return region;
}

#define ANSWER_COUNT 8

/**
 * struct request - what one get asks for; on its stack
 * @addr, @length: as the caller put it
 * @start, @last: whole pages, inclusive
 * @access:       bits wanted
 * @answers:      what the pinner's covers() said for this request, so that it
 *                need not be called with a lock held
 * @known:        how many of @answers are filled in
 * @unanswered:   a search met access bits @ask that are not among @answers
 */
struct request {
	uint64_t addr, length;
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

/** A range of addresses, inclusive. */
struct range {
	uint64_t start, last;
};

static inline uint64_t ummu_range_length(const struct range *range)
{
	return range->last - range->start + 1;
}

static inline uint64_t ummu_request_length(const struct request *request)
{
	return request->last - request->start + 1;
}

/* lane.c */
uintptr_t *ummu_lane_slot(struct ummu_rcache *rcache, struct lane **lane_p);
void ummu_last_put(struct ummu_rcache *rcache, struct region *region);
void ummu_put_slowly(struct ummu_rcache *rcache, struct region *region);
void ummu_count_slots(struct ummu_rcache *rcache);
bool ummu_is_held(const struct ummu_rcache *rcache, const struct region *region);
bool ummu_see_slots(struct ummu_rcache *rcache);
bool ummu_lane_leaves_it(struct ummu_rcache *rcache);

/** The calling thread's number if it is where it belongs, or 0. */
static inline unsigned int ummu_number_here(const struct ummu_rcache *rcache)
{
	uintptr_t thread = ummu_thread();

	/* Relaxed: the thread itself has written its word. */
	return ummu_thread_match(__atomic_load_n(&rcache->threads[ummu_thread_index(
							 thread)],
						 __ATOMIC_RELAXED),
				 thread);
}

/** The calling thread's number, or 0. */
static inline unsigned int ummu_own_number(const struct ummu_rcache *rcache)
{
	unsigned int number = ummu_number_here(rcache);

	return number ? number : ummu_number_further(rcache->threads);
}

static inline struct lane *ummu_own_lane(const struct ummu_rcache *rcache)
{
	return &rcache->lanes[ummu_own_number(rcache)];
}

/** P1 and P2 for a hold that is in no lane; true: P3 is to follow. */
static inline bool ummu_refs_put(struct region *region)
{
	__atomic_fetch_sub(&region->refs, 1, __ATOMIC_SEQ_CST);
	return __atomic_load_n(&region->state, __ATOMIC_SEQ_CST) ==
	       REGION_RETIRED;
}

/** P1 to P3 for a slot of the calling thread. */
static inline void ummu_slot_put(struct ummu_rcache *rcache, uintptr_t *slot,
				 struct region *region)
{
	__atomic_store_n(slot, SLOT_FREE, __ATOMIC_RELEASE);
	ummu_compiler_barrier();
	if (__builtin_expect(ummu_state(region) == REGION_RETIRED, 0))
		ummu_last_put(rcache, region);
}

/* memory.c */
int ummu_region_new(struct ummu_rcache *rcache, const struct range *range,
		    uint64_t access, struct region **region_p);
void ummu_regions_free(struct ummu_rcache *rcache, struct region_list *dead);
void ummu_chunks_free(struct ummu_rcache *rcache);
void ummu_sweep(struct ummu_rcache *rcache);
void ummu_abandon(struct ummu_rcache *rcache);
void ummu_link(struct ummu_rcache *rcache, struct region *region);

/* lookup.c */
int ummu_request_init(struct request *request, uint64_t page_mask,
		      const void *addr, size_t length, uint64_t access);
struct region *ummu_find(const struct ummu_rcache *rcache,
			 struct request *request, bool pending_too);
void ummu_request_ask(const struct ummu_rcache *rcache, struct request *request);

/* hit.c */
struct region *ummu_lookup(struct ummu_rcache *rcache, struct request *request,
			   bool *unsettled);

/* register.c */
int ummu_get_slowly(struct ummu_rcache *rcache, struct request *request,
		    bool unsettled, struct region **region_p);

/* merge.c */
struct range ummu_merge_range(struct ummu_rcache *rcache,
			      const struct request *request);
void ummu_merge_absorb(struct ummu_rcache *rcache, const struct region *into,
		       struct region_list *retired);

/* evict.c */
void ummu_ring_insert(struct ummu_rcache *rcache, struct region *region);
void ummu_ring_remove(struct ummu_rcache *rcache, struct region *region);
bool ummu_make_room(struct ummu_rcache *rcache, uint64_t length,
		    struct region_list *dead);
int ummu_evict_idle(struct ummu_rcache *rcache, uint64_t length);
int ummu_flush_idle(struct ummu_rcache *rcache);

/* retire.c */
void ummu_retire_start(struct region *region);
void ummu_unlink(struct ummu_rcache *rcache, struct region *region,
		 enum leave_reason reason);
void ummu_retire_live(struct ummu_rcache *rcache, struct region *region,
		      enum leave_reason reason, struct region_list *retired);
void ummu_retire_end(struct ummu_rcache *rcache, struct region_list *retired,
		     struct region_list *dead);
void ummu_unregister(struct ummu_rcache *rcache, struct region *region);
void ummu_unwatch(struct ummu_rcache *rcache, struct region *region);
int ummu_release(struct ummu_rcache *rcache, struct region_list *dead);
void ummu_retire(struct ummu_rcache *rcache, struct region *region,
		 enum leave_reason reason);
int ummu_reap(struct ummu_rcache *rcache);
void ummu_reap_some(struct ummu_rcache *rcache);

#endif
