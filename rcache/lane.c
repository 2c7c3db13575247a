/* SPDX-License-Identifier: MIT */
/* lane.c - holds: give out slots, move holds out of them, count them, end them. */
#define _GNU_SOURCE
#include <errno.h>
#include <time.h>

#include "../base/breakable.h"
#include "internal.h"

/*
 * Hits and puts of a thread that have reaped BURST times in WINDOW_MS
 * milliseconds leave it for the rest of them; PATIENCE calls later they look at
 * the clock.
 */
#define BURST 16
#define WINDOW_MS 8
#define PATIENCE 256

/* This thread's lane in this cache is used for the first time. */
static void claim(struct ummu_rcache *rcache, struct lane *lane,
		  unsigned int number)
{
	ummu_lock(rcache);
	for (unsigned int i = 0; i < LANE_SLOTS; i++)
		__atomic_store_n(&lane->slot[i], SLOT_FREE, __ATOMIC_RELEASE);
	if (rcache->lanes_used <= number)
		rcache->lanes_used = number + 1;
	rcache->lanes_claimed++;
	ummu_unlock(rcache);
}

/*
 * Every slot is taken: by regions that this thread has in use, or that another
 * thread has put.  Move the holds to the regions.
 */
static void spill(struct ummu_rcache *rcache, struct lane *lane)
{
	for (unsigned int i = 0; i < LANE_SLOTS; i++) {
		struct region *region = (struct region *)lane->slot[i];

		/* Before the slot is free: who counts reads it after that. */
		__atomic_fetch_add(&region->refs, 1, __ATOMIC_SEQ_CST);
		/* As a put: who counted in between has seen the hold twice. */
		ummu_slot_put(rcache, &lane->slot[i], region);
	}
}

/*
 * A free slot for the calling thread, which has found none in its lane; NULL:
 * it has no lane.  No lock held; not in a forked child.
 */
uintptr_t *ummu_lane_slot(struct ummu_rcache *rcache, struct lane **lane_p)
{
	unsigned int number = ummu_thread_number();
	struct lane *lane = &rcache->lanes[number];

	*lane_p = lane;
	if (!number)
		return NULL;
	for (unsigned int i = 0; i < LANE_SLOTS; i++)
		if (lane->slot[i] == SLOT_FREE)
			return &lane->slot[i];
	if (lane->slot[0])
		spill(rcache, lane);
	else
		claim(rcache, lane, number);
	return &lane->slot[0];
}

/* R3, its first half: look at all slots.  Under the lock. */
void ummu_count_slots(struct ummu_rcache *rcache)
{
	rcache->passes++;
	for (unsigned int i = 0; i < rcache->lanes_used; i++)
		for (unsigned int j = 0; j < LANE_SLOTS; j++) {
			/* Acquire: before ->refs; and the user is done. */
			uintptr_t slot = __atomic_load_n(&rcache->lanes[i]
								  .slot[j],
							 __ATOMIC_ACQUIRE);
			struct region *region = (struct region *)slot;

			if (slot <= SLOT_FREE)
				continue;
			if (region->pass != rcache->passes)
				region->seen = 0;
			region->pass = rcache->passes;
			region->seen++;
		}
}

/* Nobody but the calling thread has ever had a lane here. */
static bool is_alone(const struct ummu_rcache *rcache)
{
	return !rcache->lanes_claimed ||
	       (rcache->lanes_claimed == 1 && ummu_own_lane(rcache)->slot[0]);
}

/*
 * R2, and R3's first half.  Under the lock.  False: nothing is known, because
 * the kernel refuses what it did when this process began (a seccomp filter?).
 * Then what may be held stays registered until somebody puts it, or the cache
 * is destroyed.
 */
bool ummu_see_slots(struct ummu_rcache *rcache)
{
	bool known = is_alone(rcache) || ummu_broken(UMMU_BREAK_NO_BARRIER) ||
		     ummu_barrier_everywhere();

	if (!ummu_broken(UMMU_BREAK_NO_COUNT))
		ummu_count_slots(rcache);
	return known;
}

/* R3, the second half: is it held, as far as the last count tells?  Lock. */
bool ummu_is_held(const struct ummu_rcache *rcache, const struct region *region)
{
	int32_t holds = __atomic_load_n(&region->refs, __ATOMIC_SEQ_CST);

	if (region->laned && region->pass == rcache->passes)
		holds += (int32_t)region->seen;
	return holds > 0;
}

/*
 * P3.  The region may be another one by now, or be retired again; if nobody
 * holds it then, it is released all the same.  No lock held.
 */
__attribute__((noinline)) void ummu_last_put(struct ummu_rcache *rcache,
					     struct region *region)
{
	struct region_list dead = { NULL };

	ummu_lock(rcache);
	if (ummu_state(region) == REGION_RETIRED) {
		ummu_count_slots(rcache);
		if (!ummu_is_held(rcache, region)) {
			ummu_set_state(region, REGION_DEAD);
			ummu_list_add(&dead, region);
		}
	}
	ummu_unlock(rcache);
	ummu_release(rcache, &dead);
}

/* A put of what is in no slot of this thread.  No lock held. */
__attribute__((noinline)) void ummu_put_slowly(struct ummu_rcache *rcache,
					       struct region *region)
{
	/* Nothing is deregistered in a child; destroy frees the memory. */
	if (ummu_refs_put(region) &&
	    ummu_monitor_status(rcache->monitor) != -ECHILD)
		ummu_last_put(rcache, region);
}

/* Coarse: it costs a few loads. */
static uint32_t milliseconds(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
	return (uint32_t)time.tv_sec * 1000 +
	       (uint32_t)(time.tv_nsec / 1000000);
}

/*
 * The monitor has news, and this thread has a hit or a put.  To reap costs
 * microseconds, a hit nanoseconds: where invalidations come by the thousand, a
 * thread that only hits spends a hundredth of its time on them.  A miss reaps
 * all that there is, and so does a flush.
 */
bool ummu_lane_leaves_it(struct ummu_rcache *rcache)
{
	struct lane *lane = ummu_own_lane(rcache);
	uint32_t now;

	if (lane == rcache->lanes)
		return false;
	if (lane->patience) {
		lane->patience--;
		return true;
	}
	now = milliseconds();
	if (now - lane->window >= WINDOW_MS) {
		lane->window = now;
		lane->burst = 0;
	}
	if (lane->burst < BURST) {
		lane->burst++;
		return false;
	}
	lane->patience = PATIENCE;
	return true;
}
