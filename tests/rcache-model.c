/* SPDX-License-Identifier: MIT */
/* rcache-model.c - random programs for a cache beside a naive model of it. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "rcache-ops.h"

#define PROGRAMS 1500
#define PROGRAM_BYTES 1200

/* xorshift64*, Vigna 2016. */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 2685821657736338717ULL;
}

static void run_program(uint64_t seed, struct rcache_ops_summary *summary)
{
	uint64_t state = seed * 2 + 1;
	uint8_t bytes[PROGRAM_BYTES];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(next_random(&state) >> 56);
	rcache_ops_run(bytes, sizeof(bytes), summary);
}

int main(void)
{
	const char *given = getenv("UMMU_SEED"), *lengthy = getenv("UMMU_LONG");
	uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
	unsigned int programs = PROGRAMS;
	struct rcache_ops_summary summary = { 0 };

	if (lengthy && *lengthy == '1')
		programs *= 10;
	printf("seed: UMMU_SEED=%llu\n", (unsigned long long)seed);
	fflush(stdout);
	for (unsigned int i = 0; i < programs; i++)
		run_program(seed + i, &summary);
	printf("%u programs: %llu gets, %llu hits, %llu retries, %llu evictions, %llu uncached, %llu failures\n",
	       programs, (unsigned long long)summary.gets,
	       (unsigned long long)summary.hits,
	       (unsigned long long)summary.retries,
	       (unsigned long long)summary.evictions,
	       (unsigned long long)summary.uncached,
	       (unsigned long long)summary.failures);
	/* A run that meets only one side of the cache proves nothing. */
	return summary.hits && summary.retries && summary.evictions &&
			       summary.uncached && summary.failures ?
		       0 :
		       1;
}
