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

/* ThreadSanitizer does not see that a vector of words is only a hint. */
#if defined(__SANITIZE_THREAD__)
#define UMMU_TABLE_PLAIN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UMMU_TABLE_PLAIN 1
#endif
#endif
#ifndef UMMU_TABLE_PLAIN
#define UMMU_TABLE_PLAIN 0
#endif

#if defined(__SSE2__) && !UMMU_TABLE_PLAIN
#include <emmintrin.h>
#endif

struct region;

/** Words of a cache line, and those to look at: of two neighbouring lines. */
#define TABLE_LINE 8
#define TABLE_PROBES 16

#define TABLE_ADDRESS_BITS 48

/**
 * struct table - one size of it
 * @older:  tables replaced by this one.  Readers may still be looking at them,
 *          so they stay until the cache is destroyed; whole pages do not
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

/**
 * ummu_table_forsake - give back the memory of a table that was replaced
 *
 * A table that is smaller than a page keeps its memory.
 */
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

/*
 * Fibonacci hashing, folded.  Programs have their buffers at even distances, and
 * the product alone would put many such on few lines.
 */
static inline uint64_t ummu_table_hash(uint64_t start)
{
	uint64_t hash = (start >> 12) * 0x9e3779b97f4a7c15ULL;

	return hash ^ hash << 32;
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

/**
 * ummu_table_guess - which word of a line may be the one, if any is
 *
 * Without a branch where the processor can compare a whole line: which word it
 * is cannot be foretold, and a wrong guess costs as much as a cache miss.  What
 * it reads is only a hint: load the word, and match it.
 */
static inline size_t ummu_table_guess(const uint64_t *line, uint64_t hash)
{
#if defined(__SSE2__) && !UMMU_TABLE_PLAIN
	const __m128i *quarter = (const __m128i *)line;
	__m128i tag = _mm_set1_epi16((short)(hash << 24 >> TABLE_ADDRESS_BITS));
	/* Of each word's four parts the last is the tag. */
	unsigned int first = (unsigned int)_mm_movemask_epi8(
		_mm_packs_epi16(_mm_cmpeq_epi16(_mm_load_si128(&quarter[0]),
						tag),
				_mm_cmpeq_epi16(_mm_load_si128(&quarter[1]),
						tag)));
	unsigned int second = (unsigned int)_mm_movemask_epi8(
		_mm_packs_epi16(_mm_cmpeq_epi16(_mm_load_si128(&quarter[2]),
						tag),
				_mm_cmpeq_epi16(_mm_load_si128(&quarter[3]),
						tag)));
	unsigned int found = (first & 0x8888) | (second & 0x8888) << 16;

	/* Bit 31 so that there is one: word 7, which then does not match. */
	return (size_t)__builtin_ctz(found | 1U << 31) / 4;
#else
	for (size_t i = 0; i < TABLE_LINE; i++)
		if (ummu_table_match(__atomic_load_n(&line[i], __ATOMIC_RELAXED),
				     hash))
			return i;
	return 0;
#endif
}

#endif
