/* SPDX-License-Identifier: MIT */
/* rcache-merge.c - what adjoins or overlaps becomes one region, where it may. */
#define _GNU_SOURCE
#include "rcache-fixture.h"

#include <unistd.h>

static void expect_regions(struct fixture *fixture, size_t regions, size_t pages)
{
	struct ummu_rcache_stats stats = fixture_stats(fixture);

	assert_int_equal(stats.regions, regions);
	assert_int_equal(stats.bytes, pages * fixture->page);
	assert_int_equal(stats.pinned_bytes, fixture->pinner.bytes);
	assert_int_equal(fixture->fake->live, regions);
}

/* An array in pieces, upwards, downwards, and every other one first. */
static void pieces_end_as_one(void **state)
{
	struct fixture *fixture = *state;
	const size_t pieces = 500;

	for (size_t i = 0; i < pieces; i++)
		fixture_touch(fixture, 3 * i, 3);
	expect_regions(fixture, 1, 3 * pieces);
	for (size_t i = pieces; i--;)
		fixture_touch(fixture, 10000 + i, 1);
	expect_regions(fixture, 2, 4 * pieces);
	for (size_t i = 0; i < pieces; i += 2)
		fixture_touch(fixture, 20000 + i, 1);
	for (size_t i = 1; i < pieces; i += 2)
		fixture_touch(fixture, 20000 + i, 1);
	expect_regions(fixture, 3, 5 * pieces);

	/* Each piece is a hit now. */
	for (size_t i = 0; i < pieces; i++)
		fixture_touch(fixture, 3 * i, 3);
	assert_int_equal(fixture_stats(fixture).hits, pieces);
}

static void overlaps_join(void **state)
{
	struct fixture *fixture = *state;

	fixture_touch(fixture, 0, 4);
	fixture_touch(fixture, 2, 4);
	expect_regions(fixture, 1, 6);
	fixture_touch(fixture, 10, 2);
	expect_regions(fixture, 2, 8);
	/* It joins both. */
	fixture_touch(fixture, 5, 6);
	expect_regions(fixture, 1, 12);
	/* All of it and more. */
	fixture_touch(fixture, 0, 20);
	expect_regions(fixture, 1, 20);
}

static void other_bits_stay_apart(void **state)
{
	struct fixture *fixture = *state;

	fixture_put(fixture, fixture_get(fixture, 0, 2, 1));
	fixture_put(fixture, fixture_get(fixture, 2, 2, 3));
	expect_regions(fixture, 2, 4);
	fixture_put(fixture, fixture_get(fixture, 4, 2, 3));
	expect_regions(fixture, 2, 6);
}

static void only_where_the_monitor_allows_it(void **state)
{
	struct fixture *fixture = *state;

	for (size_t i = 0; i < 10; i++)
		fixture_touch(fixture, i, 2);
	expect_regions(fixture, 10, 20);
}

static void what_is_in_use_stays_its_users(void **state)
{
	struct fixture *fixture = *state;
	struct ummu_region *held = fixture_get(fixture, 0, 2, 0);
	struct ummu_region *whole = fixture_get(fixture, 2, 2, 0);

	assert_int_equal(whole->length, 4 * fixture->page);
	assert_int_equal(fixture_stats(fixture).regions, 1);
	assert_int_equal(fixture->pinner.deregistered, 0);
	assert_true(ummu_region_valid(held));
	fixture_put(fixture, held);
	assert_int_equal(fixture->pinner.deregistered, 1);
	fixture_put(fixture, whole);
	expect_regions(fixture, 1, 4);
}

/* Together they cannot be had: each for itself, and nothing is lost. */
static void no_worse_than_apart(void **state)
{
	struct fixture *fixture = *state;

	fixture_touch(fixture, 0, 2);
	fixture->pinner.fail_count = 1;
	fixture->pinner.fail_error = -EFAULT;
	fixture_touch(fixture, 2, 2);
	expect_regions(fixture, 2, 4);

	fixture->fake->refuse = 1;
	fixture->fake->refuse_error = -EINVAL;
	fixture_touch(fixture, 4, 1);
	expect_regions(fixture, 3, 5);

	fixture->fake->refuse = 1;
	fixture->fake->refuse_error = -ENOSPC;
	fixture_touch(fixture, 5, 1);
	expect_regions(fixture, 4, 6);
}

/* mlock() says the same of a hole as of a limit. */
static void no_room_for_all_evicts_nothing(void **state)
{
	struct fixture *fixture = *state;

	fixture_touch(fixture, 100, 4);
	fixture_touch(fixture, 0, 2);
	fixture->pinner.fail_at = fixture->pinner.calls + 1;
	fixture->pinner.fail_count = 1;
	fixture->pinner.fail_error = -ENOMEM;
	fixture_touch(fixture, 2, 2);
	expect_regions(fixture, 3, 8);
	assert_int_equal(fixture_stats(fixture).evictions, 0);
}

static void what_went_away_is_not_joined(void **state)
{
	struct fixture *fixture = *state;

	fixture_touch(fixture, 0, 2);
	fake_invalidate(fixture->fake, fixture_page(fixture, 1), 1,
			UMMU_REASON_UNMAP);
	/* Nobody has read its event. */
	fixture->fake->mute = true;
	fixture_touch(fixture, 2, 2);
	fixture->fake->mute = false;
	/* A cache that missed the event finds out at the next lookup. */
	expect_regions(fixture, 2, 4);
	fixture_touch(fixture, 0, 1);
	expect_regions(fixture, 2, 3);
}

static void within_the_bounds(void **state)
{
	struct fixture *fixture = *state;
	const struct ummu_rcache_opts opts = {
		.size = sizeof(opts),
		.max_bytes = 8 * fixture->page,
	};

	fixture_replace(fixture, NULL, &opts);
	for (size_t i = 0; i < 40; i++) {
		fixture_touch(fixture, i, 1);
		assert_true(fixture->pinner.bytes <= 8 * fixture->page);
	}
	assert_int_equal(fixture_stats(fixture).uncached, 0);
}

/* What is registered again for it has a bound: see rcache/merge.c. */
static void not_at_any_price(void **state)
{
	struct fixture *fixture = *state;
	const size_t pieces = 64, pages = 8192; /* 32 MiB each */
	struct ummu_rcache_stats stats;

	for (size_t i = 0; i < pieces; i++)
		fixture_touch(fixture, pages * i, pages);
	stats = fixture_stats(fixture);
	assert_int_equal(stats.bytes, pieces * pages * fixture->page);
	assert_true(stats.regions > 1 && stats.regions < pieces / 2);
}

/* The neighbours miss at one time; they end as one or as two, never lost. */
struct pair {
	struct fixture *fixture;
	pthread_barrier_t start;
	unsigned int turn;
};

static void *touch_right(void *arg)
{
	struct pair *pair = arg;

	for (unsigned int i = 0; i < 200; i++) {
		pthread_barrier_wait(&pair->start);
		fixture_touch(pair->fixture, 10 * i + 2, 2);
	}
	return NULL;
}

static void neighbours_at_one_time(void **state)
{
	struct fixture *fixture = *state;
	struct pair pair = { .fixture = fixture };
	pthread_t thread;

	pthread_barrier_init(&pair.start, NULL, 2);
	pthread_create(&thread, NULL, touch_right, &pair);
	for (unsigned int i = 0; i < 200; i++) {
		pthread_barrier_wait(&pair.start);
		fixture_touch(fixture, 10 * i, 2);
	}
	pthread_join(thread, NULL);
	pthread_barrier_destroy(&pair.start);
	assert_int_equal(fixture_stats(fixture).bytes, 800 * fixture->page);
	for (unsigned int i = 0; i < 200; i++)
		fixture_touch(fixture, 10 * i + 1, 1);
}

#define EXACT(test)                                                \
	cmocka_unit_test_setup_teardown(test, fixture_setup_exact, \
					fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		EXACT(pieces_end_as_one),
		EXACT(overlaps_join),
		EXACT(other_bits_stay_apart),
		cmocka_unit_test_setup_teardown(only_where_the_monitor_allows_it,
						fixture_setup, fixture_teardown),
		EXACT(what_is_in_use_stays_its_users),
		EXACT(no_worse_than_apart),
		EXACT(no_room_for_all_evicts_nothing),
		EXACT(what_went_away_is_not_joined),
		EXACT(within_the_bounds),
		EXACT(not_at_any_price),
		EXACT(neighbours_at_one_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
