/* SPDX-License-Identifier: MIT */
/*
 * bench-unmap.c - what watching costs the program that gives memory back.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "bench.h"

/**
 * struct unmap_bench - what the cases work on
 * @ranges:    mapped anew for each sample
 * @watches:   of @ranges
 * @elsewhere: a range that stays
 * @other:     the watch on @elsewhere
 * @grace:     how long memory that was given back is refused by the monitor
 */
struct unmap_bench {
	struct ummu_monitor *monitor;
	struct bench_ranges ranges;
	struct ummu_watch *watches[BENCH_RANGES];
	struct bench_ranges elsewhere;
	struct ummu_watch *other;
	struct timespec grace;
};

static struct unmap_bench bench;

static int prepare_bare(void *context)
{
	struct unmap_bench *b = context;

	return bench_ranges_map(&b->ranges);
}

static void finish_bare(void *context)
{
	struct unmap_bench *b = context;

	bench_ranges_unmap(&b->ranges);
}

/* An address that was given back a moment ago is refused for a while. */
static int watch(struct unmap_bench *b, void *addr, struct ummu_watch **watch_p)
{
	int tries, ret = -EAGAIN;

	for (tries = 0; tries < 10 && ret == -EAGAIN; tries++) {
		if (tries)
			nanosleep(&b->grace, NULL);
		ret = ummu_monitor_watch(b->monitor, addr, BENCH_RANGE_BYTES, 0,
					 watch_p);
	}
	if (ret)
		bench_say("%s", ummu_monitor_explain());
	return ret;
}

static int prepare_elsewhere(void *context)
{
	struct unmap_bench *b = context;
	int ret = prepare_bare(b);

	if (ret)
		return ret;
	ret = watch(b, b->elsewhere.addr[0], &b->other);
	if (ret)
		finish_bare(b);
	return ret;
}

static void finish_elsewhere(void *context)
{
	struct unmap_bench *b = context;

	ummu_monitor_unwatch(b->monitor, b->other);
	finish_bare(b);
}

static void finish_watched(void *context)
{
	struct unmap_bench *b = context;
	unsigned int i;

	for (i = 0; i < BENCH_RANGES; i++) {
		ummu_monitor_unwatch(b->monitor, b->watches[i]);
		b->watches[i] = NULL;
	}
	finish_bare(b);
}

static int prepare_watched(void *context)
{
	struct unmap_bench *b = context;
	unsigned int i;
	int ret = prepare_bare(b);

	if (ret)
		return ret;
	for (i = 0; i < BENCH_RANGES && !ret; i++)
		ret = watch(b, b->ranges.addr[i], &b->watches[i]);
	if (ret)
		finish_watched(b);
	return ret;
}

static void run_munmap(void *context, unsigned int thread, unsigned int ops)
{
	struct unmap_bench *b = context;
	unsigned int i;

	(void)thread;
	for (i = 0; i < ops; i++)
		munmap(b->ranges.addr[i], BENCH_RANGE_BYTES);
}

static void run_madvise(void *context, unsigned int thread, unsigned int ops)
{
	struct unmap_bench *b = context;
	unsigned int i;

	(void)thread;
	for (i = 0; i < ops; i++)
		madvise(b->ranges.addr[i], BENCH_RANGE_BYTES, MADV_DONTNEED);
}

static struct bench_case munmap_cases[] = {
	{ .name = "munmap",
	  .threads = 1,
	  .ops = BENCH_RANGES,
	  .prepare = prepare_bare,
	  .run = run_munmap,
	  .finish = finish_bare },
	{ .name = "munmap, other memory watched",
	  .against = "munmap",
	  .threads = 1,
	  .ops = BENCH_RANGES,
	  .prepare = prepare_elsewhere,
	  .run = run_munmap,
	  .finish = finish_elsewhere },
	{ .name = "munmap, watched",
	  .against = "munmap",
	  .threads = 1,
	  .ops = BENCH_RANGES,
	  .prepare = prepare_watched,
	  .run = run_munmap,
	  .finish = finish_watched },
};

static struct bench_case madvise_cases[] = {
	{ .name = "madvise",
	  .threads = 1,
	  .ops = BENCH_RANGES,
	  .prepare = prepare_bare,
	  .run = run_madvise,
	  .finish = finish_bare },
	{ .name = "madvise, other memory watched",
	  .against = "madvise",
	  .threads = 1,
	  .ops = BENCH_RANGES,
	  .prepare = prepare_elsewhere,
	  .run = run_madvise,
	  .finish = finish_elsewhere },
	{ .name = "madvise, watched",
	  .against = "madvise",
	  .threads = 1,
	  .ops = BENCH_RANGES,
	  .prepare = prepare_watched,
	  .run = run_madvise,
	  .finish = finish_watched },
};

static int set_up(struct unmap_bench *b)
{
	struct ummu_caps caps = { .size = sizeof(caps) };
	int ret = ummu_monitor_open(NULL, &b->monitor);

	if (ret) {
		bench_say("%s", ummu_monitor_explain());
		return ret;
	}
	ret = ummu_monitor_caps(b->monitor, &caps);
	if (!ret)
		ret = bench_ranges_map(&b->elsewhere);
	if (ret)
		ummu_monitor_close(b->monitor);
	b->grace.tv_sec = (time_t)(caps.grace_ns / 1000000000u);
	b->grace.tv_nsec = (long)(caps.grace_ns % 1000000000u);
	return ret;
}

static int measure(struct bench_group *group, unsigned int rounds)
{
	size_t i;
	int ret;

	ret = set_up(&bench);
	if (ret)
		return ret;
	for (i = 0; i < group->count; i++)
		group->cases[i].context = &bench;
	ret = bench_run(group->cases, group->count, rounds);
	bench_ranges_unmap(&bench.elsewhere);
	ummu_monitor_close(bench.monitor);
	return ret;
}

struct bench_group bench_munmap = {
	.name = "munmap",
	.counts = "one munmap() of 64 KiB of touched memory",
	.cases = munmap_cases,
	.count = sizeof(munmap_cases) / sizeof(*munmap_cases),
	.measure = measure,
};

struct bench_group bench_madvise = {
	.name = "madvise",
	.counts = "one madvise(MADV_DONTNEED) of 64 KiB of touched memory",
	.cases = madvise_cases,
	.count = sizeof(madvise_cases) / sizeof(*madvise_cases),
	.measure = measure,
};
