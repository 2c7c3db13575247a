/* SPDX-License-Identifier: MIT */
/*
 * sample.c - counts instructions with the clock.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define TRIES 32
#define TURNS 1000
#define TURN 2 /* instructions */

static uint64_t clock_cost; /* of a window with nothing in it */

void bench_fail(const char *what)
{
	fprintf(stderr, "bench-kernel: %s%s%s\n", what, errno ? ": " : "",
		errno ? strerror(errno) : "");
	exit(1);
}

uint64_t bench_since(uint64_t start)
{
	return bench_now() - start - clock_cost;
}

void bench_add(struct bench_samples *samples, uint64_t value)
{
	if (samples->count == BENCH_SAMPLES) {
		errno = 0;
		bench_fail("too many samples");
	}
	samples->value[samples->count++] = value;
}

static uint64_t loop(unsigned long turns)
{
	uint64_t start = bench_now();

	__asm__ volatile("1: dec %0\n\tjnz 1b" : "+r"(turns) : : "cc");
	return bench_since(start);
}

void bench_calibrate(void)
{
	uint64_t empty = UINT64_MAX, one = UINT64_MAX, two = UINT64_MAX;
	unsigned int i;

	for (i = 0; i < TRIES; i++) {
		uint64_t start = bench_now();

		bench_keep_least(&empty, bench_since(start));
		bench_keep_least(&one, loop(TURNS));
		bench_keep_least(&two, loop(2 * TURNS));
	}
	if (two - one != TURN * TURNS) {
		fprintf(stderr,
			"bench-kernel: %d instructions take %" PRIu64 " ns, so "
			"this clock does not count them; run it in the VM, as "
			"`make bench-kernel' does\n",
			TURN * TURNS, two - one);
		exit(3);
	}
	clock_cost = empty;
}

static int compare(const void *a, const void *b)
{
	uint64_t first = *(const uint64_t *)a, second = *(const uint64_t *)b;

	return first < second ? -1 : first > second;
}

static const char *language(const struct bench_world *world)
{
	if (!world->device)
		return "none";
	return world->device->setup.size ? "new" : "2010";
}

/* One line of tabs: where, what, samples, operations, least, median, most. */
void bench_row(const struct bench_world *world, const char *name,
	       const struct bench_samples *samples)
{
	struct bench_samples s = *samples;

	qsort(s.value, s.count, sizeof(*s.value), compare);
	printf("%s\t%s\t%u\t%s\t%s\t%u\t%u\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64
	       "\n",
	       world->cgroup, world->layout->name, world->watches,
	       language(world), name, s.count, s.ops, s.value[0],
	       s.value[s.count / 2], s.value[s.count - 1]);
	fflush(stdout);
}
