/* SPDX-License-Identifier: MIT */
/*
 * rcache-storm.c - threads, invalidations, evictions and forks without any plan.
 */
#define _GNU_SOURCE
#include "child.h"
#include "rcache-fixture.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define THREADS 8
#define PAGES 24
#define HANDED 4
#define FORK_EVERY 2000 /* about so many steps of a thread */

/*
 * An invalidation of a page changes its contents, then the monitor is told,
 * then it counts as completed.  A registration remembers the contents that it
 * pinned.  Of a page with k completed invalidations when a get begins,
 * G1 says that the get returns no cached region that pinned contents < k: the
 * watch of such a region is older than one of the k, which therefore hit it.
 */

/**
 * struct crowd - what the threads of a storm share
 * @contents:    of each page: how often it was changed
 * @completed:   how many of these changes had completed
 * @registering: regions that begin at this page and are in reg() now
 * @refused:     gets that failed
 * @handed:      regions that one thread got and another one will put
 * @forks:       children made
 */
struct crowd {
	struct fixture *fixture;
	pthread_barrier_t start;
	unsigned int rounds;
	uint64_t seed;
	uint64_t contents[PAGES];
	uint64_t completed[PAGES];
	unsigned int registering[PAGES];
	uint64_t refused;
	struct ummu_region *handed[HANDED];
	uint64_t forks;
};

static unsigned int scaled(unsigned int count)
{
	const char *lengthy = getenv("UMMU_LONG");

	return lengthy && *lengthy == '1' ? 10 * count : count;
}

static uint64_t seed_of_run(void)
{
	const char *given = getenv("UMMU_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);

	print_message("seed: UMMU_SEED=%llu\n", (unsigned long long)seed);
	return seed;
}

/* xorshift64*, Vigna 2016. */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 2685821657736338717ULL;
}

struct storm_pin {
	struct fake_pin pin; /* the pinner's, first */
	uint64_t contents[PAGES];
};

/* cmocka's assertions work in the thread that runs the test only. */
static void require(bool truth, const char *what)
{
	if (truth)
		return;
	fprintf(stderr, "storm: %s\n", what);
	abort();
}

static size_t page_of(const struct crowd *crowd, const void *addr)
{
	uintptr_t first = (uintptr_t)fixture_page(crowd->fixture, 0);

	return ((uintptr_t)addr - first) / crowd->fixture->page;
}

static void pin_contents(void *arg, struct ummu_region *region)
{
	struct storm_pin *pin = ummu_region_private(region);
	struct crowd *crowd = arg;
	size_t first = page_of(crowd, region->addr);
	size_t count = region->length / crowd->fixture->page;

	/* Merged ranges may begin together and overlap. */
	bool alone = region->cached && !crowd->fixture->fake->exact;

	if (alone)
		require(!__atomic_fetch_add(&crowd->registering[first], 1,
					    __ATOMIC_RELAXED),
			"a range is registered twice at a time");
	for (size_t i = first; i < first + count; i++)
		pin->contents[i] = __atomic_load_n(&crowd->contents[i],
						   __ATOMIC_SEQ_CST);
	if (first % 5 == 0)
		usleep(200);
	else
		sched_yield();
	if (alone)
		__atomic_fetch_sub(&crowd->registering[first], 1,
				   __ATOMIC_RELAXED);
}

/* One range for each first page, so that @registering tells ranges apart. */
static size_t pages_from(size_t first)
{
	size_t count = 1 + first % 4;

	return first + count > PAGES ? PAGES - first : count;
}

static void storm_get(struct crowd *crowd, size_t first,
		      struct ummu_region **held)
{
	uint64_t completed[PAGES];
	struct storm_pin *pin;
	size_t count = pages_from(first);
	int error;

	for (size_t i = first; i < first + count; i++)
		completed[i] = __atomic_load_n(&crowd->completed[i],
					       __ATOMIC_SEQ_CST);
	error = fixture_try(crowd->fixture, first, count, held);
	if (error) {
		require(error == -EAGAIN || error == -ENOBUFS, strerror(-error));
		__atomic_fetch_add(&crowd->refused, 1, __ATOMIC_RELAXED);
		*held = NULL;
		return;
	}
	pin = ummu_region_private(*held);
	for (size_t i = first; i < first + count; i++)
		require(pin->contents[i] >= completed[i], "a stale hit");
}

static void storm_unmap(struct crowd *crowd, size_t first, bool at_once)
{
	struct fixture *fixture = crowd->fixture;
	const void *addr = fixture_page(fixture, first);

	__atomic_fetch_add(&crowd->contents[first], 1, __ATOMIC_SEQ_CST);
	if (at_once)
		fake_invalidate(fixture->fake, addr, fixture->page,
				UMMU_REASON_UNMAP);
	else
		fake_invalidate_in_flight(fixture->fake, addr, fixture->page,
					  UMMU_REASON_CLEAR);
	__atomic_fetch_add(&crowd->completed[first], 1, __ATOMIC_SEQ_CST);
}

/* Leave one's own for whoever comes by, and take what is there. */
static void hand_over(struct crowd *crowd, size_t where,
		      struct ummu_region **held)
{
	*held = __atomic_exchange_n(&crowd->handed[where], *held,
				    __ATOMIC_ACQ_REL);
}

/* With the other threads at any point of what they do. */
static void storm_fork(struct crowd *crowd, struct ummu_region *held)
{
	struct fixture *fixture = crowd->fixture;
	struct ummu_region *region;
	unsigned int before;
	int status = 0;
	pid_t child = fork();

	if (!child) {
		alarm(100);
		before = __atomic_load_n(&fixture->pinner.deregistered,
					 __ATOMIC_RELAXED);
		CHILD_REQUIRE(fixture_try(fixture, 0, 1, &region) == -ECHILD);
		CHILD_REQUIRE(ummu_rcache_flush(fixture->rcache, true) ==
			      -ECHILD);
		if (held)
			ummu_rcache_put(fixture->rcache, held);
		ummu_rcache_destroy(fixture->rcache);
		CHILD_REQUIRE(before ==
			      __atomic_load_n(&fixture->pinner.deregistered,
					      __ATOMIC_RELAXED));
		_exit(0);
	}
	require(child > 0 && waitpid(child, &status, 0) == child,
		"no child could be had");
	require(!status, "a child failed");
	__atomic_fetch_add(&crowd->forks, 1, __ATOMIC_RELAXED);
}

static void *storm(void *arg)
{
	struct crowd *crowd = arg;
	uint64_t random = __atomic_add_fetch(&crowd->seed, 0x9e3779b97f4a7c15,
					     __ATOMIC_RELAXED) |
			  1;
	struct ummu_region *held[4] = { NULL };
	struct fixture *fixture = crowd->fixture;

	pthread_barrier_wait(&crowd->start);
	for (unsigned int i = 0; i < crowd->rounds; i++) {
		uint64_t dice = next_random(&random);
		size_t page = (dice >> 8) % PAGES;
		struct ummu_region **slot = &held[(dice >> 16) % 4];

		if (dice >> 48 & 3)
			hand_over(crowd, (dice >> 52) % HANDED, slot);
		if (*slot) {
			fixture_put(fixture, *slot);
			*slot = NULL;
		}
		if ((dice >> 20) % FORK_EVERY == 0)
			storm_fork(crowd, held[0]);
		switch ((dice >> 32) % 16) {
		case 0:
			storm_unmap(crowd, page, dice >> 40 & 1);
			break;
		case 1:
			require(ummu_rcache_invalidate(fixture->rcache,
						       fixture_page(fixture,
								    page),
						       1) >= 0,
				"invalidate failed");
			break;
		case 2:
			require(ummu_rcache_flush(fixture->rcache,
						  dice >> 40 & 1) >= 0,
				"flush failed");
			break;
		default:
			storm_get(crowd, page, slot);
		}
	}
	for (size_t i = 0; i < 4; i++)
		if (held[i])
			fixture_put(fixture, held[i]);
	return NULL;
}

static void run_crowd(struct crowd *crowd)
{
	pthread_t threads[THREADS];

	pthread_barrier_init(&crowd->start, NULL, THREADS);
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, storm, crowd),
				 0);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&crowd->start);
	for (size_t i = 0; i < HANDED; i++)
		if (crowd->handed[i])
			fixture_put(crowd->fixture, crowd->handed[i]);
}

static void run_storm(struct fixture *fixture,
		      const struct ummu_rcache_opts *opts, bool scarce)
{
	struct ummu_rcache_ops ops = fake_pinner_ops;
	struct crowd crowd = {
		.fixture = fixture,
		.rounds = scaled(4000),
		.seed = seed_of_run(),
	};
	struct ummu_rcache_stats stats;

	ops.private_size = sizeof(struct storm_pin);
	fixture_replace(fixture, &ops, opts);
	fixture->pinner.on_reg = pin_contents;
	fixture->pinner.arg = &crowd;
	fixture->pinner.max_bytes = scarce ? 20 * fixture->page : 0;
	fixture->pinner.full_error = -ENOBUFS;
	run_crowd(&crowd);
	assert_true(crowd.forks > 0);

	ummu_rcache_flush(fixture->rcache, true);
	stats = fixture_stats(fixture);
	print_message("%llu hits, %llu misses, %llu retries, %llu evictions, "
		      "%llu uncached, %llu refused, %llu forks\n",
		      (unsigned long long)stats.hits,
		      (unsigned long long)stats.misses,
		      (unsigned long long)stats.retries,
		      (unsigned long long)stats.evictions,
		      (unsigned long long)stats.uncached,
		      (unsigned long long)crowd.refused,
		      (unsigned long long)crowd.forks);
	assert_true(stats.hits && stats.misses && stats.invalidated_unmap &&
		    (!fixture->fake->base.backend->settle ||
		     stats.invalidated_clear) &&
		    stats.invalidated_other);
	assert_true(scarce || !crowd.refused || stats.retries);
	assert_int_equal(stats.regions, 0);
	assert_int_equal(stats.bytes, 0);
	assert_int_equal(stats.pinned_bytes, 0);
	assert_int_equal(stats.registrations, stats.deregistrations);
	assert_int_equal(fixture->fake->live, 0);
	fixture->pinner.on_reg = NULL;
}

static void storm_without_bounds(void **state)
{
	run_storm(*state, NULL, false);
}

static void storm_in_a_small_cache(void **state)
{
	struct fixture *fixture = *state;
	const struct ummu_rcache_opts opts = {
		.size = sizeof(opts),
		.max_bytes = 16 * fixture->page,
		.max_regions = 6,
	};

	run_storm(fixture, &opts, false);
	/* Slots that a pinner lacks are what eviction is for, too. */
	run_storm(fixture, NULL, true);
}

/* Each time a cache is destroyed and another one is made. */
static void storm_after_storm(void **state)
{
	for (int i = 0; i < 4; i++)
		run_storm(*state, NULL, false);
}

#define STORM(test, setup) \
	cmocka_unit_test_setup_teardown(test, setup, fixture_teardown)

int main(void)
{
	/* Monitors like userfaultfd, like the module, and one may merge. */
	const struct CMUnitTest tests[] = {
		STORM(storm_without_bounds, fixture_setup),
		STORM(storm_in_a_small_cache, fixture_setup),
		STORM(storm_after_storm, fixture_setup_one_load),
		STORM(storm_in_a_small_cache, fixture_setup_one_load),
		STORM(storm_without_bounds, fixture_setup_exact),
		STORM(storm_in_a_small_cache, fixture_setup_exact),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
