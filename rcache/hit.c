/* SPDX-License-Identifier: MIT */
/* hit.c - the two calls that every message makes: get what is there, and put. */
#define _GNU_SOURCE
#include <errno.h>

#include "internal.h"

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* No more than a treap of a million regions has below each other. */
#define TREE_STEPS 128

/* A slot of the thread's own lane; NULL: none is free, or it has no lane. */
static inline uintptr_t *free_slot(struct lane *lane)
{
	for (unsigned int i = 0; i < LANE_SLOTS; i++)
		if (likely(lane->slot[i] == SLOT_FREE))
			return &lane->slot[i];
	return NULL;
}

static inline uintptr_t *slot_of(struct lane *lane, const struct region *region)
{
	for (unsigned int i = 0; i < LANE_SLOTS; i++)
		if (likely(lane->slot[i] == (uintptr_t)region))
			return &lane->slot[i];
	return NULL;
}

/*
 * H3, where the region is not USED.  First what has gone leaves: if this is part
 * of it, then to retire it costs no barrier.
 */
static __attribute__((noinline)) bool warm_up(struct ummu_rcache *rcache,
					      struct region *region)
{
	uint32_t cold = REGION_COLD;

	ummu_reap(rcache);
	/* The slot before the exchange, whatever the processor. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return __atomic_compare_exchange_n(&region->state, &cold, REGION_USED,
					   false, __ATOMIC_SEQ_CST,
					   __ATOMIC_ACQUIRE) ||
	       cold == REGION_USED;
}

/* No for length 0, and where the range wraps. */
static inline bool is_within(const struct region *region, uint64_t addr,
			     uint64_t length)
{
	uint64_t offset = addr - (uintptr_t)region->pub.addr;

	return offset < region->pub.length &&
	       length - 1 < region->pub.length - offset;
}

static inline bool serves(const struct ummu_rcache *rcache,
			  const struct region *region, uint64_t addr,
			  uint64_t length, uint64_t access)
{
	if (!is_within(region, addr, length))
		return false;
	if (access == region->pub.access)
		return true;
	if (rcache->covers)
		return ummu_covers(rcache, region->pub.access, access);
	return !(access & ~region->pub.access);
}

/* H1 to H4 without the watch.  True: the slot holds the region, which serves. */
static inline bool hold(struct ummu_rcache *rcache, uintptr_t *slot,
			struct region *region, uint64_t addr, uint64_t length,
			uint64_t access)
{
	__atomic_store_n(slot, (uintptr_t)region, __ATOMIC_RELEASE);
	ummu_compiler_barrier();
	if (unlikely(ummu_state(region) != REGION_USED) &&
	    !warm_up(rcache, region))
		goto give_up;
	if (likely(serves(rcache, region, addr, length, access)))
		return true;
give_up:
	ummu_slot_put(rcache, slot, region);
	return false;
}

/*
 * Not found where it belongs by its first address.  *none: there is no region of
 * that range, unless it is being linked or moved at this moment.
 */
static struct region *find_further(struct ummu_rcache *rcache,
				   struct lane *lane, uintptr_t *slot,
				   uint64_t addr, uint64_t length,
				   uint64_t access, bool *none)
{
	uint64_t view = __atomic_load_n(&rcache->view, __ATOMIC_ACQUIRE);
	uint64_t hash = ummu_table_hash(addr & rcache->page_bits);
	const uint64_t *words = ummu_table_words(view);
	size_t index = ummu_table_index(view, hash);
	struct ummu_interval *node;
	struct region *region;

	for (size_t i = 0; i < TABLE_PROBES; i++) {
		region = ummu_table_match(__atomic_load_n(&words[index ^ i],
							  __ATOMIC_ACQUIRE),
					  hash);
		if (region && hold(rcache, slot, region, addr, length, access))
			return region;
	}
	region = lane->recent;
	if (region && hold(rcache, slot, region, addr, length, access))
		return region;
	lane->recent = NULL;
	/* Wraps to less than addr if it is no range: then there is none. */
	node = ummu_interval_covering(&rcache->tree, addr, addr + (length - 1),
				      TREE_STEPS);
	*none = !node;
	if (!node)
		return NULL;
	region = container_of(node, struct region, node);
	if (!hold(rcache, slot, region, addr, length, access))
		return NULL;
	lane->recent = region;
	return region;
}

/* What the table has for that page where it belongs, or NULL. */
static inline struct region *look_there(const struct ummu_rcache *rcache,
					uint64_t addr)
{
	/* Acquire: the words before their address. */
	uint64_t view = __atomic_load_n(&rcache->view, __ATOMIC_ACQUIRE);
	uint64_t hash = ummu_table_hash(addr & rcache->page_bits);
	const uint64_t *words = ummu_table_words(view);

	return ummu_table_match(__atomic_load_n(&words[ummu_table_index(view,
									hash)],
						__ATOMIC_ACQUIRE),
				hash);
}

/* The same on the whole line of that place. */
static inline struct region *look_near(const struct ummu_rcache *rcache,
				       uint64_t addr)
{
	uint64_t view = __atomic_load_n(&rcache->view, __ATOMIC_ACQUIRE);
	uint64_t hash = ummu_table_hash(addr & rcache->page_bits);
	const uint64_t *line = &ummu_table_words(
		view)[ummu_table_index(view, hash) & ~(size_t)(TABLE_LINE - 1)];

	return ummu_table_match(__atomic_load_n(&line[ummu_table_guess(line,
								       hash)],
						__ATOMIC_ACQUIRE),
				hash);
}

/*
 * model: LOOKUP.  A live region that serves, held in @slot; its watch was not
 * looked at.  NULL: there is none, or it was overlooked; *none as above.
 */
static struct region *find(struct ummu_rcache *rcache, struct lane *lane,
			   uintptr_t *slot, uint64_t addr, uint64_t length,
			   uint64_t access, bool *none)
{
	struct region *region = look_there(rcache, addr);

	if (region && hold(rcache, slot, region, addr, length, access))
		return region;
	return find_further(rcache, lane, slot, addr, length, access, none);
}

/*
 * The same by the lock: for threads without a lane, for what was overlooked
 * because it is being moved, or hidden by a region with other access bits.
 */
static struct region *find_locked(struct ummu_rcache *rcache,
				  struct request *request)
{
	struct region *region;

	for (;;) {
		ummu_lock(rcache);
		region = ummu_find(rcache, request, false);
		if (region) {
			__atomic_fetch_add(&region->refs, 1, __ATOMIC_SEQ_CST);
			/* From COLD; it only makes R2 more careful. */
			ummu_set_state(region, REGION_USED);
		}
		ummu_unlock(rcache);
		if (region || !request->unanswered)
			return region;
		ummu_request_ask(rcache, request);
	}
}

/*
 * Without @thorough a region may be overlooked at the moment that it is linked:
 * then it is found before another one is.
 */
static struct region *find_anyhow(struct ummu_rcache *rcache,
				  struct request *request, bool thorough)
{
	struct lane *lane = ummu_own_lane(rcache);
	uintptr_t *slot = free_slot(lane);
	struct region *region = NULL;
	bool none = false;

	if (unlikely(!slot))
		slot = ummu_lane_slot(rcache, &lane);
	if (likely(slot != NULL))
		region = find(rcache, lane, slot, request->addr,
			      request->length, request->access, &none);
	if (likely(region != NULL) || (none && !thorough))
		return region;
	return find_locked(rcache, request);
}

static void put_hold(struct ummu_rcache *rcache, struct region *region)
{
	uintptr_t *slot = slot_of(ummu_own_lane(rcache), region);

	if (likely(slot != NULL))
		ummu_slot_put(rcache, slot, region);
	else
		ummu_put_slowly(rcache, region);
}

/*
 * A live region that serves the request and whose pages did not change, held;
 * NULL on a miss.  *unsettled is set when there is a region but the monitor
 * could not find out: it stays, and this request goes without it.
 *
 * No lock is held while the monitor is asked: on uffd that is a system call
 * which may store invalidations.  The region cannot go away meanwhile because
 * it is held; it can be retired, and then its user holds a registration that
 * was right when this get began, which is all that G1 asks.
 *
 * Each round that does not return takes one spent region out of the tree.
 */
static inline __attribute__((always_inline)) struct region *
lookup(struct ummu_rcache *rcache, struct request *request, bool thorough,
       bool *unsettled)
{
	struct region *region;

	while ((region = find_anyhow(rcache, request, thorough))) {
		/* model: VALIDATE */
		if (likely(ummu_watch_valid(region->watch)))
			return region;
		if (!ummu_watch_spent(region->watch)) {
			put_hold(rcache, region);
			*unsettled = true;
			return NULL;
		}
		/* Its event tells the reason; without one it leaves anyway. */
		ummu_reap(rcache);
		ummu_retire(rcache, region, LEAVE_OTHER);
		put_hold(rcache, region);
	}
	return NULL;
}

/* The same, thorough: for a get that has looked before. */
struct region *ummu_lookup(struct ummu_rcache *rcache, struct request *request,
			   bool *unsettled)
{
	return lookup(rcache, request, true, unsettled);
}

static void count_hit(struct ummu_rcache *rcache)
{
	struct lane *lane = ummu_own_lane(rcache);

	if (likely(lane != rcache->lanes))
		__atomic_store_n(&lane->hits, lane->hits + 1, __ATOMIC_RELAXED);
	else
		ummu_count(&rcache->counters.hits, 1);
}

static inline bool generation_moved(const struct ummu_rcache *rcache)
{
	return unlikely(ummu_monitor_generation(rcache->monitor) !=
			__atomic_load_n(&rcache->seen, __ATOMIC_RELAXED));
}

/* There are news, and this is no child.  Reap some, unless that can wait. */
static void reap_news(struct ummu_rcache *rcache)
{
	if (!ummu_lane_leaves_it(rcache))
		ummu_reap_some(rcache);
}

/* The monitor has failed: no get is to be served without asking it. */
static void ask_always(struct ummu_rcache *rcache)
{
	static const uint64_t look_closer;

	/* Relaxed: what it says of ranges watched before is still true. */
	__atomic_store_n(&rcache->proof, &look_closer, __ATOMIC_RELAXED);
}

/* Where get() and get_undoing() end that are no plain hit. */
static __attribute__((noinline)) int get_checked(struct ummu_rcache *rcache,
						 void *addr, size_t length,
						 uint64_t access,
						 struct ummu_region **region_p)
{
	bool unsettled = false, news;
	struct request request;
	struct region *region;
	int error;

	/*
	 * Before any lock: in a child of fork its holder may not exist.  What
	 * a failed monitor has invalidated is still unpinned.
	 */
	error = ummu_monitor_status(rcache->monitor);
	if (unlikely(error)) {
		if (error != -ECHILD) {
			ask_always(rcache);
			ummu_reap(rcache);
		}
		return error;
	}
	error = ummu_request_init(&request, ~rcache->page_bits, addr, length,
				  access);
	if (error)
		return error;

	news = generation_moved(rcache);
	if (news)
		reap_news(rcache);
	/* In here: after a system call each return is one that is not foreseen. */
	region = lookup(rcache, &request, false, &unsettled);
	if (likely(region != NULL)) {
		count_hit(rcache);
		/* What the lookup made the monitor find out. */
		if (!news && generation_moved(rcache))
			reap_news(rcache);
	} else {
		error = ummu_get_slowly(rcache, &request, unsettled, &region);
		if (error == -EBADF)
			ask_always(rcache);
		if (error)
			return error;
	}
	*region_p = &region->pub;
	return 0;
}

/* @slot was filled by H1, and no hit came of it. */
static __attribute__((noinline)) int
get_undoing(struct ummu_rcache *rcache, void *addr, size_t length,
	    uint64_t access, struct ummu_region **region_p, uintptr_t *slot)
{
	ummu_slot_put(rcache, slot, (struct region *)*slot);
	return get_checked(rcache, addr, length, access, region_p);
}

/*
 * Is the monitor's word another one than was last seen, and not to be left to
 * others?  0 never is, which says "look closer" and is what a child of fork
 * reads.  @spend: one call of the patience that is left.
 */
static inline bool has_news(const struct ummu_rcache *rcache, struct lane *lane,
			    unsigned int spend)
{
	uint64_t word = __atomic_load_n(__atomic_load_n(&rcache->proof,
							__ATOMIC_RELAXED),
					__ATOMIC_ACQUIRE);

	if (likely(word == __atomic_load_n(&rcache->seen, __ATOMIC_RELAXED)))
		return false;
	if (!word || !lane->patience)
		return true;
	lane->patience -= spend;
	return false;
}

/*
 * H1 to H4 in one, as hold() and what follows it.  False: the slot is filled,
 * but this is no plain hit.
 */
static inline bool is_plain_hit(const struct ummu_rcache *rcache,
				struct lane *lane, uintptr_t *slot,
				struct region *region, uint64_t addr,
				uint64_t length, uint64_t access)
{
	__atomic_store_n(slot, (uintptr_t)region, __ATOMIC_RELEASE);
	ummu_compiler_barrier();
	/*
	 * model: VALIDATE, the last of these.  Acquire: what the invalidating
	 * thread did comes before what the caller does with "no".
	 */
	if (unlikely(ummu_state(region) != REGION_USED) ||
	    unlikely(!is_within(region, addr, length)) ||
	    (unlikely(access != region->pub.access) &&
	     (rcache->covers || access & ~region->pub.access)) ||
	    unlikely(__atomic_load_n(region->proof, __ATOMIC_ACQUIRE) !=
		     region->expected))
		return false;
	/* Relaxed, on the line of the slot. */
	__atomic_store_n(&lane->hits, lane->hits + 1, __ATOMIC_RELAXED);
	return true;
}

/*
 * A little further than ummu_rcache_get() looks: the line of the table, and the
 * region that this thread last found by looking for what contains a range.
 */
static __attribute__((noinline)) int
get_near(struct ummu_rcache *rcache, void *addr, size_t length, uint64_t access,
	 struct ummu_region **region_p, uintptr_t *slot)
{
	struct lane *lane = &rcache->lanes[ummu_number_here(rcache)];
	struct region *region = look_near(rcache, (uintptr_t)addr);

	if (!region)
		region = lane->recent;
	if (!region)
		return get_checked(rcache, addr, length, access, region_p);
	if (!is_plain_hit(rcache, lane, slot, region, (uintptr_t)addr, length,
			  access))
		return get_undoing(rcache, addr, length, access, region_p, slot);
	*region_p = &region->pub;
	return 0;
}

/*
 * What programs do most is here in full, and calls nothing on its way: the
 * region begins in the page that is asked for, is where its hash belongs, and
 * was used before.
 */
int ummu_rcache_get(struct ummu_rcache *rcache, void *addr, size_t length,
		    uint64_t access, struct ummu_region **region_p)
{
	struct lane *lane = &rcache->lanes[ummu_number_here(rcache)];
	uintptr_t *slot = free_slot(lane);
	struct region *region;

	if (unlikely(!slot) || unlikely(has_news(rcache, lane, 1)))
		return get_checked(rcache, addr, length, access, region_p);
	region = look_there(rcache, (uintptr_t)addr);
	if (unlikely(!region))
		return get_near(rcache, addr, length, access, region_p, slot);
	if (unlikely(!is_plain_hit(rcache, lane, slot, region, (uintptr_t)addr,
				   length, access)))
		return get_undoing(rcache, addr, length, access, region_p, slot);
	*region_p = &region->pub;
	return 0;
}

static __attribute__((noinline)) void put_checked(struct ummu_rcache *rcache)
{
	/* To a child the generation, too, is another one. */
	if (generation_moved(rcache) &&
	    ummu_monitor_status(rcache->monitor) != -ECHILD)
		reap_news(rcache);
}

/* P3, and then what every put does. */
static __attribute__((noinline)) void put_last(struct ummu_rcache *rcache,
					       struct region *region)
{
	ummu_last_put(rcache, region);
	put_checked(rcache);
}

/* In no slot of this lane, or the thread's number is not where it belongs. */
static __attribute__((noinline)) void put_elsewhere(struct ummu_rcache *rcache,
						    struct region *region)
{
	put_hold(rcache, region);
	put_checked(rcache);
}

/* model: DROP */
void ummu_rcache_put(struct ummu_rcache *rcache, struct ummu_region *pub)
{
	struct region *region = container_of(pub, struct region, pub);
	struct lane *lane = &rcache->lanes[ummu_number_here(rcache)];
	uintptr_t *slot = slot_of(lane, region);

	if (unlikely(!slot)) {
		put_elsewhere(rcache, region);
		return;
	}
	/* P1 to P3, as ummu_slot_put(). */
	__atomic_store_n(slot, SLOT_FREE, __ATOMIC_RELEASE);
	ummu_compiler_barrier();
	if (unlikely(ummu_state(region) == REGION_RETIRED))
		put_last(rcache, region);
	else if (unlikely(has_news(rcache, lane, 0))) /* its get has paid */
		put_checked(rcache);
}
