/* SPDX-License-Identifier: MIT */
/* plugin.c - a shared object that contains the library, for plugin-unloaded.c. */
#include "plugin.h"

#include <stddef.h>

static struct ummu_monitor *monitor, *of_cache;
static struct ummu_rcache *rcache;
static struct ummu_watch *watch;

static int pin(void *ctx, struct ummu_region *region)
{
	(void)ctx, (void)region;
	return 0;
}

static void unpin(void *ctx, struct ummu_region *region)
{
	(void)ctx, (void)region;
}

int plugin_open(void)
{
	static const struct ummu_monitor_opts opts = { .size = sizeof(opts),
						       .backend = "uffd" };
	static const struct ummu_rcache_ops ops = { .size = sizeof(ops),
						    .reg = pin,
						    .dereg = unpin };
	int error = ummu_monitor_open(&opts, &monitor);

	if (!error)
		error = ummu_monitor_open(&opts, &of_cache);
	if (!error)
		error = ummu_rcache_create(of_cache, &ops, NULL, NULL, &rcache);
	return error;
}

int plugin_watch(void *addr, size_t length)
{
	return ummu_monitor_watch(monitor, addr, length, 1, &watch);
}

int plugin_valid(void)
{
	return ummu_watch_valid(watch);
}

int plugin_get(void *addr, size_t length)
{
	struct ummu_region *region;
	int error = ummu_rcache_get(rcache, addr, length, 0, &region);

	if (!error)
		ummu_rcache_put(rcache, region);
	return error;
}

const char *plugin_refused(void)
{
	ummu_monitor_watch(monitor, NULL, 0, 1, &watch);
	return ummu_monitor_explain();
}

void plugin_close(void)
{
	ummu_rcache_destroy(rcache);
	ummu_monitor_close(of_cache);
	ummu_monitor_close(monitor);
}
