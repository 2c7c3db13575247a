/* SPDX-License-Identifier: MIT */
/*
 * bench-ranges.c - mappings for the benchmarks, apart from each other.
 *
 * The kernel merges mappings that touch and are alike; what is then measured
 * depends on the neighbours.  So there is always a hole in between.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"

#define STRIDE (2 * BENCH_RANGE_BYTES)
#define ARENA_BYTES ((size_t)BENCH_RANGES * STRIDE)

int bench_ranges_map(struct bench_ranges *ranges)
{
	unsigned int i;

	ranges->arena = mmap(NULL, ARENA_BYTES, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			     0);
	if (ranges->arena == MAP_FAILED)
		return -errno;
	for (i = 0; i < BENCH_RANGES; i++) {
		ranges->addr[i] = (char *)ranges->arena + i * STRIDE;
		if (mprotect(ranges->addr[i], BENCH_RANGE_BYTES,
			     PROT_READ | PROT_WRITE)) {
			int ret = -errno;

			munmap(ranges->arena, ARENA_BYTES);
			return ret;
		}
		memset(ranges->addr[i], 1, BENCH_RANGE_BYTES);
	}
	return 0;
}

void bench_ranges_unmap(struct bench_ranges *ranges)
{
	munmap(ranges->arena, ARENA_BYTES);
}
