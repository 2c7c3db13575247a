/* SPDX-License-Identifier: MIT */
/* rcache-lanes.c - who holds a region, however threads get and put it. */
#define _GNU_SOURCE
#include "rcache-fixture.h"

#include <stdlib.h>
#include <unistd.h>

#include "rcache/lane.h"

/* A hit, noted in a lane: the first get is a miss, the second makes it USED. */
static struct ummu_region *hit(struct fixture *fixture, size_t page)
{
	fixture_touch(fixture, page, 1);
	fixture_touch(fixture, page, 1);
	return fixture_get(fixture, page, 1, 0);
}

static void invalidate(struct fixture *fixture, size_t page, int expected)
{
	assert_int_equal(ummu_rcache_invalidate(fixture->rcache,
						fixture_page(fixture, page), 1),
			 expected);
}

/* One region held more often than a lane has slots, and retired meanwhile. */
static void held_many_times(void **state)
{
	struct fixture *fixture = *state;
	struct ummu_region *region = hit(fixture, 0);

	for (int i = 0; i < 50; i++)
		assert_ptr_equal(fixture_get(fixture, 0, 1, 0), region);
	invalidate(fixture, 0, 1);
	for (int i = 0; i < 50; i++) {
		fixture_put(fixture, region);
		assert_int_equal(fixture->pinner.deregistered, 0);
	}
	fixture_put(fixture, region);
	assert_int_equal(fixture->pinner.deregistered, 1);
}

static void many_held_in_any_order(void **state)
{
	struct fixture *fixture = *state;
	struct ummu_region *held[60];

	for (size_t i = 0; i < 60; i++)
		held[i] = hit(fixture, 2 * i);
	for (size_t i = 0; i < 60; i++)
		invalidate(fixture, 2 * i, 1);
	assert_int_equal(fixture->pinner.deregistered, 0);
	for (size_t i = 0; i < 60; i++) {
		fixture_put(fixture, held[i * 7 % 60]);
		assert_int_equal(fixture->pinner.deregistered, i + 1);
	}
}

/* What is in a lane is in use, to those who look for what is idle. */
static void held_is_not_idle(void **state)
{
	struct fixture *fixture = *state;
	struct ummu_region *first = hit(fixture, 0), *second = hit(fixture, 2);

	fixture_touch(fixture, 4, 1);
	assert_int_equal(ummu_rcache_flush(fixture->rcache, true), 1);
	assert_int_equal(fixture_stats(fixture).regions, 2);
	fixture_put(fixture, first);
	assert_int_equal(ummu_rcache_flush(fixture->rcache, true), 1);
	/* What stayed is still found. */
	assert_ptr_equal(fixture_get(fixture, 2, 1, 0), second);
	fixture_put(fixture, second);
	fixture_put(fixture, second);
	assert_int_equal(ummu_rcache_flush(fixture->rcache, true), 1);
}

/* Another thread puts; or gets, and ends. */
struct errand {
	struct fixture *fixture;
	struct ummu_region *region;
	size_t page;
};

static void *put_it(void *arg)
{
	struct errand *errand = arg;

	fixture_put(errand->fixture, errand->region);
	return NULL;
}

static void *get_it(void *arg)
{
	struct errand *errand = arg;

	errand->region = hit(errand->fixture, errand->page);
	return NULL;
}

static void elsewhere(struct errand *errand, void *(*body)(void *))
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, body, errand), 0);
	pthread_join(thread, NULL);
}

static void put_by_another_thread(void **state)
{
	struct fixture *fixture = *state;
	struct errand errand = { .fixture = fixture };

	for (unsigned int i = 0; i < 100; i++) {
		errand.region = hit(fixture, i % 3);
		elsewhere(&errand, put_it);
		if (i % 5)
			continue;
		/* Nobody holds it, whatever the lanes look like. */
		invalidate(fixture, i % 3, 1);
		assert_int_equal(fixture->pinner.deregistered, i / 5 + 1);
	}
}

static void last_put_by_another_thread(void **state)
{
	struct fixture *fixture = *state;
	struct errand errand = { .fixture = fixture };

	for (unsigned int i = 0; i < 40; i++) {
		errand.region = hit(fixture, 0);
		invalidate(fixture, 0, 1);
		assert_int_equal(fixture->pinner.deregistered, i);
		elsewhere(&errand, put_it);
		assert_int_equal(fixture->pinner.deregistered, i + 1);
	}
}

/* Memory used again while a lane still names it, for a put that was elsewhere. */
static void memory_used_again(void **state)
{
	struct fixture *fixture = *state;
	struct errand errand = { .fixture = fixture };
	struct ummu_region *held;

	errand.region = hit(fixture, 0);
	elsewhere(&errand, put_it);
	invalidate(fixture, 0, 1);
	/* The same memory, another region; held by its first get only. */
	held = fixture_get(fixture, 8, 1, 0);
	assert_ptr_equal(held, errand.region);
	invalidate(fixture, 8, 1);
	assert_int_equal(fixture->pinner.deregistered, 1);
	fixture_put(fixture, held);
	assert_int_equal(fixture->pinner.deregistered, 2);
}

static void holder_ends(void **state)
{
	struct fixture *fixture = *state;
	struct errand errand = { .fixture = fixture };

	for (unsigned int i = 0; i < 40; i++) {
		errand.page = 2 * i;
		elsewhere(&errand, get_it);
		invalidate(fixture, errand.page, 1);
		assert_int_equal(fixture->pinner.deregistered, i);
		fixture_put(fixture, errand.region);
		assert_int_equal(fixture->pinner.deregistered, i + 1);
	}
}

/* More threads at one time than there are lanes. */
#define CROWD (LANE_COUNT + 40)

struct crowd {
	struct fixture *fixture;
	pthread_barrier_t met;
};

static void *one_of_many(void *arg)
{
	struct crowd *crowd = arg;
	struct ummu_region *regions[3];

	pthread_barrier_wait(&crowd->met);
	for (size_t round = 0; round < 20; round++) {
		for (size_t i = 0; i < 3; i++)
			regions[i] = fixture_get(crowd->fixture, 2 * i, 1, 0);
		if (round == 10)
			pthread_barrier_wait(&crowd->met);
		for (size_t i = 0; i < 3; i++)
			fixture_put(crowd->fixture, regions[i]);
	}
	return NULL;
}

static void more_threads_than_lanes(void **state)
{
	struct fixture *fixture = *state;
	struct crowd crowd = { .fixture = fixture };
	pthread_t threads[CROWD];
	struct ummu_rcache_stats stats;
	pthread_attr_t small;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, (size_t)256 << 10);
	pthread_barrier_init(&crowd.met, NULL, CROWD + 1);
	for (size_t i = 0; i < CROWD; i++)
		assert_int_equal(pthread_create(&threads[i], &small,
						one_of_many, &crowd),
				 0);
	pthread_barrier_wait(&crowd.met);
	/* All hold all three. */
	pthread_barrier_wait(&crowd.met);
	for (size_t i = 0; i < CROWD; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&crowd.met);
	pthread_attr_destroy(&small);
	stats = fixture_stats(fixture);
	assert_int_equal(stats.hits + stats.misses, CROWD * 20 * 3);
	assert_int_equal(stats.registrations, 3);
	assert_int_equal(ummu_rcache_flush(fixture->rcache, true), 3);
	/* Numbers come back. */
	for (size_t i = 0; i < 2 * LANE_COUNT; i++) {
		struct errand errand = { .fixture = fixture, .page = 9 };

		elsewhere(&errand, get_it);
		fixture_put(fixture, errand.region);
	}
	assert_int_equal(ummu_rcache_flush(fixture->rcache, true), 1);
}

/* Regions within others, and with other bits, are hits all the same. */
static void within_others(void **state)
{
	struct fixture *fixture = *state;
	struct ummu_region *wide, *narrow, *one;

	wide = fixture_get(fixture, 0, 100, 1);
	narrow = fixture_get(fixture, 10, 10, 3);
	assert_ptr_not_equal(wide, narrow);
	for (int i = 0; i < 20; i++) {
		one = fixture_get(fixture, 12, 1, 3);
		assert_ptr_equal(one, narrow);
		fixture_put(fixture, one);
		one = fixture_get(fixture, 50, 3, 1);
		assert_ptr_equal(one, wide);
		fixture_put(fixture, one);
		one = fixture_get(fixture, 10, 50, 1);
		assert_ptr_equal(one, wide);
		fixture_put(fixture, one);
	}
	fixture_put(fixture, wide);
	fixture_put(fixture, narrow);
	assert_int_equal(fixture_stats(fixture).misses, 2);
	assert_int_equal(fixture_stats(fixture).hits, 60);
}

/* The table grows several times, and everything is still found. */
static void many_regions(void **state)
{
	struct fixture *fixture = *state;
	const size_t count = 5000;

	for (size_t round = 0; round < 3; round++)
		for (size_t i = 0; i < count; i++)
			fixture_touch(fixture, 2 * i, 1);
	assert_int_equal(fixture_stats(fixture).misses, count);
	assert_int_equal(fixture_stats(fixture).hits, 2 * count);
	assert_int_equal(ummu_rcache_flush(fixture->rcache, true), count);
}

/* What is known stays true, but once a miss has found out, no get is served. */
static void failed_monitor_serves_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct ummu_region *region;

	fixture_put(fixture, hit(fixture, 0));
	fixture->fake->failed = true;
	fixture_touch(fixture, 0, 1);
	assert_int_equal(fixture_try(fixture, 9, 1, &region), -EBADF);
	assert_int_equal(fixture_try(fixture, 0, 1, &region), -EBADF);
	assert_int_equal(fixture_try(fixture, 0, 1, &region), -EBADF);
	fixture->fake->failed = false;
	assert_int_equal(ummu_rcache_flush(fixture->rcache, true), 1);
}

/* Invalidated, and not in use.  This thread does not miss. */
static void spoil_idle(struct fixture *fixture, size_t page)
{
	struct errand errand = { .fixture = fixture, .page = page };

	elsewhere(&errand, get_it);
	fixture_put(fixture, errand.region);
	fake_invalidate(fixture->fake, fixture_page(fixture, page), 1,
			UMMU_REASON_UNMAP);
}

/* Who calls now and then leaves nothing for later. */
static void rare_hits_reap(void **state)
{
	struct fixture *fixture = *state;

	fixture_touch(fixture, 0, 1);
	for (unsigned int i = 0; i < 100; i++) {
		spoil_idle(fixture, 2);
		/* The coarse clock may step by ten milliseconds. */
		usleep(2000);
		fixture_touch(fixture, 0, 1);
		assert_int_equal(fixture->pinner.deregistered, i + 1);
	}
}

/* A hit does not stop for everything; but a miss does. */
static void hits_share_what_there_is(void **state)
{
	struct fixture *fixture = *state;

	for (size_t i = 0; i < 400; i++)
		fixture_touch(fixture, 2 * i, 1);
	fixture_touch(fixture, 0, 1); /* USED by now */
	usleep(10000);
	fake_invalidate(fixture->fake, fixture_page(fixture, 100),
			200 * fixture->page, UMMU_REASON_UNMAP);
	fixture_put(fixture, fixture_get(fixture, 0, 1, 0));
	assert_in_range(fixture->pinner.deregistered, 32, 64);
	fixture_touch(fixture, 801, 1);
	assert_int_equal(fixture->pinner.deregistered, 100);
}

/* Who calls often reaps now and then, and in the end after a few calls. */
static void frequent_hits_leave_it_for_later(void **state)
{
	struct fixture *fixture = *state;
	unsigned int left = 0;

	for (size_t i = 0; i <= 1000; i++)
		fixture_touch(fixture, 2 * i, 1);
	for (unsigned int i = 1; i <= 1000; i++) {
		fake_invalidate(fixture->fake, fixture_page(fixture, 2 * i), 1,
				UMMU_REASON_UNMAP);
		fixture_touch(fixture, 0, 1);
		left += fixture->pinner.deregistered < i;
	}
	print_message("%u of 1000 were left for later\n", left);
	assert_int_not_equal(left, 0);
	usleep(12000);
	/* 512 calls, and 32 regions with each further one. */
	for (unsigned int i = 0; i < (512 + 32) / 2; i++)
		fixture_touch(fixture, 0, 1);
	assert_in_range(fixture->pinner.deregistered, 400, 1000);
	ummu_rcache_flush(fixture->rcache, false);
	assert_int_equal(fixture->pinner.deregistered, 1000);
}

#define ONE_LOAD(test)                                                \
	cmocka_unit_test_setup_teardown(test, fixture_setup_one_load, \
					fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ONE_LOAD(held_many_times),
		ONE_LOAD(many_held_in_any_order),
		ONE_LOAD(held_is_not_idle),
		ONE_LOAD(put_by_another_thread),
		ONE_LOAD(last_put_by_another_thread),
		ONE_LOAD(memory_used_again),
		ONE_LOAD(holder_ends),
		ONE_LOAD(more_threads_than_lanes),
		ONE_LOAD(within_others),
		ONE_LOAD(many_regions),
		ONE_LOAD(failed_monitor_serves_nothing),
		ONE_LOAD(rare_hits_reap),
		ONE_LOAD(hits_share_what_there_is),
		ONE_LOAD(frequent_hits_leave_it_for_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
