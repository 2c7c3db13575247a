/* SPDX-License-Identifier: MIT */
/*
 * losers.c - hit paths that were measured and not chosen, as subjects.
 *
 * A plain hash table whose regions are never freed, so that each is at its
 * best.  "atomic": one atomic count a region, and nothing that would keep it
 * from being freed under a reader.  "epoch": the same, and libck's epochs for
 * that.  See README.md.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#ifdef HAVE_CK
#include <ck_epoch.h>
#endif

struct entry {
	uint64_t start, last;
	const uint64_t *word;
	uint64_t expected;
	uint32_t refs;
	_Alignas(64) char rest[64]; /* what else a region has */
};

struct plain {
	struct entry **table;
	unsigned int shift;
	size_t mask, count;
	struct entry *entries;
	uint64_t *words;
	uint64_t generation, seen;
};

static void *open_plain(size_t regions)
{
	struct plain *plain = calloc(1, sizeof(*plain));
	size_t size = 16;

	if (!plain)
		abort();
	for (plain->shift = 60; size < 2 * regions; size *= 2)
		plain->shift--;
	plain->mask = size - 1;
	plain->table = calloc(size, sizeof(*plain->table));
	plain->entries = aligned_alloc(64, regions * sizeof(struct entry));
	plain->words = calloc(regions, sizeof(uint64_t));
	if (!plain->table || !plain->entries || !plain->words)
		abort();
	memset(plain->entries, 0, regions * sizeof(struct entry));
	return plain;
}

static void close_plain(void *cache)
{
	struct plain *plain = cache;

	free(plain->table);
	free(plain->entries);
	free(plain->words);
	free(plain);
}

static struct entry **place_of(struct plain *plain, uint64_t start)
{
	size_t i = (start * 0x9e3779b97f4a7c15ULL) >> plain->shift;

	while (plain->table[i & plain->mask] &&
	       plain->table[i & plain->mask]->start != start)
		i++;
	return &plain->table[i & plain->mask];
}

static struct entry *find(struct plain *plain, uint64_t start)
{
	struct entry **place = place_of(plain, start);
	struct entry *entry;

	if (__builtin_expect(*place != NULL, 1))
		return *place;
	entry = &plain->entries[plain->count];
	entry->start = start;
	entry->last = start + BENCH_PAGE - 1;
	plain->words[plain->count] = plain->count + 1;
	entry->word = &plain->words[plain->count];
	entry->expected = ++plain->count;
	*place = entry;
	return entry;
}

static inline struct entry *get(struct plain *plain, char *addr)
{
	uint64_t first = (uintptr_t)addr;
	struct entry *entry;

	if (__atomic_load_n(&plain->generation, __ATOMIC_ACQUIRE) != plain->seen)
		abort();
	entry = find(plain, first & ~(BENCH_PAGE - 1));
	__atomic_fetch_add(&entry->refs, 1, __ATOMIC_RELAXED);
	if (first + BENCH_LENGTH - 1 > entry->last ||
	    __atomic_load_n(entry->word, __ATOMIC_ACQUIRE) != entry->expected)
		abort();
	return entry;
}

static inline void put(struct entry *entry)
{
	__atomic_fetch_sub(&entry->refs, 1, __ATOMIC_ACQ_REL);
}

static __attribute__((noinline)) struct entry *get_atomic(struct plain *plain,
							  char *addr)
{
	return get(plain, addr);
}

static __attribute__((noinline)) void put_atomic(struct entry *entry)
{
	put(entry);
}

static void hit_atomic(void *cache, char *addr)
{
	put_atomic(get_atomic(cache, addr));
}

const struct subject subject_atomic = {
	.name = "atomic",
	.open = open_plain,
	.close = close_plain,
	.hit = hit_atomic,
};

#ifdef HAVE_CK
static ck_epoch_t epochs;
static __thread ck_epoch_record_t *own;

static __attribute__((noinline)) struct entry *get_epoch(struct plain *plain,
							 char *addr)
{
	struct entry *entry;

	if (!own) {
		own = ck_epoch_recycle(&epochs, NULL);
		if (!own) {
			own = aligned_alloc(64, 2 * sizeof(*own));
			ck_epoch_register(&epochs, own, NULL);
		}
	}
	ck_epoch_begin(own, NULL);
	entry = get(plain, addr);
	ck_epoch_end(own, NULL);
	return entry;
}

static void hit_epoch(void *cache, char *addr)
{
	put_atomic(get_epoch(cache, addr));
}

static void *open_epoch(size_t regions)
{
	static bool begun;

	if (!begun)
		ck_epoch_init(&epochs);
	begun = true;
	return open_plain(regions);
}
#else
static void hit_epoch(void *cache, char *addr)
{
	(void)cache, (void)addr;
}

static void *open_epoch(size_t regions)
{
	(void)regions;
	say("libck is not installed: no rows of its epochs");
	return NULL;
}
#endif

const struct subject subject_epoch = {
	.name = "epoch",
	.open = open_epoch,
	.close = close_plain,
	.hit = hit_epoch,
};
