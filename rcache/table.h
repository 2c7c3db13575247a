/* SPDX-License-Identifier: MIT */
/*
 * table.h - from the first address of a range to its region, in one cache line.
 *
 * A hash table of words, each a region's address with 16 bits of its hash on
 * top, or 0.  Readers take no lock; the caller locks for everything else.  The
 * table is a hint: a region that finds no room near its place is left out, and
 * a reader may miss what is being moved to a larger table.  Whoever must be
 * sure asks the tree, under the lock.  What a reader finds may have been
 * retired, or be another region by now: that is for the reader to check.
 */
#ifndef UMMU_TABLE_H
#define UMMU_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct region;

/** Words of a cache line, and those to look at: of two neighbouring lines. */
#define TABLE_LINE 8
#define TABLE_PROBES 16

#define TABLE_ADDRESS_BITS 48

/**
 * struct table - one size of it
 * @older:  tables replaced by this one.  Readers may still be looking at them,
 *          so they stay until the cache is destroyed; their pages do not
 * @count:  words in use
 * @size:   words there are, a power of two
 * @view:   what readers need: the words' address, and in its low bits by how
 *          much to shift a hash to get an index
 */
struct table {
	struct table *older;
	size_t count;
	size_t size;
	uint64_t view;
};

/** ummu_table_new - an empty one, NULL if there is no memory; without the lock. */
struct table *ummu_table_new(size_t size);

/** ummu_table_free - this one and the older ones. */
void ummu_table_free(struct table *table);

/** ummu_table_forsake - give back the memory of a table that was replaced. */
void ummu_table_forsake(struct table *table);

/** ummu_table_move - fill a new, larger table with what is in an old one. */
void ummu_table_move(struct table *from, struct table *to);

void ummu_table_insert(struct table *table, struct region *region);
void ummu_table_remove(struct table *table, const struct region *region);

/** ummu_table_crowded - should it be replaced by one of twice the size? */
static inline bool ummu_table_crowded(const struct table *table)
{
	return table->count > table->size / 2;
}

/* Fibonacci hashing: 2^64 over the golden ratio. */
static inline uint64_t ummu_table_hash(uint64_t start)
{
	return start * 0x9e3779b97f4a7c15ULL;
}

/** The words of a view. */
static inline const uint64_t *ummu_table_words(uint64_t view)
{
	return (const uint64_t *)(uintptr_t)(view & ~(uint64_t)63);
}

/** Where a hash belongs in a view. */
static inline size_t ummu_table_index(uint64_t view, uint64_t hash)
{
	return (size_t)(hash >> (view & 63));
}

/**
 * ummu_table_match - the region of a word, if it may be the one; or NULL
 *
 * The bits compared are others than those that make the index.
 */
static inline struct region *ummu_table_match(uint64_t word, uint64_t hash)
{
	if ((word ^ hash << 24) >> TABLE_ADDRESS_BITS)
		return NULL;
	return (struct region *)(uintptr_t)(word << 16 >> 16);
}

#endif
