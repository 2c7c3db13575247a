/* SPDX-License-Identifier: MIT */
/*
 * bench-sample.c - takes samples of the cases in turn, in one or more threads.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench.h"

#define MAX_THREADS 8

/**
 * struct sampling - one sample while its threads run
 * @waiting: threads that are not there yet; all start together at 0
 */
struct sampling {
	const struct bench_case *one;
	unsigned int waiting;
};

struct sampler {
	struct sampling *sampling;
	unsigned int thread;
	uint64_t nanoseconds;
};

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void *sample_thread(void *arg)
{
	struct sampler *sampler = arg;
	const struct bench_case *one = sampler->sampling->one;
	unsigned int *waiting = &sampler->sampling->waiting;
	uint64_t start;

	__atomic_sub_fetch(waiting, 1, __ATOMIC_ACQ_REL);
	while (__atomic_load_n(waiting, __ATOMIC_ACQUIRE))
		sched_yield();
	start = now();
	one->run(one->context, sampler->thread, one->ops);
	sampler->nanoseconds = now() - start;
	return NULL;
}

static int start_threads(pthread_t *threads, struct sampler *samplers,
			 unsigned int wanted, unsigned int *started)
{
	int error = 0;

	for (*started = 0; *started < wanted; ++*started) {
		error = pthread_create(&threads[*started], NULL, sample_thread,
				       &samplers[*started]);
		if (error)
			break;
	}
	return -error;
}

/* Nanoseconds an operation, of the slowest thread. */
static int run_threads(const struct bench_case *one, double *sample)
{
	struct sampling sampling = { one, one->threads };
	struct sampler samplers[MAX_THREADS];
	pthread_t threads[MAX_THREADS];
	unsigned int last = one->threads - 1; /* runs in this thread */
	unsigned int i, started;
	uint64_t slowest;
	int ret;

	for (i = 0; i <= last; i++)
		samplers[i] = (struct sampler){ &sampling, i, 0 };
	ret = start_threads(threads, samplers, last, &started);
	if (ret) /* let those run that are there */
		__atomic_sub_fetch(&sampling.waiting, one->threads - started,
				   __ATOMIC_ACQ_REL);
	else
		sample_thread(&samplers[last]);
	slowest = samplers[last].nanoseconds;
	for (i = 0; i < started; i++) {
		pthread_join(threads[i], NULL);
		if (samplers[i].nanoseconds > slowest)
			slowest = samplers[i].nanoseconds;
	}
	*sample = (double)slowest / one->ops;
	return ret;
}

static int take_sample(const struct bench_case *one, double *sample)
{
	int ret = one->prepare ? one->prepare(one->context) : 0;

	if (ret)
		return ret;
	ret = run_threads(one, sample);
	if (one->finish)
		one->finish(one->context);
	return ret;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a;
	double y = *(const double *)b;

	return (x > y) - (x < y);
}

static void summarize(struct bench_case *one, double *samples,
		      unsigned int rounds)
{
	qsort(samples, rounds, sizeof(*samples), compare);
	one->median = samples[rounds / 2];
	one->p10 = samples[rounds / 10];
	one->p90 = samples[rounds - 1 - rounds / 10];
}

int bench_run(struct bench_case *cases, size_t count, unsigned int rounds)
{
	double *samples = calloc(count * rounds, sizeof(*samples));
	double warm_up;
	unsigned int round;
	int ret = 0;
	size_t i;

	if (!samples)
		return -ENOMEM;
	for (i = 0; i < count && !ret; i++)
		ret = take_sample(&cases[i], &warm_up);
	for (round = 0; round < rounds; round++)
		for (i = 0; i < count && !ret; i++)
			ret = take_sample(&cases[i],
					  &samples[i * rounds + round]);
	for (i = 0; i < count && !ret; i++)
		summarize(&cases[i], samples + i * rounds, rounds);
	if (ret)
		bench_say("%s", strerror(-ret));
	free(samples);
	return ret;
}
