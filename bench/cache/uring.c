/* SPDX-License-Identifier: MIT */
/* uring.c - rows of a real pinner: what registering with io_uring costs. */
#define _GNU_SOURCE
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <ummunotify/pin-uring.h>

#include "bench.h"

#define LEAST ((size_t)4 << 10)
#define MOST ((size_t)64 << 20)
#define ENOUGH_NS 5e6
#define MOST_TURNS 2000

struct bench_uring {
	struct io_uring ring;
	struct ummu_pin_uring *pin, *bare;
	struct io_uring bare_ring;
	struct ummu_monitor *monitor;
	struct ummu_rcache *rcache;
	char *buffer, *registered;
};

static int set_up(struct bench_uring *bench)
{
	int error = io_uring_queue_init(4, &bench->ring, 0);

	if (!error)
		error = io_uring_queue_init(4, &bench->bare_ring, 0);
	if (!error)
		error = ummu_pin_uring_create(&bench->ring, 64, &bench->pin);
	if (!error)
		error = ummu_pin_uring_create(&bench->bare_ring, 64,
					      &bench->bare);
	if (!error)
		error = ummu_monitor_open(NULL, &bench->monitor);
	if (!error)
		error = ummu_rcache_create(bench->monitor, &ummu_pin_uring_ops,
					   bench->pin, NULL, &bench->rcache);
	if (error)
		return error;
	bench->buffer = mmap(NULL, 2 * MOST, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (bench->buffer == MAP_FAILED)
		abort();
	bench->registered = bench->buffer + MOST;
	return 0;
}

/* Register and deregister, as a program without a cache does. */
static int each_time(struct bench_uring *bench, size_t length)
{
	struct ummu_region region = { .addr = bench->buffer, .length = length };
	int error = ummu_pin_uring_ops.reg(bench->bare, &region);

	if (!error)
		ummu_pin_uring_ops.dereg(bench->bare, &region);
	return error;
}

static int cached(struct bench_uring *bench, size_t length)
{
	struct ummu_region *region;
	int error = ummu_rcache_get(bench->rcache, bench->buffer, length, 0,
				    &region);

	if (!error)
		ummu_rcache_put(bench->rcache, region);
	return error;
}

/* Through a buffer that is always registered. */
static int copied(struct bench_uring *bench, size_t length)
{
	memcpy(bench->registered, bench->buffer, length);
	__asm__ volatile("" : : "r"(bench->registered) : "memory");
	return 0;
}

static double time_of(int (*what)(struct bench_uring *, size_t),
		      struct bench_uring *bench, size_t length, int *error)
{
	double shortest = 0, begin = now();

	for (int i = 0; i < MOST_TURNS && now() - begin < ENOUGH_NS; i++) {
		double start = now(), took;

		*error = what(bench, length);
		if (*error)
			return 0;
		took = now() - start;
		if (!i || took < shortest)
			shortest = took;
	}
	return shortest;
}

void rows_uring(void)
{
	static const struct {
		const char *name;
		int (*what)(struct bench_uring *bench, size_t length);
	} ways[] = {
		{ "uring-each-time", each_time },
		{ "uring-cached", cached },
		{ "uring-copied", copied },
	};
	struct bench_uring bench = { 0 };
	int error = set_up(&bench);

	if (error) {
		say("io_uring's buffers cannot be registered here: %s",
		    strerror(-error));
		return;
	}
	for (size_t length = LEAST; length <= MOST; length *= 2) {
		double values[3][SAMPLES];

		for (int i = 0; i < SAMPLES && !error; i++)
			for (int way = 0; way < 3 && !error; way++)
				values[way][i] = time_of(ways[way].what, &bench,
							 length, &error);
		if (error) {
			say("%zu bytes cannot be registered: %s", length,
			    strerror(-error));
			break;
		}
		for (int way = 0; way < 3; way++) {
			row_begin(ways[way].name,
				  ummu_monitor_backend(bench.monitor), 1,
				  length);
			for (int i = 0; i < SAMPLES; i++)
				row_value(values[way][i]);
			row_end();
		}
	}
	ummu_rcache_destroy(bench.rcache);
	ummu_monitor_close(bench.monitor);
	ummu_pin_uring_destroy(bench.bare);
	ummu_pin_uring_destroy(bench.pin);
	io_uring_queue_exit(&bench.ring);
	io_uring_queue_exit(&bench.bare_ring);
	munmap(bench.buffer, 2 * MOST);
}
