/* SPDX-License-Identifier: MIT */
/* rcache-world.c - a naive model of what a cache has registered. */
#define _GNU_SOURCE
#include "rcache-world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_PAGE ((uintptr_t)1 << 32)

void world_require(bool truth, const char *what)
{
	if (truth)
		return;
	fprintf(stderr, "the cache and the model differ: %s\n", what);
	abort();
}

/* 0 when there are no more. */
uint8_t world_next_byte(struct world *world)
{
	if (!world->left)
		return 0;
	world->left--;
	return *world->bytes++;
}

void *world_page(const struct world *world, size_t page)
{
	return (void *)(FIRST_PAGE + page * world->page);
}

/* Pages beyond the last one are cut off. */
size_t world_clip(size_t first, size_t count)
{
	return first + count > PAGES ? PAGES - first : count;
}

struct model *world_model_of(struct world *world,
			     const struct ummu_region *region)
{
	for (size_t i = 0; i < MODELS; i++)
		if (world->models[i].region == region)
			return &world->models[i];
	return NULL;
}

bool world_is_stale(const struct world *world, const struct model *model)
{
	if (model->forgotten)
		return true;
	for (size_t i = 0; i < model->count; i++)
		if (model->contents[i] != world->contents[model->first + i])
			return true;
	return false;
}

/* In the cache, as far as a caller can tell. */
bool world_is_kept(const struct world *world, const struct model *model)
{
	return model->region && model->region->cached &&
	       !world_is_stale(world, model);
}

bool world_access_serves(const struct world *world, uint64_t have, uint64_t want)
{
	return world->custom_covers ? have >= want : (have & want) == want;
}

static bool serves(const struct world *world, const struct model *model,
		   size_t first, size_t count, uint64_t access)
{
	return world_is_kept(world, model) && model->first <= first &&
	       model->first + model->count >= first + count &&
	       world_access_serves(world, model->access, access);
}

void world_invalidate(struct world *world, uint8_t where)
{
	size_t first = where % PAGES;
	size_t count = world_clip(first, 1 + where / PAGES % 3);
	const void *address = world_page(world, first);
	enum ummu_reason reason = where & 64 ? UMMU_REASON_UNMAP :
					       UMMU_REASON_CLEAR;

	for (size_t i = first; i < first + count; i++)
		world->contents[i]++;
	if (where & 128)
		fake_invalidate(world->fake, address, count * world->page,
				reason);
	else
		fake_invalidate_in_flight(world->fake, address,
					  count * world->page, reason);
}

/* What the bytes and the capacity make of this reg() call. */
static int answer_of_reg(struct world *world, size_t count)
{
	static const int errors[] = { -ENOMEM, -ENOBUFS, -EAGAIN, -EFAULT };
	uint8_t dice = world_next_byte(world);

	if (dice >= 224)
		world_invalidate(world, world_next_byte(world));
	if (dice && dice <= 8)
		return errors[dice % 4];
	if (world->capacity && world->pinned + count > world->capacity)
		return -ENOBUFS;
	return 0;
}

static int reg(void *ctx, struct ummu_region *region)
{
	struct world *world = ctx;
	size_t count = region->length / world->page;
	struct model *model = world_model_of(world, NULL);
	uint64_t contents[PAGES] = { 0 };
	size_t first = ((uintptr_t)region->addr - FIRST_PAGE) / world->page;

	world_require(model && first + count <= PAGES, "a wild registration");
	/* What is invalidated during the call was pinned before that. */
	memcpy(contents, &world->contents[first], count * sizeof(contents[0]));
	world->regs++;
	world->last_error = answer_of_reg(world, count);
	if (world->last_error) {
		world->no_room |= world->last_error != -EFAULT;
		return world->last_error;
	}
	*model = (struct model){
		.region = region,
		.first = first,
		.count = count,
		.access = region->access,
	};
	memcpy(model->contents, contents, sizeof(contents));
	region->handle.pointer = model;
	world->pinned += count;
	world->registered++;
	return 0;
}

static void dereg(void *ctx, struct ummu_region *region)
{
	struct world *world = ctx;
	struct model *model = world_model_of(world, region);

	world_require(model && region->handle.pointer == model,
		      "dereg of what is not registered");
	world_require(!model->held, "dereg of what is in use");
	world_require(!region->cached || world_is_stale(world, model) ||
			      world->may_evict || world->no_room,
		      "dereg of what is idle and valid");
	world->pinned -= model->count;
	world->deregistered++;
	model->region = NULL;
}

static bool greater_covers(void *ctx, uint64_t have, uint64_t want)
{
	(void)ctx;
	return have >= want;
}

void world_begin_call(struct world *world)
{
	world->may_evict = world->no_room = world->uncertain = false;
	world->regs = 0;
	world->last_error = 0;
	for (size_t i = 0; i < MODELS; i++)
		if (world->models[i].region)
			world->models[i].was_stale =
				world_is_stale(world, &world->models[i]);
}

/* What was stale and idle has been deregistered, by whatever call it was. */
void world_end_call(struct world *world)
{
	world->fake->unsettled = 0;
	for (size_t i = 0; i < MODELS && !world->uncertain; i++) {
		const struct model *model = &world->models[i];

		world_require(!model->region || model->held || !model->was_stale,
			      "stale and idle, but still registered");
	}
}

/* Would one more registration of @count pages break the bounds? */
bool world_is_full(const struct world *world, size_t count)
{
	size_t regions = 0, pages = 0;

	for (size_t i = 0; i < MODELS; i++)
		if (world_is_kept(world, &world->models[i])) {
			regions++;
			pages += world->models[i].count;
		}
	return (world->max_regions && regions >= world->max_regions) ||
	       (world->max_pages && pages + count > world->max_pages);
}

bool world_anything_serves(const struct world *world, size_t first,
			   size_t count, uint64_t access)
{
	for (size_t i = 0; i < MODELS; i++)
		if (serves(world, &world->models[i], first, count, access))
			return true;
	return false;
}

bool world_anything_idle(const struct world *world)
{
	for (size_t i = 0; i < MODELS; i++)
		if (world_is_kept(world, &world->models[i]) &&
		    !world->models[i].held)
			return true;
	return false;
}

const struct ummu_rcache_ops world_ops = {
	.size = sizeof(world_ops),
	.reg = reg,
	.dereg = dereg,
};

const struct ummu_rcache_ops world_ops_with_covers = {
	.size = sizeof(world_ops_with_covers),
	.reg = reg,
	.dereg = dereg,
	.covers = greater_covers,
};
