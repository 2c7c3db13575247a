/* SPDX-License-Identifier: MIT */
/*
 * demo-ways.c - the two right ways to have buffers registered: anew for each
 * I/O, and with the registration cache of this library.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "demo.h"

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int pin_reg(void *ctx, struct ummu_region *region)
{
	struct demo_pin *pin = ctx;
	uint64_t start = now();
	int ret = ummu_pin_uring_ops.reg(pin->uring, region);

	pin->nanoseconds += now() - start;
	if (!ret)
		pin->registrations++;
	return ret;
}

static void pin_dereg(void *ctx, struct ummu_region *region)
{
	struct demo_pin *pin = ctx;
	uint64_t start = now();

	ummu_pin_uring_ops.dereg(pin->uring, region);
	pin->nanoseconds += now() - start;
}

const struct ummu_rcache_ops demo_pin_ops = {
	.size = sizeof(struct ummu_rcache_ops),
	.reg = pin_reg,
	.dereg = pin_dereg,
};

/* Uncached: the state is the pinner itself. */

static int uncached_open(struct demo_pin *pin, void **state_p)
{
	*state_p = pin;
	return 0;
}

static void uncached_close(void *state)
{
	(void)state;
}

static int uncached_get(void *state, void *addr, struct demo_grip *grip)
{
	int ret;

	memset(&grip->single, 0, sizeof(grip->single));
	grip->single.addr = addr;
	grip->single.length = DEMO_BLOCK;
	ret = demo_pin_ops.reg(state, &grip->single);
	if (!ret)
		grip->slot = (unsigned int)grip->single.handle.number;
	return ret;
}

static void uncached_put(void *state, struct demo_grip *grip)
{
	demo_pin_ops.dereg(state, &grip->single);
}

const struct demo_way demo_uncached = {
	.name = "uncached",
	.open = uncached_open,
	.close = uncached_close,
	.get = uncached_get,
	.put = uncached_put,
};

/* With the cache. */

struct told_cache {
	struct ummu_monitor *monitor;
	struct ummu_rcache *rcache;
};

static int told_open(struct demo_pin *pin, void **state_p)
{
	struct ummu_rcache_opts opts = {
		.size = sizeof(opts),
		.max_regions = DEMO_SLOTS,
		.max_bytes = DEMO_SLOTS * DEMO_BLOCK,
	};
	struct told_cache *cache = calloc(1, sizeof(*cache));
	int ret = -ENOMEM;

	if (!cache) {
		demo_say("out of memory");
		return ret;
	}
	ret = ummu_monitor_open(NULL, &cache->monitor);
	if (ret) {
		demo_say("no monitor works here: %s\n(`ummunotify status' "
			 "tells what each backend needs)",
			 ummu_monitor_explain());
		goto free_cache;
	}
	ret = ummu_rcache_create(cache->monitor, &demo_pin_ops, pin, &opts,
				 &cache->rcache);
	if (ret) {
		demo_say("cannot make a cache: %s", strerror(-ret));
		goto close_monitor;
	}
	*state_p = cache;
	return 0;

close_monitor:
	ummu_monitor_close(cache->monitor);
free_cache:
	free(cache);
	return ret;
}

static void told_close(void *state)
{
	struct told_cache *cache = state;

	ummu_rcache_destroy(cache->rcache);
	ummu_monitor_close(cache->monitor);
	free(cache);
}

static int told_get(void *state, void *addr, struct demo_grip *grip)
{
	struct told_cache *cache = state;
	int ret;

	ret = ummu_rcache_get(cache->rcache, addr, DEMO_BLOCK, 0, &grip->region);
	if (!ret)
		grip->slot = (unsigned int)grip->region->handle.number;
	return ret;
}

static void told_put(void *state, struct demo_grip *grip)
{
	struct told_cache *cache = state;

	ummu_rcache_put(cache->rcache, grip->region);
}

static const char *told_backend(void *state)
{
	struct told_cache *cache = state;

	return ummu_monitor_backend(cache->monitor);
}

const struct demo_way demo_ummunotify = {
	.name = "ummunotify",
	.open = told_open,
	.close = told_close,
	.get = told_get,
	.put = told_put,
	.backend = told_backend,
};
