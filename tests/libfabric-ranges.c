/* SPDX-License-Identifier: MIT */
/*
 * libfabric-ranges.c - tests which entries of libfabric's caches may be used,
 * on a monitor that does what it is told.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake-backend.h"
#include "integrations/libfabric/ranges.h"

#define BASE ((char *)(uintptr_t)0x10000000)
#define MAX 16

static size_t page;

struct fixture {
	struct fake_monitor *fake;
	struct ummu_ranges *ranges;
	unsigned int kicks;
	unsigned int told;
	char *told_addr;
	size_t told_length;
	void (*on_notify)(struct fixture *f);
	void (*on_kick)(struct fixture *f);
	unsigned int blocked;
};

static void notify(void *arg, const void *addr, size_t length)
{
	struct fixture *f = arg;

	f->told++;
	f->told_addr = (char *)(uintptr_t)addr;
	f->told_length = length;
	if (f->on_notify)
		f->on_notify(f);
}

static void kick(void *arg)
{
	struct fixture *f = arg;

	f->kicks++;
	if (f->on_kick)
		f->on_kick(f);
}

static void open_with(struct fixture *f, bool one_load, bool trust)
{
	struct ummu_ranges_opts opts = {
		.max = MAX,
		.trust = trust,
		.notify = notify,
		.kick = kick,
		.arg = f,
	};

	memset(f, 0, sizeof(*f));
	f->fake = fake_open(one_load);
	assert_int_equal(ummu_ranges_open(&f->fake->base, &opts, &f->ranges), 0);
}

static int open_fixture(void **state)
{
	struct fixture *f = malloc(sizeof(*f));

	assert_non_null(f);
	open_with(f, true, false);
	*state = f;
	return 0;
}

static int close_fixture(void **state)
{
	struct fixture *f = *state;

	ummu_ranges_close(f->ranges);
	fake_close(f->fake);
	free(f);
	return 0;
}

static int subscribe(struct fixture *f, size_t first, size_t pages)
{
	return ummu_ranges_subscribe(f->ranges, BASE + first * page,
				     pages * page);
}

static bool valid(struct fixture *f, size_t first, size_t pages)
{
	return ummu_ranges_valid(f->ranges, BASE + first * page, pages * page);
}

static void hit(struct fixture *f, size_t first, size_t pages)
{
	fake_invalidate(f->fake, BASE + first * page, pages * page,
			UMMU_REASON_UNMAP);
}

/* A range with an entry in one cache. */
static void hold(struct fixture *f, size_t first, size_t pages)
{
	if (subscribe(f, first, pages))
		assert_int_equal(subscribe(f, first, pages), 0);
	assert_true(valid(f, first, pages));
}

static struct ummu_ranges_counts count(struct fixture *f)
{
	struct ummu_ranges_counts counts;

	ummu_ranges_count(f->ranges, &counts);
	return counts;
}

static void first_is_used_once(void **state)
{
	struct fixture *f = *state;

	assert_false(valid(f, 0, 4));
	assert_int_equal(subscribe(f, 0, 4), -EBUSY);
	assert_int_equal(subscribe(f, 0, 4), 0);
	assert_true(valid(f, 0, 4));
	assert_true(valid(f, 0, 4));
	assert_int_equal(count(f).first, 1);
	assert_int_equal(count(f).valid, 2);
	assert_int_equal(f->fake->live, 1);
}

static void first_is_kept_on_trust(void **state)
{
	struct fixture f;

	(void)state;
	open_with(&f, true, true);
	assert_int_equal(subscribe(&f, 0, 4), 0);
	assert_true(valid(&f, 0, 4));
	hit(&f, 3, 1);
	assert_false(valid(&f, 0, 4));
	assert_int_equal(subscribe(&f, 0, 4), 0);
	ummu_ranges_close(f.ranges);
	fake_close(f.fake);
}

static void bytes_count_as_their_pages(void **state)
{
	struct fixture *f = *state;
	char *odd = BASE + 100;

	assert_int_equal(ummu_ranges_subscribe(f->ranges, odd, page), -EBUSY);
	assert_int_equal(subscribe(f, 0, 2), 0);
	assert_true(ummu_ranges_valid(f->ranges, odd, page));
	assert_false(valid(f, 0, 1));
	assert_int_equal(ummu_ranges_subscribe(f->ranges, odd, 0), -EINVAL);
	assert_int_equal(ummu_ranges_subscribe(f->ranges, odd, SIZE_MAX),
			 -EINVAL);
	assert_int_equal(f->fake->live, 1);
}

/* It is told so, leaves, and is watched while it is pinned anew. */
static void one_holder_registers_once_more(void **state)
{
	struct fixture *f = *state;
	int i;

	hold(f, 0, 4);
	for (i = 0; i < 5; i++) {
		hit(f, 0, 4);
		assert_false(valid(f, 0, 4));
		assert_int_equal(subscribe(f, 0, 4), 0);
		assert_true(valid(f, 0, 4));
		/* What the caches were not told they knew. */
		ummu_ranges_purge(f->ranges);
	}
	assert_int_equal(f->told, 0);
	assert_true(valid(f, 0, 4));
}

static void hit_while_pinning_is_not_kept(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(subscribe(f, 0, 4), -EBUSY);
	hit(f, 1, 1);
	assert_int_equal(subscribe(f, 0, 4), -EBUSY);
	assert_int_equal(subscribe(f, 0, 4), 0);
	hit(f, 1, 1);
	assert_false(valid(f, 0, 4));
	hit(f, 2, 1);
	assert_int_equal(subscribe(f, 0, 4), -EBUSY);
	assert_int_equal(subscribe(f, 0, 4), 0);
}

/* The other cache's old entry would be found valid otherwise. */
static void two_holders_both_leave_first(void **state)
{
	struct fixture *f = *state;

	hold(f, 0, 4);
	assert_int_equal(subscribe(f, 0, 4), 0);
	hit(f, 2, 1);
	assert_false(valid(f, 0, 4));
	assert_int_equal(f->kicks, 1);
	assert_int_equal(subscribe(f, 0, 4), -EBUSY);
	assert_int_equal(subscribe(f, 0, 4), -EBUSY);
	assert_false(valid(f, 0, 4));

	ummu_ranges_purge(f->ranges);
	assert_int_equal(f->told, 1);
	assert_ptr_equal(f->told_addr, BASE);
	assert_int_equal(f->told_length, 4 * page);
	assert_int_equal(subscribe(f, 0, 4), -EBUSY);
	assert_int_equal(subscribe(f, 0, 4), 0);
	assert_true(valid(f, 0, 4));
}

static void nobody_is_told_about_ranges_without_entries(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(subscribe(f, 0, 4), -EBUSY);
	hit(f, 0, 4);
	ummu_ranges_purge(f->ranges);
	assert_int_equal(f->told, 0);
	assert_int_equal(f->fake->live, 0);
	assert_int_equal(subscribe(f, 0, 4), -EBUSY);
	assert_int_equal(subscribe(f, 0, 4), 0);
}

static void part_of_a_watched_range_is_kept_at_once(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(subscribe(f, 0, 8), -EBUSY);
	assert_int_equal(subscribe(f, 2, 2), 0);
	assert_true(valid(f, 2, 2));
	assert_int_equal(subscribe(f, 6, 4), -EBUSY); /* not all of it */

	hit(f, 0, 1);
	assert_true(valid(f, 2, 2));
	assert_int_equal(subscribe(f, 4, 2), -EBUSY);
}

/* As libfabric's notify may: it takes the lock that it called valid() with. */
static void ask_while_told(struct fixture *f)
{
	assert_false(valid(f, 0, 4));
	assert_int_equal(subscribe(f, 0, 4), -EBUSY);
}

static void notify_may_call_back(void **state)
{
	struct fixture *f = *state;

	hold(f, 0, 4);
	assert_int_equal(subscribe(f, 0, 4), 0);
	f->on_notify = ask_while_told;
	hit(f, 0, 4);
	ummu_ranges_purge(f->ranges);
	assert_int_equal(f->told, 1);
}

/* Before the caches have all dropped it, and its counter is 0. */
static void subscribe_while_told(struct fixture *f)
{
	assert_int_equal(ummu_ranges_subscribe(f->ranges, f->told_addr,
					       f->told_length),
			 -EBUSY);
}

static void too_many_ranges_make_room(void **state)
{
	struct fixture *f = *state;
	size_t i;

	for (i = 0; i < MAX; i++)
		hold(f, 8 * i, 2);
	assert_int_equal(subscribe(f, 8 * MAX, 2), -ENOSPC);
	assert_true(f->kicks > 0);
	assert_true(valid(f, 0, 2)); /* and used a moment ago */
	f->on_notify = subscribe_while_told;
	ummu_ranges_purge(f->ranges);
	assert_int_equal(f->told, MAX / 4);
	assert_int_equal(count(f).ranges, MAX - MAX / 4);
	assert_int_equal(count(f).evicted, MAX / 4);
	assert_int_equal(f->fake->live, MAX - MAX / 4);
	assert_true(valid(f, 0, 2));
	for (i = 1; i <= MAX / 4; i++)
		assert_false(valid(f, 8 * i, 2));
	hold(f, 8 * MAX, 2);
}

static void refusal_is_passed_on(void **state)
{
	struct fixture *f = *state;

	hold(f, 0, 4);
	f->fake->refuse = 2;
	f->fake->refuse_error = -EOPNOTSUPP;
	assert_int_equal(subscribe(f, 8, 4), -EOPNOTSUPP);
	assert_false(valid(f, 8, 4)); /* tries again, in vain */
	hold(f, 8, 4);

	f->fake->refuse = -1;
	hit(f, 0, 4);
	assert_false(valid(f, 0, 4));
	assert_int_equal(subscribe(f, 0, 4), -EOPNOTSUPP);
	assert_false(valid(f, 0, 4));
}

static void not_known_is_not_valid(void **state)
{
	struct fixture f;

	(void)state;
	open_with(&f, false, false);
	hold(&f, 0, 4);
	f.fake->unsettled = 1;
	assert_false(valid(&f, 0, 4));
	assert_true(valid(&f, 0, 4));
	f.fake->unsettled = -1;
	assert_int_equal(subscribe(&f, 0, 4), -EBUSY);
	f.fake->unsettled = 0;

	fake_invalidate_in_flight(f.fake, BASE, page, UMMU_REASON_UNMAP);
	assert_false(valid(&f, 0, 4));
	ummu_ranges_close(f.ranges);
	fake_close(f.fake);
}

static void child_has_nothing(void **state)
{
	struct fixture *f = *state;
	int status;
	pid_t child;

	hold(f, 0, 4);
	child = fork();
	if (!child) {
		status = valid(f, 0, 4);
		status |= (subscribe(f, 0, 4) != -ECHILD) << 1;
		ummu_ranges_close(f->ranges);
		_exit(status);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_true(valid(f, 0, 4));
}

static void open_says_what_is_wrong(void **state)
{
	struct fixture *f = *state;
	struct ummu_ranges_opts opts = { .max = 4 };
	struct ummu_ranges *ranges = NULL;

	assert_int_equal(ummu_ranges_open(&f->fake->base, &opts, &ranges),
			 -EINVAL);
	opts.max = 8;
	assert_int_equal(ummu_ranges_open(&f->fake->base, &opts, &ranges),
			 -EBUSY);
	assert_null(ranges);
}

/* Calls made by another thread. */

struct call {
	struct fixture *f;
	size_t first, pages;
	bool ask;
	int result;
};

static void *make_call(void *arg)
{
	struct call *call = arg;

	if (call->ask)
		call->result = valid(call->f, call->first, call->pages);
	else
		call->result = subscribe(call->f, call->first, call->pages);
	return NULL;
}

/* It may have begun to pin before anybody watched. */
static void other_thread_was_not_here(void **state)
{
	struct fixture *f = *state;
	struct call call = { .f = f, .pages = 4 };
	pthread_t thread;

	hold(f, 0, 4);
	pthread_create(&thread, NULL, make_call, &call);
	pthread_join(thread, NULL);
	assert_int_equal(call.result, -EBUSY);
	assert_true(valid(f, 0, 4));
}

/* Does another thread get the lock of the ranges in some seconds? */

#define PATIENCE 5

static void *count_them(void *arg)
{
	struct fixture *f = arg;

	count(f);
	return NULL;
}

static bool lock_is_free(struct fixture *f)
{
	struct timespec until;
	pthread_t thread;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE;
	pthread_create(&thread, NULL, count_them, f);
	return !pthread_timedjoin_np(thread, NULL, &until);
}

static void look_at_lock(struct fixture *f)
{
	f->blocked += !lock_is_free(f);
}

static void look_at_lock_in_watch(void *arg)
{
	look_at_lock(arg);
}

/* An allocator's lock, or an unmap, may wait for whoever holds this one. */
static void nobody_is_called_with_the_lock(void **state)
{
	struct fixture *f = *state;
	size_t i;

	f->fake->on_watch = look_at_lock_in_watch;
	f->fake->arg = f;
	f->on_kick = look_at_lock;
	f->on_notify = look_at_lock;
	assert_int_equal(subscribe(f, 0, 4), -EBUSY);
	assert_int_equal(f->blocked, 0); /* or it takes long */
	hold(f, 0, 4);
	hit(f, 0, 4);
	assert_false(valid(f, 0, 4));
	assert_int_equal(f->blocked, 0);
	assert_int_equal(subscribe(f, 0, 4), 0);
	assert_int_equal(subscribe(f, 0, 4), 0);
	hit(f, 0, 4);
	assert_false(valid(f, 0, 4));
	ummu_ranges_purge(f->ranges);
	assert_int_equal(f->told, 1);
	assert_int_equal(f->blocked, 0);
	for (i = 1; i < MAX; i++)
		hold(f, 8 * i, 2);
	ummu_ranges_purge(f->ranges);
	assert_true(count(f).evicted);
	assert_true(f->kicks);
	assert_int_equal(f->blocked, 0);
	f->fake->on_watch = NULL;
}

/* While the watch of a range is made: others ask for it, and it is not evicted. */
static void ask_while_watched(void *arg)
{
	struct fixture *f = arg;
	size_t i;

	f->fake->on_watch = NULL;
	assert_false(valid(f, 0, 4));
	assert_int_equal(subscribe(f, 0, 4), -EBUSY);
	for (i = 1; i < MAX; i++)
		hold(f, 8 * i, 2);
	ummu_ranges_purge(f->ranges);
	assert_true(count(f).evicted);
	hit(f, 0, 4);
	assert_false(valid(f, 0, 4));
}

static void range_is_in_the_making(void **state)
{
	struct fixture *f = *state;

	f->fake->arg = f;
	f->fake->on_watch = ask_while_watched;
	assert_int_equal(subscribe(f, 0, 4), -EBUSY);
	assert_int_equal(subscribe(f, 0, 4), 0);
	assert_true(valid(f, 0, 4));

	hit(f, 0, 4);
	f->fake->on_watch = ask_while_watched;
	assert_false(valid(f, 0, 4));
	assert_int_equal(subscribe(f, 0, 4), 0);
	assert_true(valid(f, 0, 4));
}

/* A place where a thread may be cancelled, as write() in a log is. */
static void offer_to_be_cancelled(struct fixture *f)
{
	(void)f;
	pthread_testcancel();
}

static void offer_to_be_cancelled_in_watch(void *arg)
{
	offer_to_be_cancelled(arg);
}

static void *call_cancelled(void *arg)
{
	struct fixture *f = arg;
	int result;

	pthread_cancel(pthread_self());
	result = subscribe(f, 0, 2);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	hit(f, 8, 2);
	return (void *)(intptr_t)(result == -EBUSY && !valid(f, 8, 2));
}

/* It would leave the lock behind, and libfabric's. */
static void nobody_is_cancelled_inside(void **state)
{
	struct fixture *f = *state;
	pthread_t thread;
	void *result;
	size_t i;

	for (i = 1; i < MAX; i++)
		hold(f, 8 * i, 2);
	assert_int_equal(subscribe(f, 8, 2), 0);
	f->on_kick = offer_to_be_cancelled;
	f->fake->on_watch = offer_to_be_cancelled_in_watch;
	pthread_create(&thread, NULL, call_cancelled, f);
	pthread_join(thread, &result);
	f->fake->on_watch = NULL;
	assert_true(lock_is_free(f));
	assert_ptr_not_equal(result, PTHREAD_CANCELED);
	assert_ptr_equal(result, (void *)1);
}

/* With the lock held, which the child gets with nobody who lets go of it. */
static void fork_with_lock(void *arg)
{
	struct fixture *f = arg;
	int status = -1;
	pid_t child = fork();

	if (!child) {
		alarm(PATIENCE);
		count(f);
		valid(f, 0, 4);
		_exit(0);
	}
	waitpid(child, &status, 0);
	f->blocked += status != 0;
}

static void child_waits_for_no_lock(void **state)
{
	struct fixture f;

	(void)state;
	open_with(&f, false, false);
	hold(&f, 0, 4);
	f.fake->on_settle = fork_with_lock;
	f.fake->arg = &f;
	assert_true(valid(&f, 0, 4));
	f.fake->on_settle = NULL;
	assert_int_equal(f.blocked, 0);
	ummu_ranges_close(f.ranges);
	fake_close(f.fake);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, open_fixture, close_fixture)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(first_is_used_once),
		cmocka_unit_test(first_is_kept_on_trust),
		TEST(bytes_count_as_their_pages),
		TEST(one_holder_registers_once_more),
		TEST(hit_while_pinning_is_not_kept),
		TEST(two_holders_both_leave_first),
		TEST(nobody_is_told_about_ranges_without_entries),
		TEST(part_of_a_watched_range_is_kept_at_once),
		TEST(notify_may_call_back),
		TEST(too_many_ranges_make_room),
		TEST(refusal_is_passed_on),
		cmocka_unit_test(not_known_is_not_valid),
		TEST(child_has_nothing),
		TEST(open_says_what_is_wrong),
		TEST(other_thread_was_not_here),
		TEST(range_is_in_the_making),
		TEST(nobody_is_cancelled_inside),
		TEST(nobody_is_called_with_the_lock),
		cmocka_unit_test(child_waits_for_no_lock),
	};

	page = (size_t)sysconf(_SC_PAGESIZE);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
