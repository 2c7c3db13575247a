/* SPDX-License-Identifier: MIT */
/* ucx.c - UCX's registration cache, as a subject. */
#define _GNU_SOURCE
#include <limits.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <ucm/api/ucm.h>
#include <ucs/memory/rcache.h>

#include "bench.h"

struct ucx {
	ucs_rcache_t *rcache;
	uint64_t registered;
};

static ucs_status_t reg(void *context, ucs_rcache_t *rcache, void *arg,
			ucs_rcache_region_t *region, uint16_t flags)
{
	struct ucx *ucx = context;

	(void)rcache, (void)arg, (void)region, (void)flags;
	ucx->registered++;
	return UCS_OK;
}

static void dereg(void *context, ucs_rcache_t *rcache,
		  ucs_rcache_region_t *region)
{
	(void)context, (void)rcache, (void)region;
}

static void dump(void *context, ucs_rcache_t *rcache,
		 ucs_rcache_region_t *region, char *buffer, size_t max)
{
	(void)context, (void)rcache, (void)region, (void)max;
	*buffer = 0;
}

static const ucs_rcache_ops_t ops = {
	.mem_reg = reg,
	.mem_dereg = dereg,
	.dump_region = dump,
};

/* As its own transports set it up by default. */
static void *open_ucx(size_t regions)
{
	struct ucx *ucx = calloc(1, sizeof(*ucx));
	ucs_rcache_params_t params = {
		.region_struct_size = sizeof(ucs_rcache_region_t),
		.alignment = UCS_RCACHE_MIN_ALIGNMENT,
		.max_alignment = BENCH_PAGE,
		.ucm_events = UCM_EVENT_VM_UNMAPPED,
		.ucm_event_priority = 1000,
		.ops = &ops,
		.context = ucx,
		.max_regions = ULONG_MAX,
		.max_size = SIZE_MAX,
		.max_unreleased = SIZE_MAX,
	};

	(void)regions;
	if (!ucx)
		abort();
	if (ucs_rcache_create(&params, "bench", NULL, &ucx->rcache) == UCS_OK)
		return ucx;
	say("UCX's cache cannot be had");
	free(ucx);
	return NULL;
}

static void close_ucx(void *cache)
{
	struct ucx *ucx = cache;

	ucs_rcache_destroy(ucx->rcache);
	free(ucx);
}

static void hit(void *cache, char *addr)
{
	struct ucx *ucx = cache;
	ucs_rcache_region_t *region;

	if (ucs_rcache_get(ucx->rcache, addr, BENCH_LENGTH,
			   PROT_READ | PROT_WRITE, NULL, &region) != UCS_OK)
		abort();
	ucs_rcache_region_put(ucx->rcache, region);
}

static uint64_t missed(void *cache)
{
	return ((struct ucx *)cache)->registered;
}

static void *map_page(void)
{
	void *page = mmap(NULL, BENCH_PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		abort();
	return page;
}

/* munmap() of libc, which UCX intercepts: so it learns of it. */
static void cycle(void *cache)
{
	void *page = map_page();

	hit(cache, page);
	munmap(page, BENCH_PAGE);
}

static void plain_cycle(void *cache)
{
	(void)cache;
	munmap(map_page(), BENCH_PAGE);
}

const struct subject subject_ucx = {
	.name = "ucx",
	.open = open_ucx,
	.close = close_ucx,
	.hit = hit,
	.missed = missed,
	.cycle = cycle,
	.plain_cycle = plain_cycle,
};
