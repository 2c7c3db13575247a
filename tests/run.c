/* SPDX-License-Identifier: MIT */
/* run.c - how a run of a test goes: its seed, its length, its end. */
#define _GNU_SOURCE
#include "run.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static bool is_long(void)
{
	const char *lengthy = getenv("UMMU_LONG");

	return lengthy && *lengthy == '1';
}

void run_limit(unsigned int seconds)
{
	const char *patience = getenv("UMMU_PATIENCE");
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL,
				  .sigev_signo = SIGKILL };
	struct itimerspec when = {
		.it_value.tv_sec = is_long() ? 10 * (time_t)seconds : seconds,
	};
	timer_t timer;

	if (patience)
		when.it_value.tv_sec *= atoi(patience);
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) ||
	    timer_settime(timer, 0, &when, NULL)) {
		perror("no time limit");
		exit(1);
	}
	setvbuf(stdout, NULL, _IOLBF, 0); /* killed, it has said so much */
}

unsigned int run_scaled(unsigned int count)
{
	if (is_long())
		count *= 10;
	if (RUN_TSAN || RUN_ASAN)
		count = count / 10 ? count / 10 : 1;
	return count;
}

uint64_t run_seed(void)
{
	const char *given = getenv("UMMU_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);

	printf("seed: UMMU_SEED=%llu\n", (unsigned long long)seed);
	return seed ? seed : 1;
}

/* xorshift64*, Vigna 2016. */
uint64_t run_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 2685821657736338717ULL;
}

double run_seconds(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}
