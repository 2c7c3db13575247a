/* SPDX-License-Identifier: MIT */
/*
 * race-long-walk.c - an invalidation that hits so many watches that the module
 * lets others have its lock meanwhile, and what others do then.
 *
 * They end watches that the walk is about to come to, the very next one among
 * them, arm hit ones again, add new ones and read events.  When the unmap has
 * returned every watch that is left must have been hit, told of once for each
 * time that it was armed, and those that were ended in time must not be told of.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "race-cpu.h"
#include "tests/run.h"
#include "today.h"

#define WATCHES 4000
#define PAGES 1700 /* over more than three huge pages */
#define NEW 50
#define ROUNDS 6
#define PATIENCE_MS 100000
#define EVENTS 64

/**
 * struct one - a watch of today, or a region
 * @start, @length: a page, or many
 * @there: it was not ended
 * @armed: how often it was armed and so has to be told of
 * @told:  how often it was
 */
struct one {
	char *start;
	size_t length;
	struct ummunotify_watch watch;
	bool there;
	unsigned int armed, told;
};

struct scene {
	char *addr;
	struct today today;
	int fd;
	struct one ones[WATCHES + NEW];
	unsigned int *by_slot;
	uint64_t random;
	int go[2], done[2];
	pthread_t unmapper;
	unsigned int met, faults;
};

static void check(const char *what, long result)
{
	if (result >= 0)
		return;
	fprintf(stderr, "%s: %s\n", what, strerror((int)-result));
	exit(1);
}

static void fault(struct scene *scene, const char *what, unsigned int which)
{
	if (scene->faults++ < 10)
		printf("  FAILED: watch %u %s\n", which, what);
}

static unsigned int any_of(struct scene *scene, unsigned int count)
{
	return (unsigned int)(run_random(&scene->random) % count);
}

/* Most are small; some are wide. */
static void place(struct scene *scene, unsigned int i)
{
	size_t pages = any_of(scene, 8) ? 1 : 1 + any_of(scene, PAGES);

	scene->ones[i].start = scene->addr +
			       any_of(scene, PAGES - (unsigned int)pages + 1) *
				       page;
	scene->ones[i].length = pages * page;
}

static void *unmap(void *argument)
{
	struct scene *scene = argument;
	char byte;

	race_on_cpu(RACE_CPU);
	while (read(scene->go[0], &byte, 1) == 1) {
		if (madvise(scene->addr, PAGES * page, MADV_DONTNEED))
			check("MADV_DONTNEED", -errno);
		if (write(scene->done[1], &byte, 1) != 1)
			break;
	}
	return NULL;
}

static void begin(struct scene *scene, int fd)
{
	struct pollfd poller = { .fd = fd, .events = POLLIN };

	if (madvise(scene->addr, PAGES * page, MADV_POPULATE_WRITE))
		check("MADV_POPULATE_WRITE", -errno);
	race_real_time();
	if (write(scene->go[1], "g", 1) != 1)
		check("write", -errno);
	if (poll(&poller, 1, PATIENCE_MS) != 1)
		check("nobody tells of the unmap", -ETIMEDOUT);
}

/* Returns whether it was still at it when all was done that this thread did. */
static bool await(struct scene *scene)
{
	struct pollfd poller = { .fd = scene->done[0], .events = POLLIN };
	bool met = poll(&poller, 1, 0) == 0;
	char byte;

	race_ordinary_time();
	if (read(scene->done[0], &byte, 1) != 1)
		check("read", -errno);
	scene->met += met;
	return met;
}

/* ------------------------------------------------------ the calls of today */

static bool is_valid(struct scene *scene, unsigned int i)
{
	return today_valid(&scene->today, &scene->ones[i].watch);
}

static void watch(struct scene *scene, unsigned int i)
{
	struct one *one = &scene->ones[i];

	place(scene, i);
	check("WATCH",
	      today_watch(&scene->today, one->start, one->length, &one->watch));
	scene->by_slot[one->watch.slot] = i;
	one->there = true;
	one->armed = 1;
}

/* Read before a slot is used again, for then it would be another watch's. */
static void read_log(struct scene *scene)
{
	struct ummunotify_log_entry entry;

	while (today_next(&scene->today, &entry))
		scene->ones[scene->by_slot[entry.slot]].told++;
	check("DRAINED", today_drained(&scene->today, scene->today.read));
}

static void end(struct scene *scene, unsigned int i)
{
	struct one *one = &scene->ones[i];
	bool valid = is_valid(scene, i);

	check("UNWATCH", today_unwatch(&scene->today, &one->watch));
	one->there = false;
	if (valid)
		one->armed--; /* in time */
}

static void rearm(struct scene *scene, unsigned int i)
{
	struct one *one = &scene->ones[i];

	if (is_valid(scene, i))
		return;
	check("REARM", today_rearm(&scene->today, &one->watch));
	one->armed++;
}

/* All that is possible while the walk stands still, wherever it does. */
static void interfere(struct scene *scene)
{
	unsigned int i;

	for (i = 0; i < WATCHES / 2; i++) {
		unsigned int which = any_of(scene, WATCHES);

		if (!scene->ones[which].there)
			continue;
		if (any_of(scene, 2))
			end(scene, which);
		else
			rearm(scene, which);
	}
	read_log(scene);
	for (i = WATCHES; i < WATCHES + NEW; i++)
		watch(scene, i);
}

static void judge_today(struct scene *scene)
{
	for (unsigned int i = 0; i < WATCHES + NEW; i++) {
		const struct one *one = &scene->ones[i];

		if (one->there && is_valid(scene, i))
			fault(scene, "is valid after the unmap", i);
		if (one->told != one->armed)
			fault(scene, "was told of too often, or not at all", i);
	}
}

static void play_today(struct scene *scene)
{
	unsigned int i;
	bool met;

	memset(scene->ones, 0, sizeof(scene->ones));
	for (i = 0; i < WATCHES; i++)
		watch(scene, i);
	begin(scene, scene->today.fd);
	interfere(scene);
	met = await(scene);
	read_log(scene);
	if (met)
		judge_today(scene);
	for (i = 0; i < WATCHES + NEW; i++)
		if (scene->ones[i].there)
			check("UNWATCH", today_unwatch(&scene->today,
						       &scene->ones[i].watch));
}

/* ------------------------------------------------------- the calls of 2010 */

static int read_events(struct scene *scene, bool after)
{
	struct ummunotify_event events[EVENTS];
	int count = device_read(scene->fd, events, EVENTS);

	for (int i = 0; i < count; i++) {
		if (events[i].type == UMMUNOTIFY_EVENT_TYPE_LAST)
			return 0;
		scene->ones[events[i].user_cookie_counter].told += after;
	}
	return count;
}

static void unregister(struct scene *scene, unsigned int i)
{
	if (!scene->ones[i].there)
		return;
	check("UNREGISTER", device_unregister(scene->fd, i));
	scene->ones[i].there = false;
}

static void add(struct scene *scene, unsigned int i)
{
	struct one *one = &scene->ones[i];

	place(scene, i);
	check("REGISTER",
	      device_register(scene->fd, one->start, one->length, i));
	one->there = true;
}

static void play_2010(struct scene *scene)
{
	unsigned int i;
	int count;
	bool met;

	memset(scene->ones, 0, sizeof(scene->ones));
	for (i = 0; i < WATCHES; i++)
		add(scene, i);
	begin(scene, scene->fd);
	check("read", read_events(scene, false));
	for (i = 0; i < WATCHES / 4; i++)
		unregister(scene, any_of(scene, WATCHES));
	for (i = WATCHES; i < WATCHES + NEW; i++)
		add(scene, i);
	met = await(scene);

	/* What was told of before the unmap was over is told of again. */
	do {
		count = read_events(scene, true);
	} while (count > 0);
	check("read", count);
	for (i = 0; i < WATCHES + NEW; i++) {
		if (met && scene->ones[i].told != scene->ones[i].there)
			fault(scene, "2010: not told of once", i);
		unregister(scene, i);
	}
	while (read_events(scene, true) > 0)
		;
}

static void set_up(struct scene *scene)
{
	scene->random = run_seed();
	scene->addr = device_pages(PAGES);
	check("SETUP", today_open(&scene->today, 0, 0));
	scene->by_slot = calloc(scene->today.setup.watches,
				sizeof(*scene->by_slot));
	scene->fd = device_open(O_NONBLOCK);
	check("open", scene->fd);
	if (!scene->by_slot || pipe(scene->go) || pipe(scene->done))
		check("set up", -errno);
	if (pthread_create(&scene->unmapper, NULL, unmap, scene))
		check("pthread_create", -EAGAIN);
}

static void tear_down(struct scene *scene)
{
	close(scene->go[1]);
	pthread_join(scene->unmapper, NULL);
	today_close(&scene->today);
	close(scene->fd);
	free(scene->by_slot);
}

int main(void)
{
	static struct scene scene;
	unsigned int rounds = run_scaled(ROUNDS);

	device_need();
	run_limit(120);
	set_up(&scene);
	race_on_cpu(RACE_CPU);
	if (!race_real_time()) {
		printf("skipped: needs real-time threads (root)\n");
		return 77;
	}
	race_ordinary_time();
	for (unsigned int i = 0; i < rounds; i++) {
		play_today(&scene);
		play_2010(&scene);
	}
	tear_down(&scene);
	printf("%u walks over %u watches, %u met in the middle, %u faults\n",
	       2 * rounds, WATCHES, scene.met, scene.faults);
	return scene.faults || scene.met < rounds;
}
