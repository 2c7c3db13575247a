/* SPDX-License-Identifier: MIT */
/*
 * demo-untold.c - THE WRONG WAY: a cache by address that nobody tells.
 *
 * This is the bug that the demo shows; do not copy it.  A registration is
 * found by its address for ever, although the pages at that address may be
 * others by now.  The kernel keeps the old pages pinned, so the I/O succeeds,
 * with the wrong bytes.
 */
#include <errno.h>
#include <stdlib.h>

#include "demo.h"

struct untold_cache {
	struct demo_pin *pin;
	struct ummu_region regions[DEMO_SLOTS];
	unsigned int count;
};

static int untold_open(struct demo_pin *pin, void **state_p)
{
	struct untold_cache *cache = calloc(1, sizeof(*cache));

	if (!cache) {
		demo_say("out of memory");
		return -ENOMEM;
	}
	cache->pin = pin;
	*state_p = cache;
	return 0;
}

static void untold_close(void *state)
{
	struct untold_cache *cache = state;

	while (cache->count)
		demo_pin_ops.dereg(cache->pin, &cache->regions[--cache->count]);
	free(cache);
}

static int untold_get(void *state, void *addr, struct demo_grip *grip)
{
	struct untold_cache *cache = state;
	struct ummu_region *region;
	int ret;

	for (region = cache->regions; region < cache->regions + cache->count;
	     region++)
		if (region->addr == addr)
			goto found; /* wrong: is it still the same memory? */

	if (cache->count == DEMO_SLOTS)
		return -ENOBUFS;
	region->addr = addr;
	region->length = DEMO_BLOCK;
	ret = demo_pin_ops.reg(cache->pin, region);
	if (ret)
		return ret;
	cache->count++;
found:
	grip->slot = (unsigned int)region->handle.number;
	return 0;
}

static void untold_put(void *state, struct demo_grip *grip)
{
	(void)state;
	(void)grip;
}

const struct demo_way demo_untold = {
	.name = "untold",
	.open = untold_open,
	.close = untold_close,
	.get = untold_get,
	.put = untold_put,
};
