/* SPDX-License-Identifier: MIT */
/*
 * rows-event.c - what it costs to read the events of many watches.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"

#define REPEATS 9
#define PIECE 16 /* events in a small read */

static struct ummunotify_log_entry entries[BENCH_RANGE];
static struct ummunotify_event events[BENCH_RANGE + PIECE];

static void hit_range(struct bench_world *world)
{
	uintptr_t start, end;

	bench_range(world, &start, &end);
	if (madvise((void *)start, end - start, MADV_DONTNEED))
		bench_fail("madvise");
}

/* As a program does that copies events: a page of the log after the other. */
static __attribute__((noinline)) unsigned int
drain(struct bench_device *device, struct ummunotify_log_entry *to)
{
	const struct ummunotify_shared *shared = (const void *)device->map;
	const struct ummunotify_log_entry *page = device->page;
	uint64_t drained = device->drained, logged;
	unsigned int n = 0, entry;

	logged = __atomic_load_n(&shared->logged, __ATOMIC_ACQUIRE);
	entry = drained % UMMUNOTIFY_LOG_ENTRIES;
	if (!entry && drained)
		entry = UMMUNOTIFY_LOG_ENTRIES;
	for (; drained != logged; drained++, entry++) {
		if (entry == UMMUNOTIFY_LOG_ENTRIES) {
			page = (const void *)(device->map + page[entry].state);
			entry = 0;
		}
		to[n++] = page[entry];
	}
	device->page = page;
	device->drained = drained;
	return n;
}

static void rearm(struct bench_device *device)
{
	struct ummunotify_watch_id ids[BENCH_RANGE];
	unsigned int i;

	for (i = 0; i < BENCH_RANGE; i++)
		ids[i] = (struct ummunotify_watch_id){
			.state = entries[i].state,
			.slot = entries[i].slot,
		};
	bench_rearm(device, ids, BENCH_RANGE);
}

static void measure_log(struct bench_world *world)
{
	struct bench_samples samples = { .ops = BENCH_RANGE };
	unsigned int i, n;
	uint64_t start;

	for (i = 0; i < REPEATS; i++) {
		hit_range(world);
		start = bench_now();
		n = drain(world->device, entries);
		bench_add(&samples, bench_since(start));
		if (n != BENCH_RANGE)
			bench_fail("the log has another number of events");
		rearm(world->device);
	}
	bench_row(world, "drain-log", &samples);
}

static void measure_read(struct bench_world *world, const char *name,
			 unsigned int most)
{
	struct bench_samples samples = { .ops = BENCH_RANGE };
	unsigned int i, n;
	uint64_t start;

	for (i = 0; i < REPEATS; i++) {
		hit_range(world);
		n = 0;
		start = bench_now();
		while (n < BENCH_RANGE)
			n += bench_read(world->device, events + n, most);
		bench_add(&samples, bench_since(start));
		if (n != BENCH_RANGE + 1 ||
		    events[BENCH_RANGE].type != UMMUNOTIFY_EVENT_TYPE_LAST)
			bench_fail("read() has another number of events");
	}
	bench_row(world, name, &samples);
}

void bench_event_rows(struct bench_world *world)
{
	memset(entries, 1, sizeof(entries)); /* page faults are not counted */
	memset(events, 1, sizeof(events));
	errno = 0;
	if (world->device->setup.size) {
		measure_log(world);
		return;
	}
	measure_read(world, "drain-read", BENCH_RANGE + 1);
	measure_read(world, "drain-read-pieces", PIECE);
}
