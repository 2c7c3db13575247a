/* SPDX-License-Identifier: MIT */
/*
 * libfabric-model.c - random histories of caches such as libfabric's, whose
 * entries must not be used once a page of theirs has left.
 *
 * The caches are arrays here and do what libfabric's do: look up, ask whether
 * the entry is valid, drop what overlaps, pin, and subscribe.  Several threads
 * are in the middle of that at one time, in turns.  An entry knows when it was
 * pinned and a page when it left: that is the oracle.
 *
 * On trust, which has a hole, it must find that hole.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake-backend.h"
#include "integrations/libfabric/ranges.h"

#define BASE ((char *)(uintptr_t)0x10000000)
#define PAGES 16
#define MAX 8
#define CACHES 3
#define THREADS 3
#define STEPS 20000

/* Some equal, some inside others, some overlapping; more than MAX. */
static const struct span {
	size_t first, pages;
} spans[] = {
	{ 0, 4 }, { 0, 2 }, { 2, 2 },  { 1, 2 },  { 4, 4 },  { 0, 8 },
	{ 8, 1 }, { 9, 1 }, { 10, 2 }, { 12, 4 }, { 13, 1 },
};

#define SPANS (sizeof(spans) / sizeof(*spans))

/** An entry, or a registration that is being made: when it was pinned. */
struct entry {
	bool there;
	uint64_t pinned;
};

/**
 * struct thread - what one is in the middle of
 * @pinning: for that cache and span, since entry.pinned
 */
struct thread {
	struct world *world;
	pthread_t id;
	sem_t go, done;
	void (*step)(struct thread *thread);
	size_t cache, span;
	struct entry pinning;
};

struct world {
	struct fake_monitor *fake;
	struct ummu_ranges *ranges;
	struct entry caches[CACHES][SPANS];
	uint64_t time;
	uint64_t left[PAGES];
	struct thread threads[THREADS];
	unsigned int seed;
	unsigned int hits, stale;
};

static size_t page;

static size_t pick(struct world *world, size_t count)
{
	return (size_t)rand_r(&world->seed) % count;
}

static bool overlap(const struct span *a, size_t first, size_t pages)
{
	return a->first < first + pages && first < a->first + a->pages;
}

static void drop(struct entry *cache, size_t first, size_t pages)
{
	size_t i;

	for (i = 0; i < SPANS; i++)
		if (overlap(&spans[i], first, pages))
			cache[i].there = false;
}

static void notify(void *arg, const void *addr, size_t length)
{
	struct world *world = arg;
	const size_t first = (size_t)((const char *)addr - BASE) / page;
	size_t i;

	for (i = 0; i < CACHES; i++)
		drop(world->caches[i], first, length / page);
}

static void kick(void *arg)
{
	(void)arg;
}

static bool is_stale(const struct world *world, size_t span, uint64_t pinned)
{
	size_t i;

	for (i = 0; i < spans[span].pages; i++)
		if (world->left[spans[span].first + i] > pinned)
			return true;
	return false;
}

static void look_up(struct thread *thread)
{
	struct world *world = thread->world;
	const struct span *span = &spans[thread->span];
	struct entry *cache = world->caches[thread->cache];
	struct entry *entry = &cache[thread->span];

	if (entry->there &&
	    ummu_ranges_valid(world->ranges, BASE + span->first * page,
			      span->pages * page)) {
		world->hits++;
		world->stale += is_stale(world, thread->span, entry->pinned);
		return;
	}
	drop(cache, span->first, span->pages);
	thread->pinning = (struct entry){ true, ++world->time };
}

static bool has_overlap(const struct entry *cache, const struct span *span)
{
	size_t i;

	for (i = 0; i < SPANS; i++)
		if (cache[i].there &&
		    overlap(&spans[i], span->first, span->pages))
			return true;
	return false;
}

static void finish(struct thread *thread)
{
	struct world *world = thread->world;
	const struct span *span = &spans[thread->span];
	struct entry *cache = world->caches[thread->cache];

	if (!has_overlap(cache, span) &&
	    !ummu_ranges_subscribe(world->ranges, BASE + span->first * page,
				   span->pages * page))
		cache[thread->span] = thread->pinning;
	thread->pinning.there = false;
}

static void *run_thread(void *arg)
{
	struct thread *thread = arg;

	for (;;) {
		sem_wait(&thread->go);
		if (!thread->step)
			return NULL;
		thread->step(thread);
		sem_post(&thread->done);
	}
}

static void take_turn(struct world *world)
{
	struct thread *thread = &world->threads[pick(world, THREADS)];

	if (thread->pinning.there) {
		thread->step = finish;
	} else {
		thread->cache = pick(world, CACHES);
		thread->span = pick(world, SPANS);
		thread->step = look_up;
	}
	sem_post(&thread->go);
	sem_wait(&thread->done);
}

static void leave(struct world *world)
{
	const size_t first = pick(world, PAGES);
	const size_t pages = 1 + pick(world, PAGES - first);
	size_t i;

	world->time++;
	for (i = first; i < first + pages; i++)
		world->left[i] = world->time;
	fake_invalidate_in_flight(world->fake, BASE + first * page,
				  pages * page, UMMU_REASON_UNMAP);
}

static void step(struct world *world)
{
	const size_t what = pick(world, 100);

	if (what < 6)
		leave(world);
	else if (what < 9)
		ummu_ranges_purge(world->ranges);
	else if (what < 11) /* libfabric evicts, and tells nobody */
		world->caches[pick(world, CACHES)][pick(world, SPANS)]
			.there = false;
	else
		take_turn(world);
}

static void run(struct world *world, bool one_load, bool trust)
{
	struct ummu_ranges_opts opts = {
		.max = MAX,
		.trust = trust,
		.notify = notify,
		.kick = kick,
		.arg = world,
	};
	unsigned int seed = world->seed;
	int i;

	memset(world, 0, sizeof(*world));
	world->seed = seed;
	world->fake = fake_open(one_load);
	assert_int_equal(ummu_ranges_open(&world->fake->base, &opts,
					  &world->ranges),
			 0);
	for (i = 0; i < THREADS; i++) {
		struct thread *thread = &world->threads[i];

		thread->world = world;
		sem_init(&thread->go, 0, 0);
		sem_init(&thread->done, 0, 0);
		pthread_create(&thread->id, NULL, run_thread, thread);
	}
	for (i = 0; i < STEPS; i++)
		step(world);
	for (i = 0; i < THREADS; i++) {
		world->threads[i].step = NULL;
		sem_post(&world->threads[i].go);
		pthread_join(world->threads[i].id, NULL);
	}
	ummu_ranges_close(world->ranges);
	fake_close(world->fake);
}

static unsigned int seed_of_today(void)
{
	const char *given = getenv("UMMU_SEED");
	unsigned int seed = given ? (unsigned int)strtoul(given, NULL, 0) :
				    (unsigned int)time(NULL);

	print_message("seed: UMMU_SEED=%u\n", seed);
	return seed;
}

static void no_stale_entry_is_used(void **state)
{
	struct world world = { .seed = seed_of_today() };
	int one_load;

	(void)state;
	for (one_load = 0; one_load < 2; one_load++) {
		run(&world, one_load, false);
		assert_int_equal(world.stale, 0);
		assert_true(world.hits > STEPS / 100);
	}
}

static void trust_is_found_out(void **state)
{
	struct world world = { .seed = seed_of_today() };

	(void)state;
	run(&world, true, true);
	assert_true(world.stale > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_stale_entry_is_used),
		cmocka_unit_test(trust_is_found_out),
	};

	page = (size_t)sysconf(_SC_PAGESIZE);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
