/* SPDX-License-Identifier: MIT */
/* race-client-library.c - the registration cache, on the kernel module. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <ummunotify/rcache.h>

#include "race-clients.h"

static __thread bool registered;

/* The frames are known to the region from the moment it is pinned. */
static int pin(void *ctx, struct ummu_region *region)
{
	struct race_cache *cache = ctx;
	int error = ummu_pin_uring_ops.reg(cache->pin.uring, region);

	if (!error)
		race_frames(region->addr, ummu_region_private(region));
	registered = true;
	return error;
}

static void unpin(void *ctx, struct ummu_region *region)
{
	struct race_cache *cache = ctx;

	ummu_pin_uring_ops.dereg(cache->pin.uring, region);
}

static const struct ummu_rcache_ops ops = {
	.size = sizeof(ops),
	.private_size = 2 * sizeof(uint64_t),
	.reg = pin,
	.dereg = unpin,
};

static int open_library(struct race_cache *cache)
{
	struct ummu_monitor_opts opts = {
		.size = sizeof(opts),
		.backend = "kmod",
	};
	int error = ummu_monitor_open(&opts, &cache->monitor);

	if (error) {
		fprintf(stderr, "library: %s\n", ummu_monitor_explain());
		return error;
	}
	error = ummu_monitor_open(&opts, &cache->beside);
	if (error)
		goto close_monitor;
	error = ummu_rcache_create(cache->monitor, &ops, cache, NULL,
				   &cache->rcache);
	if (!error)
		return 0;
	ummu_monitor_close(cache->beside);
close_monitor:
	ummu_monitor_close(cache->monitor);
	return error;
}

static void close_library(struct race_cache *cache)
{
	ummu_rcache_destroy(cache->rcache);
	ummu_monitor_close(cache->beside);
	ummu_monitor_close(cache->monitor);
}

static int lookup(struct race_cache *cache, unsigned int slot, char *addr,
		  struct race_held *held)
{
	int error;

	(void)slot;
	registered = false;
	error = ummu_rcache_get(cache->rcache, addr, RACE_PAGES * page, 0,
				&held->region);
	if (error)
		return error;
	held->hit = !registered;
	held->buffer = (int)held->region->handle.number;
	memcpy(held->frames, ummu_region_private(held->region),
	       sizeof(held->frames));
	return 0;
}

static void done(struct race_cache *cache, struct race_held *held)
{
	ummu_rcache_put(cache->rcache, held->region);
}

static int hammer(struct race_cache *cache, unsigned int thread, char *addr,
		  size_t pages)
{
	struct ummu_watch *watch;
	int error;

	for (size_t i = 0; i < pages; i++) {
		error = ummu_monitor_watch(cache->beside, addr + i * page, page,
					   thread, &watch);
		if (error)
			return error;
		ummu_monitor_unwatch(cache->beside, watch);
	}
	return 0;
}

const struct race_client race_client_library = {
	.name = "library",
	.open = open_library,
	.close = close_library,
	.lookup = lookup,
	.done = done,
	.hammer = hammer,
};
