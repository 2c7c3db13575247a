/* SPDX-License-Identifier: MIT */
/* sample.c - time what one thread does, or two at one time. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "bench.h"

#define BURST_NS 2e6
#define BURSTS 5

/**
 * struct runner - a thread of a burst
 * @waiting: threads that are not there yet; all start together at 0
 * @start, @end: of its part
 */
struct runner {
	struct work *work;
	unsigned int ops;
	unsigned int *waiting;
	double start, end;
};

double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void *run(void *arg)
{
	struct runner *runner = arg;

	__atomic_sub_fetch(runner->waiting, 1, __ATOMIC_ACQ_REL);
	while (__atomic_load_n(runner->waiting, __ATOMIC_ACQUIRE))
		;
	runner->start = now();
	runner->work->run(runner->work, runner->ops);
	runner->end = now();
	return NULL;
}

/* From the first start to the last end: had they to wait for each other's
 * processor, it shows. */
static double burst(struct work *works, unsigned int threads, unsigned int ops)
{
	struct runner runners[BENCH_THREADS];
	pthread_t handles[BENCH_THREADS];
	unsigned int waiting = threads;
	double start, end;

	for (unsigned int i = 0; i < threads; i++)
		runners[i] = (struct runner){ &works[i], ops, &waiting, 0, 0 };
	for (unsigned int i = 1; i < threads; i++)
		if (pthread_create(&handles[i], NULL, run, &runners[i]))
			abort();
	run(&runners[0]);
	for (unsigned int i = 1; i < threads; i++)
		pthread_join(handles[i], NULL);
	start = runners[0].start;
	end = runners[0].end;
	for (unsigned int i = 1; i < threads; i++) {
		start = runners[i].start < start ? runners[i].start : start;
		end = runners[i].end > end ? runners[i].end : end;
	}
	return (end - start) / ops / threads;
}

double sample(struct work *works, unsigned int threads)
{
	double shortest = burst(works, threads, 500);
	unsigned int ops = (unsigned int)(BURST_NS / (shortest * threads)) + 1;

	for (unsigned int i = 0; i < BURSTS; i++) {
		double each = burst(works, threads, ops);

		if (!i || each < shortest)
			shortest = each;
	}
	return shortest;
}
