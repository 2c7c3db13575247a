/* SPDX-License-Identifier: MIT */
/* race-arm-library.c - the registration cache, on the kernel module. */
#include "race-arms.h"

#include <errno.h>
#include <stdio.h>
#include <ummunotify/rcache.h>

/* Does it pin what was mapped before the unmap? */
static int pin_and_look(void *ctx, struct ummu_region *region)
{
	struct race_arming *arming = ctx;
	int error = ummu_pin_uring_ops.reg(arming->pin.uring, region);

	if (error)
		return error;
	if (race_pin_number(&arming->pin, (int)region->handle.number,
			    arming->addr) == arming->mapped)
		arming->early = true;
	return 0;
}

static void unpin(void *ctx, struct ummu_region *region)
{
	struct race_arming *arming = ctx;

	ummu_pin_uring_ops.dereg(arming->pin.uring, region);
}

static const struct ummu_rcache_ops ops = {
	.size = sizeof(ops),
	.reg = pin_and_look,
	.dereg = unpin,
};

static int open_library(struct race_arming *arming)
{
	struct ummu_monitor_opts opts = {
		.size = sizeof(opts),
		.backend = "kmod",
	};
	int error = ummu_monitor_open(&opts, &arming->monitor);

	if (error) {
		fprintf(stderr, "library: %s\n", ummu_monitor_explain());
		return error;
	}
	error = ummu_rcache_create(arming->monitor, &ops, arming, NULL,
				   &arming->rcache);
	if (error)
		ummu_monitor_close(arming->monitor);
	return error;
}

static void close_library(struct race_arming *arming)
{
	ummu_rcache_destroy(arming->rcache);
	ummu_monitor_close(arming->monitor);
}

static int get_and_put(struct race_arming *arming)
{
	struct ummu_region *region;
	int error = ummu_rcache_get(arming->rcache, arming->addr, page, 0,
				    &region);

	if (!error)
		ummu_rcache_put(arming->rcache, region);
	return error;
}

static int register_before(struct race_arming *arming)
{
	int error = get_and_put(arming);

	arming->early = false;
	return error;
}

/* That memory is going away under it is an answer that it may give. */
static int register_during(struct race_arming *arming)
{
	int error = get_and_put(arming);

	return error == -EAGAIN || error == -EFAULT ? 0 : error;
}

/* Whatever the cache gives now must be what is mapped now. */
static int get_after(struct race_arming *arming, struct race_seen *seen)
{
	struct ummu_region *region;
	int error;

	*seen = (struct race_seen){ .pinned = arming->early };
	error = ummu_rcache_get(arming->rcache, arming->addr, page, 0, &region);
	if (error)
		return error;
	seen->pinned = true;
	seen->believed = true;
	seen->number = race_pin_number(&arming->pin, (int)region->handle.number,
				       arming->addr);
	ummu_rcache_put(arming->rcache, region);
	return 0;
}

const struct race_arm race_arm_library = {
	.name = "library",
	.open = open_library,
	.close = close_library,
	.before = register_before,
	.during = register_during,
	.after = get_after,
};
