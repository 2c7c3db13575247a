/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * filter.h - says of most invalidations, in a few loads, that no wide watch is
 * near: none that spans more than one granule.
 *
 * It counts, by hash, those in each granule of 2 MiB; those that span many of
 * them in granules of 1 GiB; and those that span many of these as being
 * everywhere.  It may say "perhaps" of a range without watches; never "no" of
 * one with.
 *
 * Everything here is under the lock of the space.
 */
#ifndef UMMUNOTIFY_FILTER_H
#define UMMUNOTIFY_FILTER_H

#include <linux/types.h>

#define UMMUNOTIFY_SMALL_SHIFT 21
#define UMMUNOTIFY_SMALL_COUNT 1024
#define UMMUNOTIFY_LARGE_SHIFT 30
#define UMMUNOTIFY_LARGE_COUNT 256
#define UMMUNOTIFY_SPAN 8 /* granules that a watch may span */

/**
 * struct ummunotify_filter - how many watches are where
 * @small: by granule of 2 MiB
 * @large: by granule of 1 GiB
 * @large_watches: watches that are counted in @large
 * @everywhere: watches that span more than that
 */
struct ummunotify_filter {
	u32 small[UMMUNOTIFY_SMALL_COUNT];
	u32 large[UMMUNOTIFY_LARGE_COUNT];
	u32 large_watches;
	u32 everywhere;
};

static inline void ummunotify_filter_change(struct ummunotify_filter *filter,
					    unsigned long start,
					    unsigned long last, int by)
{
	unsigned long granule = start >> UMMUNOTIFY_SMALL_SHIFT;
	unsigned long end = last >> UMMUNOTIFY_SMALL_SHIFT;

	if (likely(end - granule < UMMUNOTIFY_SPAN)) {
		for (; granule <= end; granule++)
			filter->small[granule % UMMUNOTIFY_SMALL_COUNT] += by;
		return;
	}
	granule = start >> UMMUNOTIFY_LARGE_SHIFT;
	end = last >> UMMUNOTIFY_LARGE_SHIFT;
	if (end - granule < UMMUNOTIFY_SPAN) {
		for (; granule <= end; granule++)
			filter->large[granule % UMMUNOTIFY_LARGE_COUNT] += by;
		filter->large_watches += by;
		return;
	}
	filter->everywhere += by;
}

/* May a watch overlap [start, last]? */
static inline bool
ummunotify_filter_perhaps(const struct ummunotify_filter *filter,
			  unsigned long start, unsigned long last)
{
	unsigned long granule = start >> UMMUNOTIFY_SMALL_SHIFT;
	unsigned long end = last >> UMMUNOTIFY_SMALL_SHIFT;

	if (filter->everywhere || end - granule >= UMMUNOTIFY_SPAN)
		return true;
	for (; granule <= end; granule++)
		if (filter->small[granule % UMMUNOTIFY_SMALL_COUNT])
			return true;
	if (likely(!filter->large_watches))
		return false;
	granule = start >> UMMUNOTIFY_LARGE_SHIFT;
	end = last >> UMMUNOTIFY_LARGE_SHIFT;
	for (; granule <= end; granule++)
		if (filter->large[granule % UMMUNOTIFY_LARGE_COUNT])
			return true;
	return false;
}

#endif
