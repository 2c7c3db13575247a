/* SPDX-License-Identifier: MIT */
/*
 * calls-keep-errno.c - errno is after each public call what it was before,
 * whether the call succeeds or is refused.
 *
 * tests/calls-listed.sh holds this file against the libraries' maps.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <liburing.h>
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

#include <ummunotify/pin-cuda.h>
#include <ummunotify/pin-mlock.h>
#include <ummunotify/pin-uring.h>

#include "fake-pinner.h"
#include "monitor-fixture.h"
#include "run.h"
#include "witness.h"

/* No error has this number. */
#define SENTINEL 4711

static unsigned int calls, broken;

static void judge(int line, const char *call)
{
	const int left = errno;

	calls++;
	if (left == SENTINEL)
		return;
	broken++;
	print_message("line %d: errno is %d (%s) after %s\n", line, left,
		      strerror(left), call);
}

/* Does @call leave errno alone? */
#define KEEPS(call)                     \
	do {                            \
		errno = SENTINEL;       \
		(void)(call);           \
		judge(__LINE__, #call); \
	} while (0)

/* Likewise, and its result is what the test is about. */
#define KEEPS_AND_IS(call, expected)                            \
	do {                                                    \
		errno = SENTINEL;                               \
		const int64_t result_ = (int64_t)(call);        \
		judge(__LINE__, #call);                         \
		assert_int_equal(result_, (int64_t)(expected)); \
	} while (0)

static int set_up(void **state)
{
	(void)state;
	page = (size_t)sysconf(_SC_PAGESIZE);
	calls = broken = 0;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	print_message("%u calls, %u of them changed errno\n", calls, broken);
	return broken || !calls;
}

static void opening(void **state)
{
	const char *const names[] = { "uffd", "none", "kmod", "no such" };
	struct ummu_monitor_opts opts = { .size = sizeof(opts) };
	struct ummu_monitor *monitor;

	(void)state;
	KEEPS(ummu_version());
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		opts.backend = names[i];
		monitor = NULL;
		KEEPS(ummu_monitor_open(&opts, &monitor));
		KEEPS(ummu_monitor_explain());
		KEEPS(ummu_monitor_close(monitor));
	}
	KEEPS_AND_IS(ummu_monitor_open(NULL, &monitor), 0);
	KEEPS(ummu_monitor_close(monitor));
	opts.size = 0;
	KEEPS_AND_IS(ummu_monitor_open(&opts, &monitor), -EINVAL);
}

static void watching(struct ummu_monitor *monitor, int granted)
{
	char *memory = monitor_map(4);
	struct ummu_watch *handle = NULL;
	struct ummu_event events[4];

	KEEPS_AND_IS(ummu_monitor_watch(monitor, memory, 2 * page, 1, &handle),
		     granted);
	KEEPS(ummu_monitor_watch(monitor, NULL, page, 2,
				 &(struct ummu_watch *){ NULL }));
	KEEPS_AND_IS(ummu_monitor_watch(monitor, memory, 0, 2, &handle),
		     -EINVAL);
	if (handle)
		KEEPS_AND_IS(ummu_watch_valid(handle), true);
	KEEPS_AND_IS(ummu_monitor_read(monitor, events, 4), 0);
	munmap(memory, page);
	if (handle) {
		KEEPS_AND_IS(ummu_watch_valid(handle), false);
		KEEPS_AND_IS(ummu_watch_spent(handle), true);
		KEEPS_AND_IS(ummu_monitor_read(monitor, events, 4), 1);
	}
	KEEPS(ummu_monitor_unwatch(monitor, handle));
	KEEPS(ummu_monitor_release(monitor, memory, 4 * page));
	KEEPS_AND_IS(ummu_monitor_release(monitor, memory, 0), -EINVAL);
	munmap(memory + page, 3 * page);
}

static void asking(struct ummu_monitor *monitor)
{
	struct ummu_monitor_stats stats = { .size = sizeof(stats) };
	struct ummu_caps caps = { .size = sizeof(caps) };
	struct ummu_checkpoint checkpoint;

	KEEPS(ummu_monitor_backend(monitor));
	KEEPS_AND_IS(ummu_monitor_status(monitor), 0);
	KEEPS(ummu_monitor_fd(monitor));
	KEEPS(ummu_monitor_generation(monitor));
	KEEPS(ummu_monitor_checkpoint(monitor, &checkpoint));
	KEEPS_AND_IS(ummu_changed(&checkpoint), false);
	if (checkpoint.settle)
		KEEPS_AND_IS(ummu_monitor_settle(monitor), true);
	KEEPS_AND_IS(ummu_monitor_caps(monitor, &caps), 0);
	KEEPS_AND_IS(ummu_monitor_stats(monitor, &stats), 0);
	stats.size = caps.size = 0;
	KEEPS_AND_IS(ummu_monitor_caps(monitor, &caps), -EINVAL);
	KEEPS_AND_IS(ummu_monitor_stats(monitor, &stats), -EINVAL);
}

static void reading_alone(struct ummu_monitor *monitor, int granted)
{
	struct ummu_reader *reader, *second;
	struct ummu_watch *handle = NULL;
	char *memory = monitor_map(1);
	struct ummu_event event;

	KEEPS_AND_IS(ummu_monitor_claim(monitor, &reader), 0);
	KEEPS_AND_IS(ummu_monitor_claim(monitor, &second), -EBUSY);
	KEEPS_AND_IS(ummu_monitor_watch(monitor, memory, page, 1, &handle),
		     -EBUSY);
	KEEPS_AND_IS(ummu_monitor_read(monitor, &event, 1), -EBUSY);
	KEEPS_AND_IS(ummu_reader_watch(reader, memory, page, 1, &handle),
		     granted);
	KEEPS_AND_IS(ummu_reader_watch(reader, memory, 0, 1, &handle), -EINVAL);
	munmap(memory, page);
	KEEPS_AND_IS(ummu_reader_read(reader, &event, 1), granted ? 0 : 1);
	KEEPS(ummu_monitor_unwatch(monitor, handle));
	KEEPS(ummu_reader_drop(reader));
}

static void monitor_calls(const char *backend, int granted)
{
	struct ummu_monitor *monitor = monitor_open(backend);

	asking(monitor);
	watching(monitor, granted);
	reading_alone(monitor, granted);
	asking(monitor);
	KEEPS(ummu_monitor_close(monitor));
}

static void monitor_on_uffd(void **state)
{
	(void)state;
	monitor_calls("uffd", 0);
}

static void monitor_on_none(void **state)
{
	(void)state;
	monitor_calls("none", -EOPNOTSUPP);
}

/* Pinners are programs of their own, and leave in errno what they like. */
static int rude_reg(void *ctx, struct ummu_region *region)
{
	(void)region;
	errno = EDOM;
	return *(int *)ctx;
}

static void rude_dereg(void *ctx, struct ummu_region *region)
{
	(void)ctx, (void)region;
	errno = ERANGE;
}

static bool rude_covers(void *ctx, uint64_t have, uint64_t want)
{
	(void)ctx;
	errno = EDOM;
	return (have & want) == want;
}

static const struct ummu_rcache_ops rude_ops = {
	.size = sizeof(rude_ops),
	.reg = rude_reg,
	.dereg = rude_dereg,
	.covers = rude_covers,
};

static void get_and_put(struct ummu_rcache *rcache, char *memory, size_t length,
			uint64_t access)
{
	struct ummu_region *region = NULL;

	KEEPS_AND_IS(ummu_rcache_get(rcache, memory, length, access, &region),
		     0);
	KEEPS(ummu_region_valid(region));
	KEEPS(ummu_region_private(region));
	KEEPS(ummu_region_unmapped(region, &(void *){ NULL }, &(size_t){ 0 }));
	KEEPS(ummu_rcache_put(rcache, region));
}

/* Misses, hits of each kind, and what is invalidated while idle or in use. */
static void cache_calls(struct ummu_rcache *rcache)
{
	char *memory = monitor_map(8);
	struct ummu_region *region;
	struct ummu_rcache_stats stats = { .size = sizeof(stats) };

	get_and_put(rcache, memory, page, 3);
	get_and_put(rcache, memory, page, 3);
	get_and_put(rcache, memory, page, 1);
	get_and_put(rcache, memory + page, 2 * page, 3);
	get_and_put(rcache, memory + page, page, 3);
	get_and_put(rcache, memory + 2 * page, page, 3);
	munmap(memory, page);
	get_and_put(rcache, memory + page, page, 3); /* reaps */
	KEEPS_AND_IS(ummu_rcache_get(rcache, memory + page, page, 3, &region),
		     0);
	munmap(memory + page, page);
	KEEPS(ummu_region_valid(region));
	KEEPS(ummu_rcache_put(rcache, region)); /* the last of what has left */
	get_and_put(rcache, memory + 4 * page, page, 3);
	munmap(memory + 4 * page, page);
	KEEPS(ummu_rcache_flush(rcache, false));
	get_and_put(rcache, memory + 5 * page, page, 3);
	KEEPS(ummu_rcache_invalidate(rcache, memory, 6 * page));
	KEEPS_AND_IS(ummu_rcache_invalidate(rcache, memory, 0), -EINVAL);
	get_and_put(rcache, memory + 6 * page, page, 3);
	KEEPS(ummu_rcache_flush(rcache, true));
	KEEPS_AND_IS(ummu_rcache_get(rcache, memory, 0, 0, &region), -EINVAL);
	KEEPS(ummu_rcache_stats(rcache, &stats));
	stats.size = 0;
	KEEPS_AND_IS(ummu_rcache_stats(rcache, &stats), -EINVAL);
	munmap(memory + 2 * page, 2 * page);
	munmap(memory + 5 * page, 3 * page);
}

static void cache_on(const char *backend)
{
	const struct ummu_rcache_opts opts = { sizeof(opts), 0, 3 };
	struct ummu_monitor *monitor = monitor_open(backend);
	struct ummu_rcache *rcache, *second = NULL;
	char *memory = monitor_map(1);
	struct ummu_region *region;
	int answer = 0;

	KEEPS_AND_IS(ummu_rcache_create(monitor, &rude_ops, &answer, &opts,
					&rcache),
		     0);
	KEEPS_AND_IS(ummu_rcache_create(monitor, &rude_ops, &answer, &opts,
					&second),
		     -EBUSY);
	KEEPS_AND_IS(ummu_rcache_create(monitor, NULL, NULL, NULL, &second),
		     -EINVAL);
	cache_calls(rcache);
	answer = -EPERM;
	KEEPS_AND_IS(ummu_rcache_get(rcache, memory, page, 0, &region), -EPERM);
	answer = -ENOMEM;
	KEEPS_AND_IS(ummu_rcache_get(rcache, memory, page, 0, &region), -ENOMEM);
	answer = 0;
	get_and_put(rcache, memory, page, 0);
	KEEPS(ummu_rcache_destroy(rcache));
	KEEPS(ummu_rcache_destroy(NULL));
	munmap(memory, page);
	KEEPS(ummu_monitor_close(monitor));
}

static void cache_on_uffd(void **state)
{
	(void)state;
	cache_on("uffd");
}

static void cache_on_none(void **state)
{
	(void)state;
	cache_on("none");
}

/* A pinner of ours, and its refusal of what is not mapped. */
static void cache_with(const struct ummu_rcache_ops *ops, void *ctx)
{
	struct ummu_monitor *monitor = monitor_open("uffd");
	char *memory = monitor_map(2);
	struct ummu_rcache *rcache;
	struct ummu_region *region;

	KEEPS_AND_IS(ummu_rcache_create(monitor, ops, ctx, NULL, &rcache), 0);
	get_and_put(rcache, memory, 2 * page, 0);
	get_and_put(rcache, memory, 2 * page, 0);
	munmap(memory, page);
	KEEPS(ummu_rcache_flush(rcache, true));
	munmap(memory + page, page);
	errno = SENTINEL;
	assert_int_not_equal(ummu_rcache_get(rcache, memory, page, 0, &region),
			     0);
	judge(__LINE__, "ummu_rcache_get() of nothing");
	KEEPS(ummu_rcache_destroy(rcache));
	ummu_monitor_close(monitor);
}

static void pinner_mlock(void **state)
{
	struct ummu_pin_mlock *pin;

	(void)state;
	KEEPS_AND_IS(ummu_pin_mlock_create(&pin), 0);
	cache_with(&ummu_pin_mlock_ops, pin);
	KEEPS(ummu_pin_mlock_destroy(pin));
	KEEPS(ummu_pin_mlock_destroy(NULL));
}

static void pinner_uring(void **state)
{
	struct ummu_pin_uring *pin, *second;
	struct io_uring ring;

	(void)state;
	if (io_uring_queue_init(8, &ring, 0))
		skip();
	KEEPS_AND_IS(ummu_pin_uring_create(&ring, 4, &pin), 0);
	KEEPS_AND_IS(ummu_pin_uring_create(&ring, 4, &second), -EBUSY);
	KEEPS_AND_IS(ummu_pin_uring_create(&ring, 0, &second), -EINVAL);
	cache_with(&ummu_pin_uring_ops, pin);
	KEEPS_AND_IS(ummu_pin_uring_service(pin), 0);
	KEEPS(ummu_pin_uring_destroy(pin));
	KEEPS(ummu_pin_uring_destroy(NULL));
	io_uring_queue_exit(&ring);
}

/* Where there is no driver its absence is what may be told. */
static void pinner_cuda(void **state)
{
	struct ummu_pin_cuda *pin = NULL;

	(void)state;
	KEEPS(ummu_pin_cuda_create(0, &pin));
	KEEPS(ummu_pin_cuda_destroy(pin));
}

#define KEEPING(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		KEEPING(opening),	  KEEPING(monitor_on_uffd),
		KEEPING(monitor_on_none), KEEPING(cache_on_uffd),
		KEEPING(cache_on_none),	  KEEPING(pinner_mlock),
		KEEPING(pinner_uring),	  KEEPING(pinner_cuda),
	};

	run_limit(60);
	witness_need_uffd();
	unsetenv("UMMU_MONITOR");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
