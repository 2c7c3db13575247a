/* SPDX-License-Identifier: MIT */
/*
 * race-register-unmap.c - registrations made while their page is unmapped.
 *
 * The kernel announces an unmap, and only then clears page tables, which takes
 * long for a large area.  In between its last page is still there to be
 * pinned.  Who watches it in that moment, for the first time or again, and pins
 * it, must be told, or believes in a page that nobody has mapped (G2).
 *
 * That moment is not left to chance: a thread that is woken by the announcement
 * and goes before the unmapping one on its processor is always in it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "race-arms.h"
#include "race-cpu.h"
#include "race-unmap.h"
#include "tests/run.h"

#define ROUNDS 6
#define PAGES 2048
#define BUFFERS 64
#define PATIENCE_MS 100000

static const struct race_arm *const arms[] = {
	&race_arm_watch, &race_arm_rearm,   &race_arm_register,
	&race_arm_drain, &race_arm_library,
};
#define ARMS (sizeof(arms) / sizeof(*arms))

/**
 * struct choice - what to run
 * @arm, @unmapper: these alone; NULL for all
 */
struct choice {
	const char *arm, *unmapper;
	unsigned int rounds;
	size_t pages;
};

/**
 * struct tally - what the rounds came to
 * @met:    pinned a page that was unmapped then: the race was met
 * @stale:  and believed in it
 * @failed: pinned nothing
 */
struct tally {
	unsigned int rounds, met, stale, failed;
};

/**
 * struct scene - who is there
 * @bell: a watch of the last page that tells of the announcement
 */
struct scene {
	struct race_unmapping *unmapping;
	struct race_arming arming;
	struct today bell;
	struct ummunotify_watch bell_watch;
	uint64_t number;
};

static void check(const char *what, const char *name, int error)
{
	if (!error)
		return;
	fprintf(stderr, "%s, %s: %s\n", name, what, strerror(-error));
	exit(1);
}

static void set_bell(struct scene *scene)
{
	struct ummunotify_log_entry entry;
	int error;

	while (today_next(&scene->bell, &entry))
		;
	if (scene->bell_watch.state)
		error = today_rearm(&scene->bell, &scene->bell_watch);
	else
		error = today_watch(&scene->bell, scene->arming.addr, page,
				    &scene->bell_watch);
	check("the bell", "watch", error);
}

static void await_bell(struct scene *scene)
{
	struct pollfd poller = { .fd = scene->bell.fd, .events = POLLIN };

	if (poll(&poller, 1, PATIENCE_MS) != 1)
		check("await the unmap", "the bell", -ETIMEDOUT);
}

static void play(struct scene *scene, struct tally *tally)
{
	struct race_arming *arming = &scene->arming;
	const struct race_arm *arm = arming->arm;
	struct race_seen seen;

	race_unmap_fill(scene->unmapping, ++scene->number);
	arming->mapped = scene->number;
	check("before the unmap", arm->name, arm->before(arming));
	set_bell(scene);
	race_real_time();
	race_unmap_begin(scene->unmapping);
	await_bell(scene);
	check("in the unmap", arm->name, arm->during(arming));
	race_ordinary_time();
	race_unmap_await(scene->unmapping);

	*(volatile uint64_t *)arming->addr = ++scene->number;
	check("after the unmap", arm->name, arm->after(arming, &seen));
	tally->rounds++;
	tally->failed += !seen.pinned;
	tally->met += arming->early ||
		      (seen.pinned && seen.number != scene->number);
	tally->stale += seen.believed && seen.number != scene->number;
}

static void set_up(struct scene *scene, const struct race_arm *arm,
		   const struct race_unmapper *unmapper, size_t pages)
{
	*scene = (struct scene){ .arming = { .arm = arm, .buffer = -1 } };
	scene->unmapping = race_unmap_open(unmapper, pages);
	scene->arming.addr = race_unmap_area(scene->unmapping)->last;
	race_pin_open(&scene->arming.pin, BUFFERS);
	check("open", arm->name, arm->open(&scene->arming));
	check("the bell", "open", today_open(&scene->bell, 0, 0));
}

static void tear_down(struct scene *scene)
{
	today_close(&scene->bell);
	scene->arming.arm->close(&scene->arming);
	race_pin_close(&scene->arming.pin);
	race_unmap_close(scene->unmapping);
}

/* Some kernels pin nothing in an area that is not mapped any more. */
static bool is_right(const struct race_unmapper *unmapper,
		     const struct tally *tally)
{
	if (tally->stale) {
		printf("  FAILED: believed in a page that had left\n");
		return false;
	}
	if (!unmapper->gone && tally->met < tally->rounds / 4 + 1) {
		printf("  FAILED: hardly met the race\n");
		return false;
	}
	return true;
}

static bool run(const struct race_arm *arm,
		const struct race_unmapper *unmapper,
		const struct choice *choice)
{
	struct tally tally = { 0 };
	double since = run_seconds();
	struct scene scene;

	set_up(&scene, arm, unmapper, choice->pages);
	while (tally.rounds < choice->rounds)
		play(&scene, &tally);
	tear_down(&scene);
	printf("%-9s %-9s %7u %5u %6u %6u %8.1f\n", arm->name, unmapper->name,
	       tally.rounds, tally.met, tally.failed, tally.stale,
	       run_seconds() - since);
	return is_right(unmapper, &tally);
}

static void usage(const char *program)
{
	fprintf(stderr,
		"usage: %s [--arm NAME] [--unmapper NAME] [--rounds N] [--pages N]\n"
		"arms:",
		program);
	for (size_t i = 0; i < ARMS; i++)
		fprintf(stderr, " %s", arms[i]->name);
	fprintf(stderr, "\nunmappers:");
	for (size_t i = 0; i < race_unmapper_count; i++)
		fprintf(stderr, " %s", race_unmappers[i].name);
	fprintf(stderr, "\n");
	exit(2);
}

static struct choice choose(int argc, char **argv)
{
	static const struct option options[] = {
		{ "arm", required_argument, NULL, 'a' },
		{ "unmapper", required_argument, NULL, 'u' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "pages", required_argument, NULL, 'p' },
		{ 0 },
	};
	struct choice choice = { .rounds = run_scaled(ROUNDS), .pages = PAGES };
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'a':
			choice.arm = optarg;
			break;
		case 'u':
			choice.unmapper = optarg;
			break;
		case 'r':
			choice.rounds = (unsigned int)strtoul(optarg, NULL, 0);
			break;
		case 'p':
			choice.pages = strtoul(optarg, NULL, 0);
			break;
		default:
			usage(argv[0]);
		}
	}
	if (optind < argc || !choice.rounds || choice.pages < 3)
		usage(argv[0]);
	return choice;
}

static bool is_chosen(const char *chosen, const char *name)
{
	return !chosen || !strcmp(chosen, name);
}

int main(int argc, char **argv)
{
	struct choice choice = choose(argc, argv);
	unsigned int ran = 0;
	bool right = true;

	device_need();
	run_limit(300);
	race_on_cpu(RACE_CPU);
	if (!race_real_time())
		printf("not root: whether the race is met is up to chance\n");
	printf("%-9s %-9s %7s %5s %6s %6s %8s\n", "arm", "unmapper", "rounds",
	       "met", "no pin", "stale", "seconds");
	for (size_t a = 0; a < ARMS; a++)
		for (size_t u = 0; u < race_unmapper_count; u++) {
			if (!is_chosen(choice.arm, arms[a]->name) ||
			    !is_chosen(choice.unmapper, race_unmappers[u].name))
				continue;
			right &= run(arms[a], &race_unmappers[u], &choice);
			ran++;
		}
	if (!ran)
		usage(argv[0]);
	return right ? 0 : 1;
}
