/* SPDX-License-Identifier: MIT */
/*
 * rows-floor.c - what everything else stands on: a system call that does
 * nothing, a call on the device that does nothing, and the check without any.
 */
#define _GNU_SOURCE
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ummunotify/monitor.h>

#include "bench.h"

#define REPEATS 32
#define CALLS 1000
#define DEVICE_CALLS 200

static void measure_getppid(struct bench_world *world)
{
	struct bench_samples samples = { .ops = CALLS };
	unsigned int i, n;
	uint64_t start;

	for (i = 0; i < REPEATS; i++) {
		start = bench_now();
		for (n = 0; n < CALLS; n++)
			syscall(SYS_getppid);
		bench_add(&samples, bench_since(start));
	}
	bench_row(world, "getppid", &samples);
}

static void measure_call(struct bench_world *world)
{
	struct bench_samples samples = { .ops = DEVICE_CALLS };
	struct bench_device *device = world->device;
	unsigned int i, n;
	uint64_t start;

	for (i = 0; i < REPEATS; i++) {
		start = bench_now();
		for (n = 0; n < DEVICE_CALLS; n++)
			ioctl(device->fd, UMMUNOTIFY_DRAINED, &device->drained);
		bench_add(&samples, bench_since(start));
	}
	bench_row(world, "ioctl", &samples);
}

/* What the loops below cost without the check. */
static __attribute__((noinline)) uint64_t turns(const struct ummu_watch *watch,
						unsigned int calls)
{
	uint64_t start = bench_now();

	(void)watch;
	while (calls--)
		__asm__ volatile("" : : : "memory");
	return bench_since(start);
}

/* Through a pointer that the compiler knows nothing about. */
static __attribute__((noinline)) uint64_t check(const struct ummu_watch *watch,
						unsigned int calls)
{
	uint64_t start = bench_now();

	while (calls--)
		if (!ummu_watch_valid(watch))
			bench_fail("a valid watch is found invalid");
	return bench_since(start);
}

/* The public fields are constant, so that a program may keep copies. */
static __attribute__((noinline)) uint64_t
check_copy(const struct ummu_watch *watch, unsigned int calls)
{
	struct ummu_watch copy = *watch;
	uint64_t start = bench_now();

	while (calls--)
		if (!ummu_watch_valid(&copy))
			bench_fail("a valid watch is found invalid");
	return bench_since(start);
}

typedef uint64_t (*checks_t)(const struct ummu_watch *watch, unsigned int calls);

/* Of CALLS of them, without what happens once. */
static uint64_t least(checks_t checks, const struct ummu_watch *watch)
{
	uint64_t one = UINT64_MAX, two = UINT64_MAX;
	unsigned int i;

	for (i = 0; i < REPEATS; i++) {
		bench_keep_least(&one, checks(watch, CALLS));
		bench_keep_least(&two, checks(watch, 2 * CALLS));
	}
	return two - one;
}

static void measure_check(struct bench_world *world)
{
	struct bench_samples handle = { .ops = CALLS }, copy = handle;
	struct bench_device *device = world->device;
	uintptr_t at = bench_place(world, world->watches);
	struct ummunotify_watch watch = {
		.start = at,
		.end = at + world->layout->length,
	};
	struct ummunotify_watch_id id;
	struct ummu_watch check_it;
	const uint64_t *state;
	uint64_t loop;

	bench_watch(device, &watch, 1);
	state = (const uint64_t *)(device->map + device->setup.states_offset) +
		watch.slot;
	check_it = (struct ummu_watch){
		.proof = state,
		.expected = watch.state,
		.state = state,
	};
	loop = least(turns, &check_it);
	bench_add(&handle, least(check, &check_it) - loop);
	bench_add(&copy, least(check_copy, &check_it) - loop);
	bench_row(world, "check", &handle);
	bench_row(world, "check-copy", &copy);
	id = (struct ummunotify_watch_id){
		.state = watch.state,
		.slot = watch.slot,
	};
	bench_unwatch(device, &id, 1);
}

void bench_floor_rows(struct bench_world *world)
{
	if (!world->device) {
		measure_getppid(world);
	} else if (world->device->setup.size) {
		measure_call(world);
		measure_check(world);
	}
}
