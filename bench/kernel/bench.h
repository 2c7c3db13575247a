/* SPDX-License-Identifier: MIT */
/*
 * bench.h - what the files of the kernel benchmark share.
 *
 * The program counts instructions: under QEMU's -icount shift=0,sleep=off a
 * nanosecond of CLOCK_MONOTONIC is one.  It speaks to the device with raw
 * ioctls.  Whatever goes wrong is said on stderr and ends the program.
 */
#ifndef UMMU_KERNEL_BENCH_H
#define UMMU_KERNEL_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <linux/ummunotify.h>

#define BENCH_PAGE 4096ul
#define BENCH_GRANULE (2ul << 20) /* what the module's coarse filter counts */
#define BENCH_RANGE 1000	  /* watches that one operation hits */
#define BENCH_SPARE 256		  /* places that have no watch */
#define BENCH_BATCH 64		  /* watches in a batched call */

/* Says @what, and why, if there is an errno. */
void bench_fail(const char *what) __attribute__((noreturn));

/* sample.c */

#define BENCH_SAMPLES 64

/**
 * struct bench_samples - repetitions of the same work
 * @ops:   operations in each
 * @count: samples so far
 * @value: instructions of each
 */
struct bench_samples {
	unsigned int ops;
	unsigned int count;
	uint64_t value[BENCH_SAMPLES];
};

/* Fails unless the clock counts instructions. */
void bench_calibrate(void);

static inline uint64_t bench_now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* Instructions since then, less those of looking at the clock. */
uint64_t bench_since(uint64_t start);

void bench_add(struct bench_samples *samples, uint64_t value);

/* Of several repetitions of one sample, a timer tick may spoil some. */
static inline void bench_keep_least(uint64_t *least, uint64_t value)
{
	if (value < *least)
		*least = value;
}

/* layout.c */

/**
 * struct bench_layout - how watches lie
 * @length:      bytes of a watch
 * @stride:      from one to the next in the same granule
 * @per_granule: watches in a granule that has any
 */
struct bench_layout {
	const char *name;
	size_t length;
	size_t stride;
	unsigned int per_granule;
};

/**
 * struct bench_world - the memory of a process that is measured
 * @cgroup:  "root", or "child": a memory cgroup of its own
 * @watches: how many there are when the device is open
 * @places:  where a watch can be: @watches or BENCH_RANGE, whichever is
 *           more, and BENCH_SPARE
 * @order:   of the places, random: the first @watches are watched
 * @holder:  a mapping that gives way to that of the device, so that there are
 *           as many to search before as after
 * @device:  NULL as long as this process has not opened it
 */
struct bench_world {
	const char *cgroup;
	const struct bench_layout *layout;
	unsigned int watches;
	unsigned int places;
	unsigned int *order;
	void *holder;
	struct bench_device *device;
};

extern const struct bench_layout bench_dense;
extern const struct bench_layout bench_sparse;

void bench_world_map(struct bench_world *world);

/* Where watch number @i begins; from @watches on, a place without one. */
uintptr_t bench_place(const struct bench_world *world, unsigned int i);

#define BENCH_GAPS 32

/* Gaps between watches, all over the tree. */
enum bench_gap {
	BENCH_GAP_BESIDE, /* in a granule with watches */
	BENCH_GAP_APART,  /* in a granule without */
};

uintptr_t bench_gap(const struct bench_world *world, enum bench_gap kind,
		    unsigned int i);

/* The lowest addresses that have BENCH_RANGE watches. */
void bench_range(const struct bench_world *world, uintptr_t *start_p,
		 uintptr_t *end_p);

/* device.c */

/**
 * struct bench_device - an open descriptor
 * @setup:   of the new language; its size is 0 in the language of 2010
 * @map:     what the kernel shares with the process
 * @page:    of the log, with the last event that was read
 * @drained: events read so far
 * @growing: instructions that it took to add all watches of the world
 */
struct bench_device {
	int fd;
	struct ummunotify_setup setup;
	const char *map;
	const struct ummunotify_log_entry *page;
	uint64_t drained;
	uint64_t growing;
};

/* With all watches of the world. */
void bench_open(struct bench_world *world, struct bench_device *device);
void bench_open_2010(struct bench_world *world, struct bench_device *device);

/* The next event in the log, NULL if there is none. */
const struct ummunotify_log_entry *bench_next(struct bench_device *device);

/* Reads all events and arms again what was hit; returns how many. */
unsigned int bench_renew(struct bench_device *device);

void bench_watch(struct bench_device *device, struct ummunotify_watch *watches,
		 unsigned int count);
void bench_unwatch(struct bench_device *device,
		   const struct ummunotify_watch_id *ids, unsigned int count);
void bench_rearm(struct bench_device *device, struct ummunotify_watch_id *ids,
		 unsigned int count);
void bench_register(struct bench_device *device, uintptr_t start, size_t length);
void bench_unregister(struct bench_device *device, uintptr_t start);
/* The number of events, UMMUNOTIFY_EVENT_TYPE_LAST included; or 0. */
unsigned int bench_read(struct bench_device *device,
			struct ummunotify_event *events, unsigned int max);

/* Groups of rows.  Each prints what it measured. */

void bench_row(const struct bench_world *world, const char *name,
	       const struct bench_samples *samples);

void bench_floor_rows(struct bench_world *world); /* rows-floor.c */
void bench_unmap_rows(struct bench_world *world); /* rows-unmap.c */
void bench_watch_rows(struct bench_world *world); /* rows-watch.c */
void bench_event_rows(struct bench_world *world); /* rows-event.c */
void bench_wakeup_row(struct bench_world *world); /* rows-wakeup.c */

#endif
