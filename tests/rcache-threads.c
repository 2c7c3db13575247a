/* SPDX-License-Identifier: MIT */
/* rcache-threads.c - threads that use one cache at the same ranges at one time. */
#define _GNU_SOURCE
#include "rcache-fixture.h"

#include <stdlib.h>
#include <unistd.h>

#define THREADS 8
#define UNDONE 5 /* registrations, of those who wait */

static unsigned int scaled(unsigned int count)
{
	const char *lengthy = getenv("UMMU_LONG");

	return lengthy && *lengthy == '1' ? 10 * count : count;
}

struct crowd {
	struct fixture *fixture;
	pthread_barrier_t start;
	unsigned int rounds;
	uint64_t calls;
};

static void run_crowd(struct crowd *crowd, void *(*body)(void *),
		      unsigned int count)
{
	pthread_t threads[THREADS];

	pthread_barrier_init(&crowd->start, NULL, count);
	for (unsigned int i = 0; i < count; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, body, crowd),
				 0);
	for (unsigned int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&crowd->start);
}

/* A slow pinner: everybody else arrives while it works. */
static void sleep_in_reg(void *arg, struct ummu_region *region)
{
	(void)arg;
	(void)region;
	usleep(2000);
}

static void *miss_together(void *arg)
{
	struct crowd *crowd = arg;
	struct ummu_region *region;

	for (unsigned int i = 0; i < crowd->rounds; i++) {
		pthread_barrier_wait(&crowd->start);
		region = fixture_get(crowd->fixture, 4 * i, 4, 1);
		assert_true(region->cached);
		fixture_put(crowd->fixture, region);
	}
	return NULL;
}

static void one_pin_for_all_who_miss(void **state)
{
	struct fixture *fixture = *state;
	struct crowd crowd = { .fixture = fixture, .rounds = scaled(50) };
	struct ummu_rcache_stats stats;

	fixture->pinner.on_reg = sleep_in_reg;
	run_crowd(&crowd, miss_together, THREADS);
	stats = fixture_stats(fixture);
	assert_int_equal(stats.registrations, crowd.rounds);
	assert_int_equal(stats.hits + stats.misses, THREADS * crowd.rounds);
	assert_int_equal(stats.regions, crowd.rounds);
}

/* When the one who registers fails, each of those who wait tries by itself. */
static void *fail_together(void *arg)
{
	struct crowd *crowd = arg;
	struct ummu_region *region;
	int error;

	pthread_barrier_wait(&crowd->start);
	error = fixture_try(crowd->fixture, 0, 1, &region);
	if (error) {
		assert_int_equal(error, -EFAULT);
		__atomic_fetch_add(&crowd->calls, 1, __ATOMIC_RELAXED);
	} else {
		fixture_put(crowd->fixture, region);
	}
	return NULL;
}

static void those_who_wait_try_again(void **state)
{
	struct fixture *fixture = *state;
	struct crowd crowd = { .fixture = fixture };

	fixture->pinner.on_reg = sleep_in_reg;
	fixture->pinner.fail_count = 3;
	fixture->pinner.fail_error = -EFAULT;
	run_crowd(&crowd, fail_together, THREADS);
	assert_int_equal(crowd.calls, 3);
	assert_int_equal(fixture->pinner.registered, 1);
}

/*
 * A registration is undone while others wait for it, and the pinner has room
 * for one: whoever tries next must find that room.
 */
static void unmap_while_registering(void *arg, struct ummu_region *region)
{
	struct crowd *crowd = arg;
	uint64_t call = __atomic_add_fetch(&crowd->calls, 1, __ATOMIC_RELAXED);

	/* Until all the others have come, to wait for this. */
	while (call == 1 && fixture_stats(crowd->fixture).misses < THREADS)
		usleep(1000);
	if (call <= UNDONE)
		fake_invalidate(crowd->fixture->fake, region->addr,
				region->length, UMMU_REASON_UNMAP);
}

static void *touch_together(void *arg)
{
	struct crowd *crowd = arg;

	pthread_barrier_wait(&crowd->start);
	fixture_touch(crowd->fixture, 0, 1);
	return NULL;
}

/*
 * Each of the others can add one: its watch may be older than the last unmap,
 * and linked after that.  Then what it registers has moved as well.
 */
static void those_who_wait_take_no_room(void **state)
{
	struct fixture *fixture = *state;
	struct crowd crowd = { .fixture = fixture };
	struct ummu_rcache_stats stats;

	fixture->pinner.max_bytes = fixture->page;
	fixture->pinner.full_error = -ENOBUFS;
	fixture->pinner.on_reg = unmap_while_registering;
	fixture->pinner.arg = &crowd;
	run_crowd(&crowd, touch_together, THREADS);
	stats = fixture_stats(fixture);
	print_message("%llu retries\n", (unsigned long long)stats.retries);
	assert_in_range(stats.retries, UNDONE, UNDONE + THREADS - 1);
	assert_int_equal(stats.registrations, stats.retries + 1);
	/* None was refused for want of room. */
	assert_int_equal(fixture->pinner.calls, stats.registrations);
}

/*
 * One thread has read an event of a region and not looked at it yet; another
 * one drops the last reference.  The address sanitizer tells if the region was
 * freed too early.
 */
static void stay_in_read(void *arg)
{
	struct crowd *crowd = arg;

	crowd->fixture->fake->on_read = NULL;
	pthread_barrier_wait(&crowd->start);
	usleep(50000);
}

static void *flush_thread(void *arg)
{
	struct crowd *crowd = arg;

	ummu_rcache_flush(crowd->fixture->rcache, false);
	return NULL;
}

static void event_outlives_no_region(void **state)
{
	struct fixture *fixture = *state;
	struct crowd crowd = { .fixture = fixture };
	struct ummu_region *region = fixture_get(fixture, 0, 1, 0);
	pthread_t reader;

	pthread_barrier_init(&crowd.start, NULL, 2);
	/* Retired, watched, in use; then its event is queued. */
	assert_int_equal(ummu_rcache_invalidate(fixture->rcache, region->addr,
						1),
			 1);
	fake_invalidate(fixture->fake, region->addr, 1, UMMU_REASON_UNMAP);
	fixture->fake->on_read = stay_in_read;
	fixture->fake->arg = &crowd;
	pthread_create(&reader, NULL, flush_thread, &crowd);
	pthread_barrier_wait(&crowd.start);
	fixture_put(fixture, region);
	pthread_join(reader, NULL);
	pthread_barrier_destroy(&crowd.start);
	assert_int_equal(fixture->pinner.deregistered, 1);
}

/* Cancelled while it waits for another thread's registration. */
static void *touch_and_wait(void *arg)
{
	fixture_touch(arg, 0, 1);
	pthread_testcancel();
	return NULL;
}

static void cancel_takes_effect_after_the_call(void **state)
{
	struct fixture *fixture = *state;
	pthread_t threads[3];
	void *result;

	fixture->pinner.on_reg = sleep_in_reg;
	for (size_t i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, touch_and_wait, fixture);
	for (size_t i = 0; i < 3; i++)
		pthread_cancel(threads[i]);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(pthread_join(threads[i], &result), 0);
	/* Nobody left with a lock, a reference or a registration half made. */
	fixture->pinner.on_reg = NULL;
	fixture_touch(fixture, 0, 1);
	assert_int_equal(ummu_rcache_flush(fixture->rcache, true), 1);
}

#define WITH_FIXTURE(test) \
	cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FIXTURE(one_pin_for_all_who_miss),
		WITH_FIXTURE(those_who_wait_try_again),
		WITH_FIXTURE(those_who_wait_take_no_room),
		WITH_FIXTURE(event_outlives_no_region),
		WITH_FIXTURE(cancel_takes_effect_after_the_call),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
