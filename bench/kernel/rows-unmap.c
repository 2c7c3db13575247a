/* SPDX-License-Identifier: MIT */
/*
 * rows-unmap.c - operations that take pages away: in gaps, on one watch, and
 * on many at once.  Without the device, the same operations at the same places.
 *
 * A page is there when it is taken.  munmap() takes a whole mapping, whose
 * protection keeps it apart from what lies around: to split a mapping, the
 * kernel invalidates all of the granule (2 MiB) that it is split in.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "bench.h"

#define REPEATS 7  /* of each sample of one operation: the least counts */
#define WATCHES 32 /* hit one after the other */
#define WINDOWS 30
#define RANGES 7

typedef uint64_t (*operation_t)(uintptr_t start, size_t length);

static void touch(uintptr_t at)
{
	*(volatile char *)at = 1;
}

static uint64_t dontneed(uintptr_t start, size_t length)
{
	uint64_t began = bench_now();

	if (madvise((void *)start, length, MADV_DONTNEED))
		bench_fail("madvise");
	return bench_since(began);
}

static void map(uintptr_t start, size_t length, int protection)
{
	if (mmap((void *)start, length, protection,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
		 0) == MAP_FAILED ||
	    madvise((void *)start, length, MADV_NOHUGEPAGE))
		bench_fail("mmap");
}

static uint64_t unmap(uintptr_t start, size_t length)
{
	uint64_t began = bench_now(), spent;

	if (munmap((void *)start, length))
		bench_fail("munmap");
	spent = bench_since(began);
	map(start, length, PROT_READ | PROT_WRITE);
	return spent;
}

static void set_apart(uintptr_t start, size_t length)
{
	map(start, length, PROT_READ | PROT_WRITE | PROT_EXEC);
}

/* So that the next operation is the first to hit, and nothing is unread. */
static void renew(struct bench_world *world)
{
	if (world->device)
		bench_renew(world->device);
}

static void expect_hits(struct bench_world *world, unsigned int hits)
{
	unsigned int found;

	if (!world->device)
		return;
	found = bench_renew(world->device);
	if (found == hits)
		return;
	fprintf(stderr, "bench-kernel: %u hits, and not %u\n", found, hits);
	exit(1);
}

static uint64_t sample_page(struct bench_world *world, operation_t operation,
			    uintptr_t page, unsigned int hits)
{
	uint64_t least = UINT64_MAX;
	unsigned int i;

	for (i = 0; i < REPEATS; i++) {
		if (operation == unmap)
			set_apart(page, BENCH_PAGE);
		touch(page);
		renew(world);
		bench_keep_least(&least, operation(page, BENCH_PAGE));
		expect_hits(world, hits);
	}
	return least;
}

static void measure_gaps(struct bench_world *world, const char *name,
			 operation_t operation, enum bench_gap kind)
{
	struct bench_samples samples = { .ops = 1 };
	unsigned int i;

	for (i = 0; i < BENCH_GAPS; i++)
		bench_add(&samples, sample_page(world, operation,
						bench_gap(world, kind, i), 0));
	bench_row(world, name, &samples);
}

static void measure_hit(struct bench_world *world, const char *name,
			operation_t operation)
{
	struct bench_samples samples = { .ops = 1 };
	unsigned int i;

	for (i = 0; i < WATCHES; i++)
		bench_add(&samples, sample_page(world, operation,
						bench_place(world, i), 1));
	bench_row(world, name, &samples);
}

/* With the events of those before still unread. */
static void measure_hits(struct bench_world *world)
{
	struct bench_samples samples = { .ops = WATCHES };
	unsigned int window, i;
	uint64_t start;

	for (window = 0; window < WINDOWS; window++) {
		for (i = 0; i < WATCHES; i++)
			touch(bench_place(world, window * WATCHES + i));
		start = bench_now();
		for (i = 0; i < WATCHES; i++)
			madvise((void *)bench_place(world, window * WATCHES + i),
				BENCH_PAGE, MADV_DONTNEED);
		bench_add(&samples, bench_since(start));
		expect_hits(world, WATCHES);
	}
	bench_row(world, "madvise-hits", &samples);
}

/* The rest of the range is as empty as it was. */
static void touch_watches(struct bench_world *world, uintptr_t start,
			  uintptr_t end)
{
	unsigned int i;

	for (i = 0; i < world->watches; i++) {
		uintptr_t at = bench_place(world, i);

		if (at >= start && at < end)
			touch(at);
	}
}

static void measure_range(struct bench_world *world, const char *name,
			  operation_t operation, bool present)
{
	struct bench_samples samples = { .ops = BENCH_RANGE };
	uintptr_t start, end;
	unsigned int i;

	bench_range(world, &start, &end);
	for (i = 0; i < RANGES; i++) {
		if (operation == unmap)
			set_apart(start, end - start);
		if (present)
			touch_watches(world, start, end);
		renew(world);
		bench_add(&samples, operation(start, end - start));
		expect_hits(world, BENCH_RANGE);
	}
	bench_row(world, name, &samples);
}

void bench_unmap_rows(struct bench_world *world)
{
	measure_gaps(world, "madvise-beside", dontneed, BENCH_GAP_BESIDE);
	measure_gaps(world, "madvise-apart", dontneed, BENCH_GAP_APART);
	measure_gaps(world, "munmap-beside", unmap, BENCH_GAP_BESIDE);
	measure_gaps(world, "munmap-apart", unmap, BENCH_GAP_APART);
	if (!world->watches)
		return;
	measure_hit(world, "madvise-hit", dontneed);
	measure_hit(world, "munmap-hit", unmap);
	measure_hits(world);
	measure_range(world, "madvise-range-empty", dontneed, false);
	measure_range(world, "madvise-range", dontneed, true);
	measure_range(world, "munmap-range", unmap, true);
}
