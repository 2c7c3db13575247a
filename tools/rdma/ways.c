/* SPDX-License-Identifier: MIT */
/*
 * ways.c - two ways to keep memory regions: by address alone, and with the
 * registration cache of this library.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/rdma/demo.h"

/* By address alone.  One buffer is all that the demo has. */

struct naive_cache {
	struct ibv_pd *domain;
	void *buffer;
	struct ibv_mr *mr;
	uint64_t registered;
	uint64_t found;
};

static int naive_open(struct ibv_pd *domain, void **state_p)
{
	struct naive_cache *cache = calloc(1, sizeof(*cache));

	if (!cache) {
		demo_say("out of memory");
		return -ENOMEM;
	}
	cache->domain = domain;
	*state_p = cache;
	return 0;
}

static void naive_close(void *state)
{
	struct naive_cache *cache = state;

	if (cache->mr)
		ibv_dereg_mr(cache->mr);
	free(cache);
}

static int naive_register(struct naive_cache *cache, void *buffer)
{
	struct ibv_mr *mr = ibv_reg_mr(cache->domain, buffer, DEMO_BUFFER,
				       DEMO_ACCESS);

	if (!mr)
		return -errno;
	if (cache->mr)
		ibv_dereg_mr(cache->mr);
	cache->mr = mr;
	cache->buffer = buffer;
	cache->registered++;
	return 0;
}

static int naive_get(void *state, void *buffer, struct demo_grip *grip)
{
	struct naive_cache *cache = state;
	int ret = 0;

	/* Wrong: is it still the same memory? */
	if (cache->mr && cache->buffer == buffer)
		cache->found++;
	else
		ret = naive_register(cache, buffer);
	grip->mr = cache->mr;
	return ret;
}

static void naive_put(void *state, struct demo_grip *grip)
{
	(void)state;
	(void)grip;
}

static void naive_counts(void *state, uint64_t *registered, uint64_t *found)
{
	const struct naive_cache *cache = state;

	*registered = cache->registered;
	*found = cache->found;
}

const struct demo_way demo_naive = {
	.title = "With a cache by address, which nobody tells",
	.open = naive_open,
	.close = naive_close,
	.get = naive_get,
	.put = naive_put,
	.counts = naive_counts,
};

/* With the cache of this library. */

struct told_cache {
	struct ummu_monitor *monitor;
	struct ummu_rcache *rcache;
};

static int told_open(struct ibv_pd *domain, void **state_p)
{
	struct told_cache *cache = calloc(1, sizeof(*cache));
	int ret = -ENOMEM;

	if (!cache) {
		demo_say("out of memory");
		return ret;
	}
	ret = ummu_monitor_open(NULL, &cache->monitor);
	if (ret) {
		demo_say("no monitor works here: %s", ummu_monitor_explain());
		goto free_cache;
	}
	ret = ummu_rcache_create(cache->monitor, &ummu_pin_verbs_ops, domain,
				 NULL, &cache->rcache);
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

static int told_get(void *state, void *buffer, struct demo_grip *grip)
{
	struct told_cache *cache = state;
	int ret = ummu_rcache_get(cache->rcache, buffer, DEMO_BUFFER,
				  DEMO_ACCESS, &grip->region);

	if (!ret)
		grip->mr = ummu_pin_verbs_mr(grip->region);
	return ret;
}

static void told_put(void *state, struct demo_grip *grip)
{
	struct told_cache *cache = state;

	ummu_rcache_put(cache->rcache, grip->region);
}

static void told_counts(void *state, uint64_t *registered, uint64_t *found)
{
	struct ummu_rcache_stats stats = { .size = sizeof(stats) };
	struct told_cache *cache = state;

	ummu_rcache_stats(cache->rcache, &stats);
	*registered = stats.registrations;
	*found = stats.hits;
}

static const char *told_backend(void *state)
{
	struct told_cache *cache = state;

	return ummu_monitor_backend(cache->monitor);
}

const struct demo_way demo_ummunotify = {
	.title = "With ummunotify's cache",
	.open = told_open,
	.close = told_close,
	.get = told_get,
	.put = told_put,
	.counts = told_counts,
	.backend = told_backend,
};
