/* SPDX-License-Identifier: MIT */
/*
 * layout.c - where watches and the gaps between them lie.
 *
 * Memory is taken in pairs of granules of 2 MiB.  One of them, now the first
 * and now the second, has watches; the other has none.
 *
 * dense   a page watched, the next one not, and so on: small buffers, as a
 *         heap packs them
 * sparse  one watch of 64 KiB: larger buffers, far apart.  With many of them
 *         every bucket of a filter of fixed size has some
 *
 * Watches are added in a random order, always the same.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "bench.h"

#define ARENA 0x100000000000ul

const struct bench_layout bench_dense = {
	.name = "dense",
	.length = BENCH_PAGE,
	.stride = 2 * BENCH_PAGE,
	.per_granule = BENCH_GRANULE / (2 * BENCH_PAGE),
};

const struct bench_layout bench_sparse = {
	.name = "sparse",
	.length = 16 * BENCH_PAGE,
	.stride = BENCH_GRANULE,
	.per_granule = 1,
};

/* Of a place's pair: the granule with watches, or the other one. */
static uintptr_t granule_of(const struct bench_world *world, unsigned int place,
			    bool other)
{
	unsigned int pair = place / world->layout->per_granule;
	bool second = pair * 2654435761u >> 31;

	return ARENA + (2ul * pair + (second != other)) * BENCH_GRANULE;
}

static uintptr_t address_of(const struct bench_world *world, unsigned int place)
{
	return granule_of(world, place, false) +
	       place % world->layout->per_granule * world->layout->stride;
}

uintptr_t bench_place(const struct bench_world *world, unsigned int i)
{
	return address_of(world, world->order[i]);
}

uintptr_t bench_gap(const struct bench_world *world, enum bench_gap kind,
		    unsigned int i)
{
	unsigned int place = (2 * i + 1) * (world->places / (2 * BENCH_GAPS));

	if (kind == BENCH_GAP_BESIDE)
		return address_of(world, place) + world->layout->length;
	return granule_of(world, place, true) + BENCH_GRANULE / 2;
}

static int compare(const void *a, const void *b)
{
	unsigned int first = *(const unsigned int *)a;
	unsigned int second = *(const unsigned int *)b;

	return first < second ? -1 : first > second;
}

void bench_range(const struct bench_world *world, uintptr_t *start_p,
		 uintptr_t *end_p)
{
	unsigned int *sorted = calloc(world->watches, sizeof(*sorted));
	unsigned int i;

	if (!sorted)
		bench_fail("no memory");
	for (i = 0; i < world->watches; i++)
		sorted[i] = world->order[i];
	qsort(sorted, world->watches, sizeof(*sorted), compare);
	*start_p = address_of(world, sorted[0]);
	*end_p = address_of(world, sorted[BENCH_RANGE - 1]) +
		 world->layout->length;
	free(sorted);
}

static unsigned int random_below(unsigned int n)
{
	static uint64_t state = 2010;

	state = state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned int)((state >> 33) % n);
}

static void shuffle(unsigned int *order, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		unsigned int j = random_below(i + 1);

		order[i] = order[j];
		order[j] = i;
	}
}

void bench_world_map(struct bench_world *world)
{
	size_t length;
	void *arena;

	world->places = world->watches > BENCH_RANGE ? world->watches :
						       BENCH_RANGE;
	world->places += BENCH_SPARE;
	world->order = calloc(world->places, sizeof(*world->order));
	if (!world->order)
		bench_fail("no memory");
	shuffle(world->order, world->places);

	length = (world->places / world->layout->per_granule + 1) * 2 *
		 BENCH_GRANULE;
	arena = mmap((void *)ARENA, length, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
			     MAP_FIXED_NOREPLACE,
		     -1, 0);
	if (arena != (void *)ARENA || madvise(arena, length, MADV_NOHUGEPAGE))
		bench_fail("cannot map the memory to watch");
	world->holder = mmap(NULL, BENCH_PAGE, PROT_READ,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (world->holder == MAP_FAILED)
		bench_fail("mmap");
}
