/* SPDX-License-Identifier: MIT */
/*
 * bench-monitor.c - benchmarks of the monitor's checks and watches.
 */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

/**
 * struct monitor_bench - what the cases of both groups work on
 * @bare:        what the backend is built on, of our own
 * @bare_ranges: for it; one userfaultfd owns a mapping
 * @ranges:      for the monitor
 * @watches:     of @ranges, NULL while unwatched
 * @failed:      a watch that was refused while the clock ran
 */
struct monitor_bench {
	const struct bench_bare *bare;
	struct bench_ranges bare_ranges;
	struct ummu_monitor *monitor;
	struct bench_ranges ranges;
	struct ummu_watch *watches[BENCH_RANGES];
	struct ummu_checkpoint checkpoint;
	int failed;
};

static struct monitor_bench bench;
static volatile bool sink; /* keeps the checks from being optimized away */

static void run_getppid(void *context, unsigned int thread, unsigned int ops)
{
	(void)context;
	(void)thread;
	while (ops--)
		syscall(SYS_getppid);
}

static void run_probe(void *context, unsigned int thread, unsigned int ops)
{
	struct monitor_bench *b = context;

	(void)thread;
	b->bare->probe(ops);
}

static void run_valid(void *context, unsigned int thread, unsigned int ops)
{
	struct monitor_bench *b = context;

	(void)thread;
	while (ops--)
		sink = ummu_watch_valid(b->watches[0]);
}

static void run_changed(void *context, unsigned int thread, unsigned int ops)
{
	struct monitor_bench *b = context;

	(void)thread;
	while (ops--)
		sink = ummu_changed(&b->checkpoint);
}

static void run_register(void *context, unsigned int thread, unsigned int ops)
{
	struct monitor_bench *b = context;
	unsigned int i;

	(void)thread;
	for (i = 0; i < ops; i++) {
		int ret = b->bare->add(b->bare_ranges.addr[i], i);

		if (ret)
			b->failed = ret;
	}
}

static void run_unregister(void *context, unsigned int thread, unsigned int ops)
{
	struct monitor_bench *b = context;
	unsigned int i;

	(void)thread;
	for (i = 0; i < ops; i++)
		b->bare->drop(b->bare_ranges.addr[i], i);
}

static int prepare_registered(void *context)
{
	struct monitor_bench *b = context;

	run_register(b, 0, BENCH_RANGES);
	return b->failed;
}

static void finish_registered(void *context)
{
	run_unregister(context, 0, BENCH_RANGES);
}

static void run_watch(void *context, unsigned int thread, unsigned int ops)
{
	struct monitor_bench *b = context;
	unsigned int i;

	(void)thread;
	for (i = 0; i < ops; i++) {
		int ret = ummu_monitor_watch(b->monitor, b->ranges.addr[i],
					     BENCH_RANGE_BYTES, i,
					     &b->watches[i]);

		if (ret)
			b->failed = ret;
	}
}

static void run_unwatch(void *context, unsigned int thread, unsigned int ops)
{
	struct monitor_bench *b = context;
	unsigned int i;

	(void)thread;
	for (i = 0; i < ops; i++) {
		ummu_monitor_unwatch(b->monitor, b->watches[i]);
		b->watches[i] = NULL;
	}
}

static int prepare_watched(void *context)
{
	struct monitor_bench *b = context;

	run_watch(b, 0, BENCH_RANGES);
	return b->failed;
}

static void finish_watched(void *context)
{
	run_unwatch(context, 0, BENCH_RANGES);
}

static int prepare_checks(void *context)
{
	struct monitor_bench *b = context;
	int ret = prepare_watched(b);

	ummu_monitor_checkpoint(b->monitor, &b->checkpoint);
	return ret;
}

static struct bench_case check_cases[] = {
	{ .name = "getppid", .threads = 1, .ops = 2000, .run = run_getppid },
	{ .name = BENCH_PROBE,
	  .against = "getppid",
	  .threads = 1,
	  .ops = 2000,
	  .run = run_probe },
	{ .name = "ummu_watch_valid",
	  .against = BENCH_PROBE,
	  .threads = 1,
	  .ops = 2000,
	  .prepare = prepare_checks,
	  .run = run_valid,
	  .finish = finish_watched },
	{ .name = "ummu_changed",
	  .against = BENCH_PROBE,
	  .threads = 1,
	  .ops = 2000,
	  .prepare = prepare_checks,
	  .run = run_changed,
	  .finish = finish_watched },
};

static struct bench_case watch_cases[] = {
	{ .name = BENCH_ADD,
	  .threads = 1,
	  .ops = BENCH_RANGES,
	  .run = run_register,
	  .finish = finish_registered },
	{ .name = "ummu_monitor_watch",
	  .against = BENCH_ADD,
	  .threads = 1,
	  .ops = BENCH_RANGES,
	  .run = run_watch,
	  .finish = finish_watched },
	{ .name = BENCH_DROP,
	  .threads = 1,
	  .ops = BENCH_RANGES,
	  .prepare = prepare_registered,
	  .run = run_unregister },
	{ .name = "ummu_monitor_unwatch",
	  .against = BENCH_DROP,
	  .threads = 1,
	  .ops = BENCH_RANGES,
	  .prepare = prepare_watched,
	  .run = run_unwatch },
};

static int set_up(struct monitor_bench *b)
{
	int ret = ummu_monitor_open(NULL, &b->monitor);

	if (ret) {
		bench_say("%s", ummu_monitor_explain());
		return ret;
	}
	b->bare = bench_bare_of(b->monitor);
	ret = b->bare->open();
	if (ret)
		goto close_monitor;
	ret = bench_ranges_map(&b->bare_ranges);
	if (ret)
		goto close_bare;
	ret = bench_ranges_map(&b->ranges);
	if (ret)
		goto unmap_bare;
	return 0;

unmap_bare:
	bench_ranges_unmap(&b->bare_ranges);
close_bare:
	b->bare->close();
close_monitor:
	ummu_monitor_close(b->monitor);
	return ret;
}

static void tear_down(struct monitor_bench *b)
{
	bench_ranges_unmap(&b->ranges);
	bench_ranges_unmap(&b->bare_ranges);
	b->bare->close();
	ummu_monitor_close(b->monitor);
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
	bench_name_cases(group->cases, group->count, bench.bare);
	ret = bench_run(group->cases, group->count, rounds);
	tear_down(&bench);
	if (!ret && bench.failed) {
		bench_say("a range could not be watched: %s",
			  ummu_monitor_explain());
		ret = bench.failed;
	}
	return ret;
}

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

struct bench_group bench_check = {
	.name = "check",
	.counts = "one question whether a watched range is still valid",
	.cases = check_cases,
	.count = COUNT(check_cases),
	.measure = measure,
};

struct bench_group bench_watch = {
	.name = "watch",
	.counts = "one call for a mapping of 64 KiB of its own",
	.cases = watch_cases,
	.count = COUNT(watch_cases),
	.measure = measure,
};
