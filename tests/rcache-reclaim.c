/* SPDX-License-Identifier: MIT */
/*
 * rcache-reclaim.c - the memory of a region is not used again while a reader
 * can hold it.
 *
 * Readers hit regions as fast as they can and look at what the pinner has noted
 * in them; another thread forgets the regions and has them registered anew, in
 * the same memory.  The pinner kills a region's note when it is deregistered.
 * Then the same in the library that leaves out a step of the proof in
 * rcache/internal.h: that has to be noticed.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ummunotify/rcache.h>

#include "base/breakable.h"
#include "fake-backend.h"
#include "run.h"

#define READERS 2
#define REGIONS 2
#define LOOKS 3

unsigned int ummu_broken_steps;

/**
 * struct note - the pinner's, in the region's memory
 * @handle: of the registration, 0 after it; atomic
 */
struct note {
	uint64_t handle;
};

struct scene {
	struct fake_monitor *fake;
	struct ummu_rcache *rcache;
	uint64_t next_handle;
	bool stop;
	uint64_t hits, turns;
	uint64_t pulled_away; /* from under a reader that held it */
};

static int reg(void *ctx, struct ummu_region *region)
{
	struct note *note = ummu_region_private(region);
	struct scene *scene = ctx;

	region->handle.number = __atomic_add_fetch(&scene->next_handle, 1,
						   __ATOMIC_RELAXED);
	__atomic_store_n(&note->handle, region->handle.number, __ATOMIC_RELAXED);
	return 0;
}

static void dereg(void *ctx, struct ummu_region *region)
{
	struct note *note = ummu_region_private(region);

	(void)ctx;
	__atomic_store_n(&note->handle, 0, __ATOMIC_RELAXED);
}

static const struct ummu_rcache_ops ops = {
	.size = sizeof(ops),
	.private_size = sizeof(struct note),
	.reg = reg,
	.dereg = dereg,
};

static void *page_of(unsigned int i)
{
	return (void *)(uintptr_t)((1ULL << 32) + 8192ULL * i);
}

static void *reader(void *arg)
{
	struct scene *scene = arg;
	uint64_t hits = 0, pulled_away = 0;

	while (!__atomic_load_n(&scene->stop, __ATOMIC_RELAXED)) {
		struct ummu_region *region;
		struct note *note;
		uint64_t handle;

		if (ummu_rcache_get(scene->rcache, page_of(hits % REGIONS), 64,
				    0, &region))
			abort();
		note = ummu_region_private(region);
		handle = __atomic_load_n(&note->handle, __ATOMIC_RELAXED);
		for (int i = 0; i < LOOKS; i++)
			pulled_away += !handle ||
				       __atomic_load_n(&note->handle,
						       __ATOMIC_RELAXED) !=
					       handle;
		ummu_rcache_put(scene->rcache, region);
		hits++;
	}
	__atomic_fetch_add(&scene->hits, hits, __ATOMIC_RELAXED);
	__atomic_fetch_add(&scene->pulled_away, pulled_away, __ATOMIC_RELAXED);
	return NULL;
}

/* Forget one, and register others in between, so that its memory is wanted. */
static void turn(struct scene *scene)
{
	struct ummu_region *region;
	unsigned int i = (unsigned int)(scene->turns++ % REGIONS);

	ummu_rcache_invalidate(scene->rcache, page_of(i), 1);
	if (ummu_rcache_get(scene->rcache, page_of(REGIONS + i), 64, 0, &region))
		abort();
	ummu_rcache_put(scene->rcache, region);
	ummu_rcache_invalidate(scene->rcache, page_of(REGIONS + i), 1);
}

/* Seconds at most; less if a broken library was found out. */
static int run_scene(double seconds)
{
	struct scene scene = { .fake = fake_open(true) };
	double until = run_seconds() + seconds;
	pthread_t threads[READERS];

	if (ummu_rcache_create(&scene.fake->base, &ops, &scene, NULL,
			       &scene.rcache))
		abort();
	for (int i = 0; i < READERS; i++)
		pthread_create(&threads[i], NULL, reader, &scene);
	while (run_seconds() < until)
		turn(&scene);
	__atomic_store_n(&scene.stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < READERS; i++)
		pthread_join(threads[i], NULL);
	ummu_rcache_destroy(scene.rcache);
	printf("  %llu gets, %llu turns, %llu looks at what was pulled away\n",
	       (unsigned long long)scene.hits, (unsigned long long)scene.turns,
	       (unsigned long long)scene.pulled_away);
	fflush(stdout);
	return scene.pulled_away ? 1 : 0;
}

/* A process of its own, as a library is broken before it is first used. */
static bool is_noticed(unsigned int broken, double seconds)
{
	int status;
	pid_t child = fork();

	if (!child) {
		ummu_broken_steps = broken;
		_exit(run_scene(seconds));
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		abort();
	/* A broken one may also die of it. */
	return status != 0;
}

static const struct {
	const char *name;
	unsigned int steps;
	bool always; /* else it needs luck, and two processors */
} variants[] = {
	{ "as it is", 0, false },
	{ "without a look at the slots", UMMU_BREAK_NO_COUNT, true },
	{ "without the barrier", UMMU_BREAK_NO_BARRIER, false },
};

int main(void)
{
	int failed = 0;

	run_limit(250);
	for (size_t i = 0; i < sizeof(variants) / sizeof(variants[0]); i++) {
		unsigned int steps = variants[i].steps;
		bool noticed = false;

		printf("%s\n", variants[i].name);
		fflush(stdout);
		for (int tries = 0; tries < (steps ? 5 : 1) && !noticed; tries++)
			noticed = is_noticed(steps, steps ? 2.0 : 3.0);
		if (!steps ? noticed : variants[i].always && !noticed) {
			printf("  WRONG: %s\n", noticed ? "noticed something" :
							  "noticed nothing");
			failed = 1;
		} else if (steps && !noticed) {
			printf("  no luck\n");
		}
	}
	return failed;
}
