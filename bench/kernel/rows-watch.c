/* SPDX-License-Identifier: MIT */
/*
 * rows-watch.c - the calls that add and end watches, at places all over the
 * tree in random order, beside the watches of the world.
 */
#define _GNU_SOURCE
#include <sys/mman.h>

#include "bench.h"

#define ROUNDS 6
#define WINDOW 32 /* calls for one watch each */

/**
 * struct calls - the spare places, and what was measured there
 * @watches, @ids: one a place
 */
struct calls {
	struct ummunotify_watch watches[BENCH_SPARE];
	struct ummunotify_watch_id ids[BENCH_SPARE];
	struct bench_samples watch;
	struct bench_samples unwatch;
	struct bench_samples rearm;
};

/* The first argument of a call for @count watches is number @first's. */
static void watch(struct bench_device *device, struct calls *calls,
		  unsigned int first, unsigned int count)
{
	bench_watch(device, &calls->watches[first], count);
}

static void unwatch(struct bench_device *device, struct calls *calls,
		    unsigned int first, unsigned int count)
{
	bench_unwatch(device, &calls->ids[first], count);
}

static void rearm(struct bench_device *device, struct calls *calls,
		  unsigned int first, unsigned int count)
{
	bench_rearm(device, &calls->ids[first], count);
}

typedef void (*call_t)(struct bench_device *device, struct calls *calls,
		       unsigned int first, unsigned int count);

/* All spare places, @each of them in a call and samples->ops in a sample. */
static void sample(struct bench_device *device, struct calls *calls,
		   struct bench_samples *samples, unsigned int each,
		   call_t call)
{
	unsigned int window, i;
	uint64_t start;

	for (window = 0; window < BENCH_SPARE; window += samples->ops) {
		start = bench_now();
		for (i = 0; i < samples->ops; i += each)
			call(device, calls, window + i, each);
		bench_add(samples, bench_since(start));
	}
}

static void take_ids(struct calls *calls)
{
	unsigned int i;

	for (i = 0; i < BENCH_SPARE; i++)
		calls->ids[i] = (struct ummunotify_watch_id){
			.state = calls->watches[i].state,
			.slot = calls->watches[i].slot,
		};
}

/* Every spare watch is hit, and its event is read. */
static void spend(struct bench_device *device, struct calls *calls)
{
	unsigned int i, read = 0;

	for (i = 0; i < BENCH_SPARE; i++)
		if (madvise((void *)(uintptr_t)calls->watches[i].start,
			    BENCH_PAGE, MADV_DONTNEED))
			bench_fail("madvise");
	while (bench_next(device))
		read++;
	if (read != BENCH_SPARE)
		bench_fail("spare watches were not hit");
}

static void measure(struct bench_world *world, unsigned int each,
		    const char *const names[3])
{
	static struct calls calls;
	unsigned int i, ops = each > WINDOW ? each : WINDOW;

	calls.watch = calls.unwatch = calls.rearm = (struct bench_samples){
		.ops = ops
	};
	for (i = 0; i < BENCH_SPARE; i++) {
		uintptr_t at = bench_place(world, world->watches + i);

		calls.watches[i] = (struct ummunotify_watch){
			.start = at,
			.end = at + world->layout->length,
		};
	}
	for (i = 0; i < ROUNDS; i++) {
		sample(world->device, &calls, &calls.watch, each, watch);
		take_ids(&calls);
		spend(world->device, &calls);
		sample(world->device, &calls, &calls.rearm, each, rearm);
		sample(world->device, &calls, &calls.unwatch, each, unwatch);
	}
	bench_row(world, names[0], &calls.watch);
	bench_row(world, names[1], &calls.unwatch);
	bench_row(world, names[2], &calls.rearm);
}

static void measure_2010(struct bench_world *world)
{
	struct bench_samples add = { .ops = WINDOW }, end = add;
	unsigned int round, first, i;
	uint64_t start;

	for (round = 0; round < ROUNDS; round++) {
		for (first = 0; first < BENCH_SPARE; first += WINDOW) {
			start = bench_now();
			for (i = 0; i < WINDOW; i++)
				bench_register(world->device,
					       bench_place(world,
							   world->watches +
								   first + i),
					       world->layout->length);
			bench_add(&add, bench_since(start));
		}
		for (first = 0; first < BENCH_SPARE; first += WINDOW) {
			start = bench_now();
			for (i = 0; i < WINDOW; i++)
				bench_unregister(world->device,
						 bench_place(world,
							     world->watches +
								     first + i));
			bench_add(&end, bench_since(start));
		}
	}
	bench_row(world, "register", &add);
	bench_row(world, "unregister", &end);
}

void bench_watch_rows(struct bench_world *world)
{
	static const char *const one[] = { "watch", "unwatch", "rearm" };
	static const char *const batch[] = { "watch-batch", "unwatch-batch",
					     "rearm-batch" };
	struct bench_samples growing = { .ops = world->watches };

	bench_add(&growing, world->device->growing);
	bench_row(world, "growing", &growing);
	if (!world->device->setup.size) {
		measure_2010(world);
		return;
	}
	measure(world, 1, one);
	measure(world, BENCH_BATCH, batch);
}
