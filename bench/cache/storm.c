/* SPDX-License-Identifier: MIT */
/* storm.c - rows of hits beside a thread that unmaps. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>

#include <ummunotify/rcache.h>

#include "bench.h"
#include "ours.h"
#include "page-backend.h"

#define WINDOW_NS 40e6
#define MASS 100000
#define BATCH 64 /* hits between looks at the clock */

/**
 * struct storm - a thread that unmaps while another one hits
 * @turns: of its loop
 */
struct storm {
	void (*turn)(void *cache);
	void *cache;
	bool stop;
	uint64_t turns;
};

static void *blow(void *arg)
{
	struct storm *storm = arg;

	while (!__atomic_load_n(&storm->stop, __ATOMIC_RELAXED)) {
		storm->turn(storm->cache);
		__atomic_store_n(&storm->turns, storm->turns + 1,
				 __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Nanoseconds a hit, and turns of the storm a second, in one window. */
static double hits_beside(const struct subject *subject, void *cache,
			  char *base, void (*turn)(void *), double *turns)
{
	struct storm storm = { .turn = turn, .cache = cache };
	double start, end;
	uint64_t hits = 0;
	pthread_t thread;

	if (pthread_create(&thread, NULL, blow, &storm))
		abort();
	while (!__atomic_load_n(&storm.turns, __ATOMIC_RELAXED))
		;
	start = now();
	do {
		for (int i = 0; i < BATCH; i++)
			subject->hit(cache, base);
		hits += BATCH;
		end = now();
	} while (end - start < WINDOW_NS);
	*turns = (double)__atomic_load_n(&storm.turns, __ATOMIC_RELAXED) /
		 (end - start) * 1e9;
	__atomic_store_n(&storm.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	return (end - start) / (double)hits;
}

static void print(const char *name, const char *subject, const double *values)
{
	row_begin(name, subject, 2, 1000);
	for (int i = 0; i < SAMPLES; i++)
		row_value(values[i]);
	row_end();
}

static void beside_turns(const struct subject *subject)
{
	double with[SAMPLES], without[SAMPLES];
	double turns[SAMPLES], plain_turns[SAMPLES];
	void *cache = subject->open(1000);
	char *base;

	if (!cache)
		return;
	base = reserve(1000);
	for (int i = 0; i < 2000; i++)
		subject->hit(cache, base + i % 1000 * BENCH_STRIDE);
	for (int i = 0; i < SAMPLES; i++) {
		without[i] = hits_beside(subject, cache, base,
					 subject->plain_cycle, &plain_turns[i]);
		with[i] = hits_beside(subject, cache, base, subject->cycle,
				      &turns[i]);
	}
	print("storm-control", subject->name, without);
	print("storm", subject->name, with);
	print("storm-control-turns", subject->name, plain_turns);
	print("storm-turns", subject->name, turns);
	subject->close(cache);
	give_back(base, 1000);
}

/* One unmap of all but the first, and the next call of the cache. */
static char *mass_base;

static void invalidate_all(void *cache)
{
	struct ours *ours = cache;

	page_invalidate(ours->monitor, mass_base + BENCH_STRIDE,
			MASS * BENCH_STRIDE);
	ummu_rcache_flush(ours->rcache, false);
}

static void once(void *cache)
{
	static void *done;

	if (done != cache)
		invalidate_all(cache);
	done = cache;
}

/* While all are retired: hits of another one, alone and then beside that. */
static void beside_mass(void)
{
	double alone[SAMPLES], beside[SAMPLES], each[SAMPLES];
	const struct subject *subject = &subject_page;

	mass_base = reserve(MASS + 1);
	for (int i = 0; i < SAMPLES; i++) {
		void *cache = subject->open(MASS + 1);
		struct storm storm = { .turn = once, .cache = cache };
		uint64_t hits = 0;
		pthread_t thread;
		double start;

		for (size_t n = 0; n < 2 * (MASS + 1); n++)
			subject->hit(cache,
				     mass_base + n % (MASS + 1) * BENCH_STRIDE);
		start = now();
		for (; hits < 1000000; hits++)
			subject->hit(cache, mass_base);
		alone[i] = (now() - start) / (double)hits;
		hits = 0;
		if (pthread_create(&thread, NULL, blow, &storm))
			abort();
		start = now();
		while (!__atomic_load_n(&storm.turns, __ATOMIC_RELAXED)) {
			for (int k = 0; k < BATCH; k++)
				subject->hit(cache, mass_base);
			hits += BATCH;
		}
		beside[i] = (now() - start) / (double)hits;
		each[i] = (now() - start) / MASS;
		__atomic_store_n(&storm.stop, true, __ATOMIC_RELAXED);
		pthread_join(thread, NULL);
		subject->close(cache);
	}
	print("mass-alone", subject->name, alone);
	print("mass-beside", subject->name, beside);
	print("mass-each", subject->name, each);
	give_back(mass_base, MASS + 1);
}

void rows_storm(void)
{
	beside_turns(&subject_page);
	beside_turns(&subject_uffd);
	beside_mass();
}
