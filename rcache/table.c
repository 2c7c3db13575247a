/* SPDX-License-Identifier: MIT */
/* table.c - change the hash table of regions, and replace it by a larger one. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"
#include "table.h"

/* Worth a huge page.  No kernel has base pages that are as large. */
#define LARGE ((size_t)2 << 20)

/* Words ahead of the one that is moved, whose region is fetched meanwhile. */
#define FETCH_AHEAD 8

static uint64_t *writable(const struct table *table)
{
	return (uint64_t *)(uintptr_t)ummu_table_words(table->view);
}

/*
 * Memory below the size of a page (4 to 64 KiB and more) shares its page with
 * what the program has on the heap, so the kernel is never told of it.
 */
static bool has_whole_pages(size_t bytes)
{
	return bytes >= (size_t)sysconf(_SC_PAGESIZE);
}

static size_t alignment_of(size_t bytes)
{
	if (bytes >= LARGE)
		return LARGE;
	if (has_whole_pages(bytes))
		return (size_t)sysconf(_SC_PAGESIZE);
	return TABLE_LINE * sizeof(uint64_t);
}

struct table *ummu_table_new(size_t size)
{
	size_t bytes = size * sizeof(uint64_t);
	struct table *table = malloc(sizeof(*table));
	uint64_t *words;

	if (!table)
		return NULL;
	/* All these are powers of two, so its size is a multiple. */
	words = aligned_alloc(alignment_of(bytes), bytes);
	if (!words) {
		free(table);
		return NULL;
	}
	/* One line in two is read at random: spare the address translation. */
	if (bytes >= LARGE)
		madvise(words, bytes, MADV_HUGEPAGE);
	memset(words, 0, bytes);
	table->older = NULL;
	table->count = 0;
	table->size = size;
	table->view = (uintptr_t)words | (uint64_t)(__builtin_clzll(size) + 1);
	return table;
}

void ummu_table_free(struct table *table)
{
	struct table *older;

	for (; table; table = older) {
		older = table->older;
		free(writable(table));
		free(table);
	}
}

void ummu_table_forsake(struct table *table)
{
	size_t bytes = table->size * sizeof(uint64_t);

	/*
	 * A reader that is late sees zeros, and so nothing; or what was there,
	 * which it checks as it checks what is in the new table.
	 */
	if (has_whole_pages(bytes))
		madvise(writable(table), bytes, MADV_DONTNEED);
}

void ummu_table_insert(struct table *table, struct region *region)
{
	uint64_t hash = ummu_table_hash(region->node.start);
	size_t index = ummu_table_index(table->view, hash);
	uint64_t *words = writable(table);

	if ((uint64_t)(uintptr_t)region >> TABLE_ADDRESS_BITS)
		return;
	for (size_t i = 0; i < TABLE_PROBES; i++) {
		if (words[index ^ i])
			continue;
		/* Release: what the region is comes before. */
		__atomic_store_n(&words[index ^ i],
				 (hash << 24 >> TABLE_ADDRESS_BITS
							<< TABLE_ADDRESS_BITS) |
					 (uintptr_t)region,
				 __ATOMIC_RELEASE);
		table->count++;
		return;
	}
}

void ummu_table_remove(struct table *table, const struct region *region)
{
	uint64_t hash = ummu_table_hash(region->node.start);
	size_t index = ummu_table_index(table->view, hash);
	uint64_t *words = writable(table);

	for (size_t i = 0; i < TABLE_PROBES; i++) {
		if (ummu_table_match(words[index ^ i], hash) != region)
			continue;
		/* Relaxed: the region's state is what tells readers. */
		__atomic_store_n(&words[index ^ i], 0, __ATOMIC_RELAXED);
		table->count--;
		return;
	}
}

static struct region *region_at(const uint64_t *words, size_t i)
{
	return (struct region *)(uintptr_t)(words[i] << 16 >> 16);
}

void ummu_table_move(struct table *from, struct table *to)
{
	const uint64_t *words = ummu_table_words(from->view);

	for (size_t i = 0; i < from->size; i++) {
		if (i + FETCH_AHEAD < from->size && words[i + FETCH_AHEAD])
			__builtin_prefetch(
				&region_at(words, i + FETCH_AHEAD)->node);
		if (words[i])
			ummu_table_insert(to, region_at(words, i));
	}
	to->older = from;
}
