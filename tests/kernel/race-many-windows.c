/* SPDX-License-Identifier: MIT */
/*
 * race-many-windows.c - registrations while very many unmaps are in flight.
 *
 * The module keeps what is in flight in a table of fixed size; more than that
 * has to count as everything.  Here more threads than that are in the middle of
 * unmapping the same memory, each range within the next, when its last page is
 * watched and pinned.  Nobody may believe in that page afterwards; and when all
 * unmaps are over, a new watch must hold.
 *
 * Each thread is let run until its unmap is announced, and then not any more:
 * real-time threads go before it on its processor.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "race-arms.h"
#include "race-cpu.h"
#include "tests/run.h"

#define WINDOWS 40
#define PAGES (WINDOWS + 2048)
#define ROUNDS 5
#define BUFFERS 64
#define PATIENCE_MS 100000

static const struct race_arm *const arms[] = {
	&race_arm_watch,
	&race_arm_rearm,
	&race_arm_register,
	&race_arm_drain,
};
#define ARMS (sizeof(arms) / sizeof(*arms))

struct scene;

/**
 * struct unmapper - a thread
 * @number: it unmaps all but so many pages from the first on
 * @tell, @hear: pipes: to begin; that it is done
 */
struct unmapper {
	struct scene *scene;
	pthread_t thread;
	unsigned int number;
	int tell[2], hear[2];
};

/**
 * struct scene - all of it
 * @bells: for each unmapper a watch that no earlier one hits
 */
struct scene {
	char *area, *last;
	struct unmapper unmappers[WINDOWS];
	struct today bell;
	struct ummunotify_watch bells[WINDOWS];
	struct race_arming armings[ARMS];
	uint64_t number;
};

static void check(const char *what, int error)
{
	if (!error)
		return;
	fprintf(stderr, "%s: %s\n", what, strerror(error < 0 ? -error : error));
	exit(1);
}

static char *first_page(const struct unmapper *unmapper)
{
	return unmapper->scene->area + (WINDOWS - unmapper->number) * page;
}

static void *unmap(void *argument)
{
	struct unmapper *unmapper = argument;
	char *first = first_page(unmapper);
	size_t length = (size_t)(unmapper->scene->last + page - first);
	char byte;

	race_on_cpu(RACE_CPU);
	while (read(unmapper->tell[0], &byte, 1) == 1) {
		if (madvise(first, length, MADV_DONTNEED))
			check("MADV_DONTNEED", errno);
		if (write(unmapper->hear[1], &byte, 1) != 1)
			break;
	}
	return NULL;
}

static void set_policy(pthread_t thread, int policy, int priority)
{
	struct sched_param param = { .sched_priority = priority };

	check("scheduling", pthread_setschedparam(thread, policy, &param));
}

/* In front of the earlier ones, until it is announced. */
static void open_window(struct scene *scene, struct unmapper *unmapper)
{
	struct pollfd poller = { .fd = scene->bell.fd, .events = POLLIN };
	struct ummunotify_log_entry entry;

	set_policy(unmapper->thread, SCHED_RR, 1);
	if (write(unmapper->tell[1], "g", 1) != 1)
		check("write", errno);
	if (poll(&poller, 1, PATIENCE_MS) != 1)
		check("nobody tells of an unmap", ETIMEDOUT);
	set_policy(unmapper->thread, SCHED_OTHER, 0);
	while (today_next(&scene->bell, &entry))
		;
	check("DRAINED", today_drained(&scene->bell, scene->bell.read));
}

static unsigned int count_unfinished(const struct scene *scene)
{
	unsigned int unfinished = 0;

	for (unsigned int i = 0; i < WINDOWS; i++) {
		struct pollfd poller = { .fd = scene->unmappers[i].hear[0],
					 .events = POLLIN };

		unfinished += poll(&poller, 1, 0) == 0;
	}
	return unfinished;
}

static void await_all(const struct scene *scene)
{
	char byte;

	for (unsigned int i = 0; i < WINDOWS; i++)
		if (read(scene->unmappers[i].hear[0], &byte, 1) != 1)
			check("read", errno);
}

static void set_bells(struct scene *scene)
{
	for (unsigned int i = 0; i < WINDOWS; i++) {
		if (scene->bells[i].state)
			check("REARM",
			      today_rearm(&scene->bell, &scene->bells[i]));
		else
			check("WATCH",
			      today_watch(&scene->bell,
					  first_page(&scene->unmappers[i]),
					  page, &scene->bells[i]));
	}
}

/* What holds a page that left, and is believed in. */
static unsigned int look(struct scene *scene, unsigned int *met)
{
	unsigned int stale = 0;
	struct race_seen seen;

	for (size_t i = 0; i < ARMS; i++) {
		check(arms[i]->name, arms[i]->after(&scene->armings[i], &seen));
		*met += seen.pinned && seen.number != scene->number;
		stale += seen.believed && seen.number != scene->number;
	}
	return stale;
}

/* Nothing is in flight any more. */
static bool is_over(struct scene *scene)
{
	struct ummunotify_watch watch;
	bool valid;

	check("WATCH", today_watch(&scene->bell, scene->last, page, &watch));
	valid = today_valid(&scene->bell, &watch);
	check("UNWATCH", today_unwatch(&scene->bell, &watch));
	return valid;
}

static bool play(struct scene *scene)
{
	unsigned int at_once, met = 0, stale;
	bool over;

	if (madvise(scene->area, PAGES * page, MADV_POPULATE_WRITE))
		check("MADV_POPULATE_WRITE", errno);
	*(volatile uint64_t *)scene->last = ++scene->number;
	for (size_t i = 0; i < ARMS; i++)
		check(arms[i]->name, arms[i]->before(&scene->armings[i]));
	set_bells(scene);
	set_policy(pthread_self(), SCHED_RR, 2);
	for (unsigned int i = 0; i < WINDOWS; i++)
		open_window(scene, &scene->unmappers[i]);
	for (size_t i = 0; i < ARMS; i++)
		check(arms[i]->name, arms[i]->during(&scene->armings[i]));
	at_once = count_unfinished(scene);
	race_ordinary_time();
	await_all(scene);

	*(volatile uint64_t *)scene->last = ++scene->number;
	stale = look(scene, &met);
	over = is_over(scene);
	printf("%2u unmaps in flight, %u of %zu clients pinned the old page, "
	       "%u believe in it; new watches hold: %s\n",
	       at_once, met, ARMS, stale, over ? "yes" : "NO");
	return at_once > WINDOWS / 2 && met == ARMS && !stale && over;
}

static void set_up(struct scene *scene)
{
	scene->area = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (scene->area == MAP_FAILED ||
	    madvise(scene->area, PAGES * page, MADV_NOHUGEPAGE))
		check("mmap", errno);
	scene->last = scene->area + (PAGES - 1) * page;
	check("the bell", today_open(&scene->bell, 0, 0));
	for (size_t i = 0; i < ARMS; i++) {
		scene->armings[i] = (struct race_arming){
			.arm = arms[i],
			.addr = scene->last,
			.buffer = -1,
		};
		race_pin_open(&scene->armings[i].pin, BUFFERS);
		check(arms[i]->name, arms[i]->open(&scene->armings[i]));
	}
	for (unsigned int i = 0; i < WINDOWS; i++) {
		struct unmapper *unmapper = &scene->unmappers[i];

		*unmapper = (struct unmapper){ .scene = scene, .number = i };
		if (pipe(unmapper->tell) || pipe(unmapper->hear))
			check("pipe", errno);
		check("pthread_create",
		      pthread_create(&unmapper->thread, NULL, unmap, unmapper));
	}
}

static void tear_down(struct scene *scene)
{
	for (unsigned int i = 0; i < WINDOWS; i++) {
		struct unmapper *unmapper = &scene->unmappers[i];

		close(unmapper->tell[1]);
		pthread_join(unmapper->thread, NULL);
		close(unmapper->tell[0]);
		close(unmapper->hear[0]);
		close(unmapper->hear[1]);
	}
	for (size_t i = 0; i < ARMS; i++) {
		arms[i]->close(&scene->armings[i]);
		race_pin_close(&scene->armings[i].pin);
	}
	today_close(&scene->bell);
}

int main(void)
{
	static struct scene scene;
	unsigned int rounds = run_scaled(ROUNDS);
	bool right = true;

	device_need();
	run_limit(120);
	set_up(&scene);
	race_on_cpu(RACE_CPU);
	if (!race_real_time()) {
		printf("skipped: needs real-time threads (root)\n");
		return 77;
	}
	race_ordinary_time();
	for (unsigned int i = 0; i < rounds; i++)
		right &= play(&scene);
	tear_down(&scene);
	return right ? 0 : 1;
}
