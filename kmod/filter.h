/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * filter.h - says of most invalidations, in a few loads, that no watch is near.
 *
 * It knows, by hash, of each granule of 2 MiB how many watches it has, and two
 * maps of where in it they lie: by page modulo 64, for what is small and close
 * together, and by chunk of 32 KiB.  Watches that span many granules are counted
 * in granules of 1 GiB; those that span many of these, as being everywhere.
 *
 * It may say "perhaps" of a range without watches, but never "no" of one with:
 * for as long as there is a watch it is counted, in its granules the bits of all
 * its pages and chunks are set, and bits are cleared only when there is none.
 * So a granule that is never without watches gathers bits of those that have
 * ended; what misses there may have to look into a tree.
 *
 * Everything here is under the lock of the space.
 */
#ifndef UMMUNOTIFY_FILTER_H
#define UMMUNOTIFY_FILTER_H

#include <linux/bitops.h>
#include <linux/minmax.h>

#define UMMUNOTIFY_SMALL_SHIFT 21
#define UMMUNOTIFY_SMALL_COUNT 1024
#define UMMUNOTIFY_LARGE_SHIFT 30
#define UMMUNOTIFY_LARGE_COUNT 256
#define UMMUNOTIFY_SPAN 8 /* granules that a watch may span */

/**
 * struct ummunotify_granule - watches in the granules of one hash
 * @pages: bits of their pages, by number modulo 64
 * @chunks: bits of their chunks, 64 in a granule
 * @watches: how many there are
 */
struct ummunotify_granule {
	u64 pages;
	u64 chunks;
	u32 watches;
};

/**
 * struct ummunotify_filter - where watches are
 * @small: by granule of 2 MiB
 * @large: by granule of 1 GiB, how many
 * @everywhere: watches that span more than that
 * @not_small: watches that are not in @small
 */
struct ummunotify_filter {
	struct ummunotify_granule small[UMMUNOTIFY_SMALL_COUNT];
	u32 large[UMMUNOTIFY_LARGE_COUNT];
	u32 everywhere;
	u32 not_small;
};

/* The bits of a range within one granule. */
static inline u64 ummunotify_pages_of(unsigned long start, unsigned long last)
{
	unsigned long page = start >> PAGE_SHIFT;
	unsigned long more = (last >> PAGE_SHIFT) - page;

	return more < 63 ? rol64((2ULL << more) - 1, page % 64) : ~0ULL;
}

static inline u64 ummunotify_chunks_of(unsigned long start, unsigned long last)
{
	const unsigned int shift = UMMUNOTIFY_SMALL_SHIFT - 6;

	return (2ULL << (last >> shift) % 64) - (1ULL << (start >> shift) % 64);
}

static inline struct ummunotify_granule *
ummunotify_granule_at(struct ummunotify_filter *filter, unsigned long number)
{
	return &filter->small[number % UMMUNOTIFY_SMALL_COUNT];
}

static inline void ummunotify_granule_add(struct ummunotify_granule *granule,
					  unsigned long start,
					  unsigned long last)
{
	granule->watches++;
	granule->pages |= ummunotify_pages_of(start, last);
	granule->chunks |= ummunotify_chunks_of(start, last);
}

static inline void ummunotify_granule_remove(struct ummunotify_granule *granule)
{
	if (--granule->watches)
		return;
	granule->pages = 0;
	granule->chunks = 0;
}

/* One that is not in @small. */
static inline void
ummunotify_filter_change_large(struct ummunotify_filter *filter,
			       unsigned long start, unsigned long last, int by)
{
	unsigned long number = start >> UMMUNOTIFY_LARGE_SHIFT;
	unsigned long end = last >> UMMUNOTIFY_LARGE_SHIFT;

	filter->not_small += by;
	if (end - number >= UMMUNOTIFY_SPAN) {
		filter->everywhere += by;
		return;
	}
	for (; number <= end; number++)
		filter->large[number % UMMUNOTIFY_LARGE_COUNT] += by;
}

/* One that lies in more than one granule. */
static inline void ummunotify_filter_add_wide(struct ummunotify_filter *filter,
					      unsigned long start,
					      unsigned long last)
{
	unsigned long number = start >> UMMUNOTIFY_SMALL_SHIFT;
	unsigned long end = last >> UMMUNOTIFY_SMALL_SHIFT;

	if (end - number >= UMMUNOTIFY_SPAN) {
		ummunotify_filter_change_large(filter, start, last, 1);
		return;
	}
	for (; number <= end; number++) {
		unsigned long first = number << UMMUNOTIFY_SMALL_SHIFT;
		unsigned long next = (number + 1) << UMMUNOTIFY_SMALL_SHIFT;

		ummunotify_granule_add(ummunotify_granule_at(filter, number),
				       max(start, first), min(last, next - 1));
	}
}

static inline void
ummunotify_filter_remove_wide(struct ummunotify_filter *filter,
			      unsigned long start, unsigned long last)
{
	unsigned long number = start >> UMMUNOTIFY_SMALL_SHIFT;
	unsigned long end = last >> UMMUNOTIFY_SMALL_SHIFT;

	if (end - number >= UMMUNOTIFY_SPAN) {
		ummunotify_filter_change_large(filter, start, last, -1);
		return;
	}
	for (; number <= end; number++)
		ummunotify_granule_remove(ummunotify_granule_at(filter, number));
}

static inline bool
ummunotify_filter_perhaps_large(const struct ummunotify_filter *filter,
				unsigned long start, unsigned long last)
{
	unsigned long number = start >> UMMUNOTIFY_LARGE_SHIFT;
	unsigned long end = last >> UMMUNOTIFY_LARGE_SHIFT;

	if (filter->everywhere)
		return true;
	for (; number <= end; number++)
		if (filter->large[number % UMMUNOTIFY_LARGE_COUNT])
			return true;
	return false;
}

/* May a watch overlap [start, last]? */
static __always_inline bool
ummunotify_filter_perhaps(struct ummunotify_filter *filter, unsigned long start,
			  unsigned long last)
{
	unsigned long number = start >> UMMUNOTIFY_SMALL_SHIFT;
	unsigned long end = last >> UMMUNOTIFY_SMALL_SHIFT;
	const struct ummunotify_granule *granule;

	if (likely(number == end)) {
		granule = ummunotify_granule_at(filter, number);
		if (granule->pages & ummunotify_pages_of(start, last) &&
		    granule->chunks & ummunotify_chunks_of(start, last))
			return true;
	} else {
		if (end - number >= UMMUNOTIFY_SPAN)
			return true;
		for (; number <= end; number++)
			if (ummunotify_granule_at(filter, number)->watches)
				return true;
	}
	if (likely(!filter->not_small))
		return false;
	return ummunotify_filter_perhaps_large(filter, start, last);
}

#endif
