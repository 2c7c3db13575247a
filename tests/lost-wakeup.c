/* SPDX-License-Identifier: MIT */
/*
 * lost-wakeup.c - whoever waits for events sleeps on while there are some.
 *
 * One thread watches pages and unmaps them, a few or many with one call;
 * another waits in the ways that there are: poll(), an edge-triggered epoll,
 * and the generation word, which a cache compares before it reads.  Each event
 * must reach it without any further call of the first one.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "run.h"
#include "witness.h"

#define SECONDS 3.0    /* for each way to wait */
#define PATIENCE 100.0 /* seconds, for events that are on their way */
#define MOST 150       /* watches in one unmap */
#define BATCH 7	       /* events in one read */

struct scene;

/* A way to wait: returns false when there was nothing to read for a while. */
struct way {
	const char *name;
	bool (*wait)(struct scene *scene);
};

struct scene {
	struct ummu_monitor *monitor;
	const struct way *way;
	int epoll_fd;
	uint64_t seen; /* a generation */
	bool stop;
	uint64_t hits, events, waits; /* hits and events are atomic */
};

static void require(bool truth, const char *what)
{
	if (truth)
		return;
	fprintf(stderr, "%s: %s\n", what, ummu_monitor_explain());
	exit(1);
}

static bool wait_by_poll(struct scene *scene)
{
	struct pollfd poller = { .fd = ummu_monitor_fd(scene->monitor),
				 .events = POLLIN };

	return poll(&poller, 1, 100) == 1;
}

static bool wait_by_edge(struct scene *scene)
{
	struct epoll_event event;

	return epoll_wait(scene->epoll_fd, &event, 1, 100) == 1;
}

static bool wait_by_generation(struct scene *scene)
{
	uint64_t now = ummu_monitor_generation(scene->monitor);

	if (now == scene->seen) {
		sched_yield();
		return false;
	}
	/* What comes after the read below has a later one. */
	scene->seen = now;
	return true;
}

static const struct way ways[] = {
	{ "poll", wait_by_poll },
	{ "edge-triggered epoll", wait_by_edge },
	{ "generation", wait_by_generation },
};

/* A short read was the last one. */
static void read_all(struct scene *scene)
{
	struct ummu_event events[BATCH];
	int got;

	do {
		got = ummu_monitor_read(scene->monitor, events, BATCH);
		require(got >= 0, "read");
		__atomic_fetch_add(&scene->events, (uint64_t)got,
				   __ATOMIC_RELEASE);
	} while (got == BATCH);
}

static void *keep_reading(void *argument)
{
	struct scene *scene = argument;

	while (!__atomic_load_n(&scene->stop, __ATOMIC_RELAXED)) {
		if (!scene->way->wait(scene))
			continue;
		scene->waits++;
		read_all(scene);
	}
	return NULL;
}

static bool all_arrived(const struct scene *scene)
{
	double until = run_seconds() + PATIENCE;

	while (run_seconds() < until) {
		if (__atomic_load_n(&scene->events, __ATOMIC_ACQUIRE) ==
		    scene->hits)
			return true;
		sched_yield();
	}
	return false;
}

static size_t page;

/* Some invalidations of so many pages each, and then nothing more. */
static void hit_some(struct scene *scene, unsigned int times, unsigned int count)
{
	struct ummu_watch *watches[8 * MOST];
	unsigned int used = 0;
	char *memory;

	for (unsigned int i = 0; i < times; i++) {
		memory = mmap(NULL, count * page, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		require(memory != MAP_FAILED, "mmap");
		for (unsigned int j = 0; j < count; j++)
			require(!ummu_monitor_watch(scene->monitor,
						    memory + j * page, page, 0,
						    &watches[used++]),
				"watch");
		munmap(memory, count * page);
		scene->hits += count;
	}
	require(all_arrived(scene), "events that nobody was woken for");
	while (used)
		ummu_monitor_unwatch(scene->monitor, watches[--used]);
}

static void set_up(struct scene *scene, const struct way *way)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };

	*scene = (struct scene){ .way = way };
	require(!ummu_monitor_open(NULL, &scene->monitor), "open");
	scene->seen = ummu_monitor_generation(scene->monitor);
	if (way->wait != wait_by_edge)
		return;
	scene->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	require(scene->epoll_fd >= 0 &&
			!epoll_ctl(scene->epoll_fd, EPOLL_CTL_ADD,
				   ummu_monitor_fd(scene->monitor), &event),
		"epoll");
}

static void run(const struct way *way, uint64_t *random)
{
	double until = run_seconds() + SECONDS * (getenv("UMMU_LONG") ? 10 : 1);
	struct scene scene;
	pthread_t reader;

	set_up(&scene, way);
	require(!pthread_create(&reader, NULL, keep_reading, &scene), "thread");
	while (run_seconds() < until) {
		bool many = run_random(random) % 4 == 0;

		hit_some(&scene, 1 + (unsigned int)(run_random(random) % 8),
			 1 + (unsigned int)(run_random(random) %
					    (many ? MOST : 3)));
	}
	__atomic_store_n(&scene.stop, true, __ATOMIC_RELAXED);
	pthread_join(reader, NULL);
	printf("%-22s %8llu events, woken %llu times\n", way->name,
	       (unsigned long long)scene.events,
	       (unsigned long long)scene.waits);
	if (scene.epoll_fd)
		close(scene.epoll_fd);
	ummu_monitor_close(scene.monitor);
}

int main(void)
{
	uint64_t random;

	run_limit(250);
	witness_need_monitor();
	page = (size_t)sysconf(_SC_PAGESIZE);
	random = run_seed();
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		run(&ways[i], &random);
	return 0;
}
