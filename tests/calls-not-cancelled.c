/* SPDX-License-Identifier: MIT */
/*
 * calls-not-cancelled.c - a thread that is to be cancelled is not while it is
 * in a call of the library, and is at its next cancellation point.
 *
 * A thread that ended within a call would leave locked what the library has
 * locked, for every other thread, and lose what it has made.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include <ummunotify/pin-mlock.h>
#include <ummunotify/pin-uring.h>

#include "monitor-fixture.h"
#include "run.h"
#include "witness.h"

/**
 * struct scene - what the calls work on
 * @call:     made by the thread
 * @returned: it did
 * @result:   of the call
 */
struct scene {
	const char *backend;
	struct ummu_monitor *monitor;
	struct ummu_reader *reader;
	struct ummu_watch *handle;
	struct ummu_rcache *rcache;
	struct ummu_region *region;
	struct ummu_pin_mlock *mlock;
	struct ummu_pin_uring *uring;
	struct io_uring ring;
	char *memory;
	void (*call)(struct scene *scene);
	bool returned;
	int result;
};

/* Cancelled, and acts upon it where the library lets it. */
static void *make_call(void *arg)
{
	struct scene *scene = arg;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	pthread_cancel(pthread_self());
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	scene->call(scene);
	scene->returned = true;
	pthread_testcancel();
	return NULL;
}

static void make(struct scene *scene, void (*call)(struct scene *),
		 const char *name)
{
	pthread_t thread;
	void *ended;

	scene->call = call;
	scene->returned = false;
	scene->result = 0;
	assert_int_equal(pthread_create(&thread, NULL, make_call, scene), 0);
	assert_int_equal(pthread_join(thread, &ended), 0);
	if (!scene->returned) {
		/* It may have left a lock, and then nothing more ends. */
		printf("the thread was cancelled in %s\n", name);
		exit(1);
	}
	if (ended != PTHREAD_CANCELED)
		fail_msg("the thread was not cancelled after %s", name);
}

#define MAKE(scene, call) make(scene, call, #call)

static void open_it(struct scene *scene)
{
	struct ummu_monitor_opts opts = { sizeof(opts), scene->backend };

	scene->result = ummu_monitor_open(&opts, &scene->monitor);
}

static void close_it(struct scene *scene)
{
	ummu_monitor_close(scene->monitor);
}

static void ask(struct scene *scene)
{
	struct ummu_monitor_stats stats = { .size = sizeof(stats) };
	struct ummu_caps caps = { .size = sizeof(caps) };
	struct ummu_checkpoint checkpoint;

	ummu_monitor_checkpoint(scene->monitor, &checkpoint);
	scene->result = ummu_changed(&checkpoint) +
			ummu_monitor_status(scene->monitor) +
			ummu_monitor_caps(scene->monitor, &caps) +
			ummu_monitor_stats(scene->monitor, &stats);
	ummu_monitor_fd(scene->monitor);
}

static void watch(struct scene *scene)
{
	scene->result = ummu_monitor_watch(scene->monitor, scene->memory, page,
					   0, &scene->handle);
}

static void watch_nothing(struct scene *scene)
{
	struct ummu_watch *none;

	scene->result = ummu_monitor_watch(scene->monitor, NULL, page, 0, &none);
}

static void unmap(struct scene *scene)
{
	munmap(scene->memory, page);
}

static void look(struct scene *scene)
{
	scene->result = ummu_watch_valid(scene->handle);
}

static void read_events(struct scene *scene)
{
	struct ummu_event events[4];

	scene->result = ummu_monitor_read(scene->monitor, events, 4);
}

static void unwatch(struct scene *scene)
{
	ummu_monitor_unwatch(scene->monitor, scene->handle);
}

static void release(struct scene *scene)
{
	scene->result = ummu_monitor_release(scene->monitor, scene->memory,
					     page);
}

static void claim(struct scene *scene)
{
	scene->result = ummu_monitor_claim(scene->monitor, &scene->reader);
}

static void drop(struct scene *scene)
{
	ummu_reader_drop(scene->reader);
}

static void monitor_calls(struct scene *scene, int granted)
{
	MAKE(scene, open_it);
	assert_int_equal(scene->result, 0);
	MAKE(scene, ask);
	assert_int_equal(scene->result, 0);
	scene->memory = monitor_map(1);
	MAKE(scene, watch_nothing);
	assert_int_not_equal(scene->result, 0);
	MAKE(scene, watch);
	assert_int_equal(scene->result, granted);
	if (granted == 0) {
		MAKE(scene, look);
		assert_int_equal(scene->result, true);
		MAKE(scene, unmap);
		MAKE(scene, look);
		assert_int_equal(scene->result, false);
		MAKE(scene, read_events);
		assert_int_equal(scene->result, 1);
		MAKE(scene, unwatch);
	}
	MAKE(scene, read_events);
	assert_int_equal(scene->result, 0);
	MAKE(scene, release);
	assert_int_equal(scene->result, 0);
	MAKE(scene, claim);
	assert_int_equal(scene->result, 0);
	MAKE(scene, drop);
	MAKE(scene, close_it);
	munmap(scene->memory, page);
}

/* Twice: another opens after the thread that is to be cancelled. */
static void monitor_on_uffd(void **state)
{
	struct scene scene = { .backend = "uffd" };

	(void)state;
	monitor_calls(&scene, 0);
	monitor_calls(&scene, 0);
}

static void monitor_on_none(void **state)
{
	struct scene scene = { .backend = "none" };

	(void)state;
	monitor_calls(&scene, -EOPNOTSUPP);
}

/* A pinner that may wait: in each of its calls it could be cancelled. */
static int waiting_reg(void *ctx, struct ummu_region *region)
{
	(void)ctx, (void)region;
	pthread_testcancel();
	return 0;
}

static void waiting_dereg(void *ctx, struct ummu_region *region)
{
	(void)ctx, (void)region;
	pthread_testcancel();
}

static bool waiting_covers(void *ctx, uint64_t have, uint64_t want)
{
	(void)ctx;
	pthread_testcancel();
	return (have & want) == want;
}

static const struct ummu_rcache_ops waiting_ops = {
	.size = sizeof(waiting_ops),
	.reg = waiting_reg,
	.dereg = waiting_dereg,
	.covers = waiting_covers,
};

static void create(struct scene *scene)
{
	scene->result = ummu_rcache_create(scene->monitor, &waiting_ops, NULL,
					   NULL, &scene->rcache);
}

static void get_all(struct scene *scene)
{
	scene->result = ummu_rcache_get(scene->rcache, scene->memory, page, 3,
					&scene->region);
}

static void get_less(struct scene *scene)
{
	scene->result = ummu_rcache_get(scene->rcache, scene->memory, page, 1,
					&scene->region);
}

static void put(struct scene *scene)
{
	ummu_rcache_put(scene->rcache, scene->region);
}

static void flush(struct scene *scene)
{
	scene->result = ummu_rcache_flush(scene->rcache, true);
}

static void invalidate(struct scene *scene)
{
	scene->result = ummu_rcache_invalidate(scene->rcache, scene->memory,
					       page);
}

static void destroy(struct scene *scene)
{
	ummu_rcache_destroy(scene->rcache);
}

/* A miss or a hit, and a put by another thread. */
static void turn(struct scene *scene, void (*get)(struct scene *))
{
	make(scene, get, "ummu_rcache_get()");
	assert_int_equal(scene->result, 0);
	MAKE(scene, put);
}

static void cache_calls(struct scene *scene)
{
	scene->monitor = monitor_open(scene->backend);
	scene->memory = monitor_map(1);
	MAKE(scene, create);
	assert_int_equal(scene->result, 0);
	turn(scene, get_all);
	turn(scene, get_all);
	turn(scene, get_less);
	MAKE(scene, flush);
	turn(scene, get_all);
	MAKE(scene, invalidate);
	get_all(scene);
	munmap(scene->memory, page);
	MAKE(scene, put); /* deregisters it */
	scene->memory = monitor_map(1);
	turn(scene, get_all);
	MAKE(scene, destroy); /* deregisters it */
	munmap(scene->memory, page);
	ummu_monitor_close(scene->monitor);
}

static void cache_on_uffd(void **state)
{
	struct scene scene = { .backend = "uffd" };

	(void)state;
	cache_calls(&scene);
}

static void cache_on_none(void **state)
{
	struct scene scene = { .backend = "none" };

	(void)state;
	cache_calls(&scene);
}

static void mlock_create(struct scene *scene)
{
	scene->result = ummu_pin_mlock_create(&scene->mlock);
}

static void mlock_destroy(struct scene *scene)
{
	ummu_pin_mlock_destroy(scene->mlock);
}

static void uring_create(struct scene *scene)
{
	scene->result = ummu_pin_uring_create(&scene->ring, 4, &scene->uring);
}

static void uring_service(struct scene *scene)
{
	scene->result = ummu_pin_uring_service(scene->uring);
}

static void uring_destroy(struct scene *scene)
{
	ummu_pin_uring_destroy(scene->uring);
}

static void pinners(void **state)
{
	struct scene scene = { .backend = NULL };

	(void)state;
	MAKE(&scene, mlock_create);
	assert_int_equal(scene.result, 0);
	MAKE(&scene, mlock_destroy);
	if (io_uring_queue_init(8, &scene.ring, 0))
		return;
	MAKE(&scene, uring_create);
	assert_int_equal(scene.result, 0);
	MAKE(&scene, uring_service);
	MAKE(&scene, uring_destroy);
	io_uring_queue_exit(&scene.ring);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cache_on_none),
		cmocka_unit_test(pinners),
		cmocka_unit_test(monitor_on_none),
		cmocka_unit_test(monitor_on_uffd),
		cmocka_unit_test(cache_on_uffd),
	};

	run_limit(60);
	witness_need_uffd();
	unsetenv("UMMU_MONITOR");
	page = (size_t)sysconf(_SC_PAGESIZE);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
