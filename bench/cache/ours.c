/* SPDX-License-Identifier: MIT */
/* ours.c - this library's cache, as a subject. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ummunotify/rcache.h>

#include "bench.h"
#include "ours.h"
#include "page-backend.h"

static int pin_nothing(void *ctx, struct ummu_region *region)
{
	(void)ctx;
	region->handle.number = 1;
	return 0;
}

static void unpin_nothing(void *ctx, struct ummu_region *region)
{
	(void)ctx;
	(void)region;
}

static const struct ummu_rcache_ops nothing = {
	.size = sizeof(nothing),
	.reg = pin_nothing,
	.dereg = unpin_nothing,
};

static struct ours *open_on(struct ummu_monitor *monitor)
{
	struct ours *ours = calloc(1, sizeof(*ours));

	if (!ours)
		abort();
	ours->monitor = monitor;
	if (ummu_rcache_create(monitor, &nothing, NULL, NULL, &ours->rcache))
		abort();
	return ours;
}

static void *open_page(size_t regions)
{
	struct ummu_monitor *monitor;

	/* And some for what is retired and not yet released. */
	if (page_monitor_open(regions + 4096, &monitor))
		abort();
	return open_on(monitor);
}

static void *open_uffd(size_t regions)
{
	const struct ummu_monitor_opts opts = { .size = sizeof(opts),
						.backend = "uffd" };
	struct ummu_monitor *monitor;

	(void)regions;
	if (!ummu_monitor_open(&opts, &monitor))
		return open_on(monitor);
	say("userfaultfd cannot be had: %s", ummu_monitor_explain());
	return NULL;
}

static void close_ours(void *cache)
{
	struct ours *ours = cache;

	ummu_rcache_destroy(ours->rcache);
	ummu_monitor_close(ours->monitor);
	free(ours);
}

static void hit(void *cache, char *addr)
{
	struct ours *ours = cache;
	struct ummu_region *region;

	if (ummu_rcache_get(ours->rcache, addr, BENCH_LENGTH, 0, &region))
		abort();
	ummu_rcache_put(ours->rcache, region);
}

static uint64_t missed(void *cache)
{
	struct ummu_rcache_stats stats = { .size = sizeof(stats) };
	struct ours *ours = cache;

	ummu_rcache_stats(ours->rcache, &stats);
	return stats.misses;
}

static void *map_page(void)
{
	void *page = mmap(NULL, BENCH_PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		abort();
	return page;
}

/* Past what UCX puts in the way of munmap(), in the same process. */
static void unmap_page(void *page)
{
	if (syscall(SYS_munmap, page, BENCH_PAGE))
		abort();
}

static void cycle_page(void *cache)
{
	struct ours *ours = cache;
	void *page = map_page();

	hit(cache, page);
	unmap_page(page);
	page_invalidate(ours->monitor, page, BENCH_PAGE);
}

static void cycle_uffd(void *cache)
{
	void *page = map_page();

	hit(cache, page);
	unmap_page(page);
}

static void plain_cycle(void *cache)
{
	(void)cache;
	unmap_page(map_page());
}

const struct subject subject_page = {
	.name = "page",
	.open = open_page,
	.close = close_ours,
	.hit = hit,
	.missed = missed,
	.cycle = cycle_page,
	.plain_cycle = plain_cycle,
};

const struct subject subject_uffd = {
	.name = "uffd",
	.open = open_uffd,
	.close = close_ours,
	.hit = hit,
	.missed = missed,
	.cycle = cycle_uffd,
	.plain_cycle = plain_cycle,
};
