/* SPDX-License-Identifier: MIT */
/*
 * bench-cache.c - benchmarks of the cache, with a pinner that does nothing.
 */
#include <string.h>

#include "bench.h"

/**
 * struct cache_bench - what the cases work on
 * @rcache:  its pinner does nothing, so that only the cache is measured
 * @ranges:  half of them for each of two threads
 * @failed:  a get that was refused while the clock ran
 */
struct cache_bench {
	const struct bench_bare *bare;
	struct bench_ranges bare_ranges;
	struct ummu_monitor *monitor;
	struct ummu_rcache *rcache;
	struct bench_ranges ranges;
	int failed;
};

static struct cache_bench bench;

static int pin_nothing(void *ctx, struct ummu_region *region)
{
	(void)ctx;
	region->handle.number = 0;
	return 0;
}

static void unpin_nothing(void *ctx, struct ummu_region *region)
{
	(void)ctx;
	(void)region;
}

static const struct ummu_rcache_ops nothing_ops = {
	.size = sizeof(struct ummu_rcache_ops),
	.reg = pin_nothing,
	.dereg = unpin_nothing,
};

static void get_and_put(struct cache_bench *b, void *addr)
{
	struct ummu_region *region;
	int ret = ummu_rcache_get(b->rcache, addr, BENCH_RANGE_BYTES, 0,
				  &region);

	if (ret)
		__atomic_store_n(&b->failed, ret, __ATOMIC_RELAXED);
	else
		ummu_rcache_put(b->rcache, region);
}

static void run_probe(void *context, unsigned int thread, unsigned int ops)
{
	struct cache_bench *b = context;

	(void)thread;
	b->bare->probe(ops);
}

static void run_same(void *context, unsigned int thread, unsigned int ops)
{
	struct cache_bench *b = context;

	(void)thread;
	while (ops--)
		get_and_put(b, b->ranges.addr[0]);
}

static void run_own(void *context, unsigned int thread, unsigned int ops)
{
	struct cache_bench *b = context;

	while (ops--)
		get_and_put(b, b->ranges.addr[thread]);
}

static void run_many(void *context, unsigned int thread, unsigned int ops)
{
	struct cache_bench *b = context;
	unsigned int i;

	for (i = 0; i < ops; i++)
		get_and_put(b, b->ranges.addr[thread * ops + i]);
}

static void run_register(void *context, unsigned int thread, unsigned int ops)
{
	struct cache_bench *b = context;
	unsigned int i;

	(void)thread;
	for (i = 0; i < ops; i++) {
		int ret = b->bare->add(b->bare_ranges.addr[i], i);

		if (ret)
			b->failed = ret;
	}
}

static void finish_register(void *context)
{
	struct cache_bench *b = context;
	unsigned int i;

	for (i = 0; i < BENCH_RANGES; i++)
		b->bare->drop(b->bare_ranges.addr[i], i);
}

static int prepare_hits(void *context)
{
	struct cache_bench *b = context;

	get_and_put(b, b->ranges.addr[0]);
	get_and_put(b, b->ranges.addr[1]);
	return b->failed;
}

static int prepare_misses(void *context)
{
	struct cache_bench *b = context;

	ummu_rcache_flush(b->rcache, true);
	return b->failed;
}

static struct bench_case cases[] = {
	{ .name = BENCH_PROBE, .threads = 1, .ops = 1000, .run = run_probe },
	{ .name = "hit",
	  .against = BENCH_PROBE,
	  .threads = 1,
	  .ops = 1000,
	  .prepare = prepare_hits,
	  .run = run_same },
	{ .name = "hit, one buffer",
	  .against = "hit",
	  .threads = 2,
	  .ops = 1000,
	  .prepare = prepare_hits,
	  .run = run_same },
	{ .name = "hit, two buffers",
	  .against = "hit",
	  .threads = 2,
	  .ops = 1000,
	  .prepare = prepare_hits,
	  .run = run_own },
	{ .name = BENCH_ADD,
	  .threads = 1,
	  .ops = BENCH_RANGES,
	  .run = run_register,
	  .finish = finish_register },
	{ .name = "miss",
	  .against = BENCH_ADD,
	  .threads = 1,
	  .ops = BENCH_RANGES,
	  .prepare = prepare_misses,
	  .run = run_many },
	{ .name = "miss, own buffers",
	  .against = "miss",
	  .threads = 2,
	  .ops = BENCH_RANGES / 2,
	  .prepare = prepare_misses,
	  .run = run_many },
};

static int set_up(struct cache_bench *b)
{
	int ret = ummu_monitor_open(NULL, &b->monitor);

	if (ret) {
		bench_say("%s", ummu_monitor_explain());
		return ret;
	}
	ret = ummu_rcache_create(b->monitor, &nothing_ops, NULL, NULL,
				 &b->rcache);
	if (ret)
		goto close_monitor;
	b->bare = bench_bare_of(b->monitor);
	ret = b->bare->open();
	if (ret)
		goto destroy_rcache;
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
destroy_rcache:
	ummu_rcache_destroy(b->rcache);
close_monitor:
	ummu_monitor_close(b->monitor);
	return ret;
}

static void tear_down(struct cache_bench *b)
{
	ummu_rcache_destroy(b->rcache);
	ummu_monitor_close(b->monitor);
	bench_ranges_unmap(&b->ranges);
	bench_ranges_unmap(&b->bare_ranges);
	b->bare->close();
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
		bench_say("a buffer could not be had: %s",
			  strerror(-bench.failed));
		ret = bench.failed;
	}
	return ret;
}

struct bench_group bench_cache = {
	.name = "cache",
	.counts = "one ummu_rcache_get() and put() of 64 KiB",
	.cases = cases,
	.count = sizeof(cases) / sizeof(*cases),
	.measure = measure,
};
