/* SPDX-License-Identifier: MIT */
/* rcache-ops.c - run a cache and a naive model of it side by side. */
#define _GNU_SOURCE
#include "rcache-ops.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rcache-world.h"

static void check_failure(const struct world *world, int error, int refused)
{
	if (error == refused)
		return;
	if (!world->last_error) {
		world_require(error == -EAGAIN && world->regs >= 9,
			      "an error from nowhere");
		return;
	}
	world_require(error == world->last_error, "not the pinner's error");
	world_require(error == -EFAULT || !world_anything_idle(world),
		      "no room, with regions idle");
}

static void check_region(struct world *world, struct ummu_region *region,
			 const uint64_t *before, size_t first, size_t count,
			 uint64_t access)
{
	struct model *model = world_model_of(world, region);

	world_require(model != NULL, "handed out but not registered");
	world_require(model->first <= first &&
			      model->first + model->count >= first + count &&
			      region->addr == world_page(world, model->first) &&
			      region->length == model->count * world->page,
		      "another range");
	world_require(world_access_serves(world, region->access, access),
		      "too few bits");
	for (size_t i = first; i < first + count; i++)
		world_require(model->contents[i - model->first] >= before[i],
			      "a stale hit");
	world_require(!region->cached || !world_is_stale(world, model),
		      "published although it is stale");
	world_require(region->cached || !model->held, "uncached, and shared");
	world_require(region->cached == ummu_region_valid(region),
		      "valid is not what it should be");
	model->held++;
	world->uncached += !region->cached;
}

static void do_get(struct world *world, struct ummu_region **slot)
{
	uint8_t where = world_next_byte(world), how = world_next_byte(world);
	size_t first = where % PAGES;
	size_t count = world_clip(first, 1 + where / PAGES % 3);
	uint64_t access = how & how >> 2 & 3;
	uint64_t before[PAGES];
	bool expect_hit;
	int refused = 0;
	int error;

	world_begin_call(world);
	expect_hit = world_anything_serves(world, first, count, access);
	world->may_evict = world_is_full(world, count);
	memcpy(before, world->contents, sizeof(before));
	if ((how & 0xf0) == 0xf0) {
		static const int errors[] = { -EOPNOTSUPP, -EBUSY, -EAGAIN,
					      -EFAULT };

		world->fake->refuse = 1;
		world->fake->refuse_error = errors[how >> 2 & 3];
		if (world->fake->refuse_error == -EFAULT)
			refused = -EFAULT;
	} else if ((how & 0xf0) == 0xe0) {
		world->fake->unsettled = 1 + (how >> 2 & 3);
		world->uncertain = true;
		world->may_evict |= world->max_pages || world->max_regions;
	}

	world->gets++;
	error = ummu_rcache_get(world->rcache,
				(char *)world_page(world, first) + (how & 7),
				count * world->page - 8, access, slot);
	world->fake->refuse = 0;
	world_require(!expect_hit || world->uncertain ||
			      (!error && !world->regs),
		      "a miss of what is there");
	world_require(expect_hit || error || world->regs,
		      "a hit of what is not");
	if (error) {
		*slot = NULL;
		world->failures++;
		check_failure(world, error, refused);
	} else {
		/* Settled again: what validity says is exact from here on. */
		world->fake->unsettled = 0;
		check_region(world, *slot, before, first, count, access);
	}
	world_end_call(world);
}

static void do_put(struct world *world, struct ummu_region **slot)
{
	struct model *model = world_model_of(world, *slot);
	bool last_use = model->held == 1 && !(*slot)->cached;

	world_begin_call(world);
	model->held--;
	ummu_rcache_put(world->rcache, *slot);
	world_require(!last_use || !model->region,
		      "an uncached region outlives its put");
	*slot = NULL;
	world_end_call(world);
}

static void do_invalidate(struct world *world)
{
	uint8_t where = world_next_byte(world);
	size_t first = where % PAGES;
	size_t count = world_clip(first, 1 + where / PAGES);
	int expected = 0;

	world_begin_call(world);
	for (size_t i = 0; i < MODELS; i++) {
		struct model *model = &world->models[i];

		if (!world_is_kept(world, model) ||
		    model->first >= first + count ||
		    model->first + model->count <= first)
			continue;
		model->forgotten = true;
		expected++;
	}
	world_require(ummu_rcache_invalidate(world->rcache,
					     world_page(world, first),
					     count * world->page) == expected,
		      "invalidate counts others");
	world_end_call(world);
}

static void do_flush(struct world *world, bool all)
{
	uint64_t before = world->deregistered;
	int count;

	world_begin_call(world);
	world->may_evict = all;
	count = ummu_rcache_flush(world->rcache, all);
	world_require(count >= 0 &&
			      world->deregistered == before + (uint64_t)count,
		      "flush counts others");
	world_require(!all || !world_anything_idle(world),
		      "flushed, but something is idle");
	world_end_call(world);
}

/* After a flush everything is known, so that the statistics are exact. */
static void check_stats(struct world *world, struct ummu_rcache_stats *stats)
{
	uint64_t regions = 0, pages = 0;

	do_flush(world, false);
	for (size_t i = 0; i < MODELS; i++)
		if (world_is_kept(world, &world->models[i])) {
			regions++;
			pages += world->models[i].count;
		}
	stats->size = sizeof(*stats);
	ummu_rcache_stats(world->rcache, stats);
	world_require(stats->regions == regions &&
			      stats->bytes == pages * world->page,
		      "statistics of what is kept");
	world_require(stats->pinned_bytes == world->pinned * world->page,
		      "statistics of what is pinned");
	world_require(stats->registrations == world->registered &&
			      stats->deregistrations == world->deregistered,
		      "statistics of registrations");
	world_require(stats->hits + stats->misses == world->gets,
		      "statistics of gets");
	world_require(stats->uncached == world->uncached,
		      "statistics of uncached");
	world_require((!world->max_regions || regions <= world->max_regions) &&
			      (!world->max_pages || pages <= world->max_pages),
		      "the bounds");
}

static void create(struct world *world)
{
	const struct ummu_rcache_ops *ops = &world_ops;
	struct ummu_rcache_opts opts = { .size = sizeof(opts) };
	uint8_t how = world_next_byte(world), bounds = world_next_byte(world);

	world->page = (size_t)sysconf(_SC_PAGESIZE);
	world->custom_covers = how & 1;
	if (how & 2)
		world->capacity = 8 + 4 * (how >> 4);
	if (how & 4)
		world->max_regions = 1 + (bounds & 7);
	if (how & 8)
		world->max_pages = 1 + (bounds >> 3);
	if (world->custom_covers)
		ops = &world_ops_with_covers;
	opts.max_regions = world->max_regions;
	opts.max_bytes = world->max_pages * world->page;
	world->fake = fake_open(bounds & 128);
	world_require(!ummu_rcache_create(&world->fake->base, ops, world, &opts,
					  &world->rcache),
		      "no cache");
}

static void step(struct world *world)
{
	struct ummu_rcache_stats stats;
	uint8_t what = world_next_byte(world);
	struct ummu_region **slot = &world->held[what >> 4];

	switch (what & 15) {
	case 0:
		check_stats(world, &stats);
		break;
	case 1:
		do_flush(world, what & 64);
		break;
	case 2:
		do_invalidate(world);
		break;
	case 3:
	case 4:
	case 5:
		world_invalidate(world, world_next_byte(world));
		break;
	default:
		if (*slot)
			do_put(world, slot);
		else
			do_get(world, slot);
	}
}

static void destroy(struct world *world)
{
	world_begin_call(world);
	world->may_evict = true;
	ummu_rcache_destroy(world->rcache);
	for (size_t i = 0; i < MODELS; i++)
		world_require(!world->models[i].region,
			      "registered after destroy");
	world_require(world->registered == world->deregistered,
		      "not as many deregs as regs");
	fake_close(world->fake);
}

void rcache_ops_run(const uint8_t *bytes, size_t count,
		    struct rcache_ops_summary *summary)
{
	struct world *world = calloc(1, sizeof(*world));
	struct ummu_rcache_stats stats;

	world_require(world != NULL, "no memory");
	world->bytes = bytes;
	world->left = count;
	create(world);
	while (world->left)
		step(world);
	for (size_t i = 0; i < HELD; i++)
		if (world->held[i])
			do_put(world, &world->held[i]);
	check_stats(world, &stats);
	if (summary) {
		summary->gets += world->gets;
		summary->hits += stats.hits;
		summary->retries += stats.retries;
		summary->evictions += stats.evictions;
		summary->uncached += stats.uncached;
		summary->failures += world->failures;
	}
	destroy(world);
	free(world);
}
