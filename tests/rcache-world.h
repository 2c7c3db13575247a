/* SPDX-License-Identifier: MIT */
/* rcache-world.h - a naive model of what a cache has registered. */
#ifndef RCACHE_WORLD_H
#define RCACHE_WORLD_H

#include <ummunotify/rcache.h>

#include "fake-backend.h"

#define PAGES 16
#define MODELS 512
#define HELD 16

/**
 * struct model - what is known of one registration
 * @region:    NULL: this entry is free
 * @contents:  of its pages when they were pinned
 * @forgotten: ummu_rcache_invalidate() named it
 * @was_stale: it was stale when the current call began
 */
struct model {
	struct ummu_region *region;
	size_t first, count;
	uint64_t access;
	uint64_t contents[PAGES];
	unsigned int held;
	bool forgotten;
	bool was_stale;
};

/**
 * struct world - one run
 * @contents:   of each page; an invalidation changes it
 * @pinned, @capacity: pages registered, and how many the pinner can; 0: any
 * @max_pages, @max_regions: the bounds of the cache; 0: none
 * @may_evict:  the current call may deregister what is idle
 * @no_room:    the pinner has said so in the current call
 * @regs, @last_error: reg() calls in the current call, the last one's answer
 * @uncertain:  the monitor was told to be unsettled in the current call
 * @gets, @failures, @uncached, @registered, @deregistered: what the statistics
 *              should say
 */
struct world {
	const uint8_t *bytes;
	size_t left;
	size_t page;
	struct fake_monitor *fake;
	struct ummu_rcache *rcache;
	struct model models[MODELS];
	struct ummu_region *held[HELD];
	uint64_t contents[PAGES];
	size_t pinned, capacity;
	size_t max_pages, max_regions;
	bool custom_covers;
	bool may_evict, no_room, uncertain;
	unsigned int regs;
	int last_error;
	uint64_t gets, failures, uncached, registered, deregistered;
};

/** The pinner; its ctx is the world.  It aborts on a dereg without a reason. */
extern const struct ummu_rcache_ops world_ops;
extern const struct ummu_rcache_ops world_ops_with_covers;

/** Abort, saying @what, unless @truth. */
void world_require(bool truth, const char *what);

/** The next byte of the program; 0 when there are no more. */
uint8_t world_next_byte(struct world *world);

void *world_page(const struct world *world, size_t page);

/** @count without the pages beyond the last one. */
size_t world_clip(size_t first, size_t count);

/** The model of a registered region, or NULL; of NULL: a free one. */
struct model *world_model_of(struct world *world,
			     const struct ummu_region *region);

/** Have its pages changed since they were pinned? */
bool world_is_stale(const struct world *world, const struct model *model);

/** Is it in the cache, as far as a caller can tell? */
bool world_is_kept(const struct world *world, const struct model *model);

bool world_access_serves(const struct world *world, uint64_t have,
			 uint64_t want);

/** Is anything kept that serves the request, or that is idle? */
bool world_anything_serves(const struct world *world, size_t first,
			   size_t count, uint64_t access);
bool world_anything_idle(const struct world *world);

/** Would one more region of @count pages break the bounds? */
bool world_is_full(const struct world *world, size_t count);

/** Change the contents of some pages. */
void world_invalidate(struct world *world, uint8_t where);

/** Around each call of the cache. */
void world_begin_call(struct world *world);
void world_end_call(struct world *world);

#endif
