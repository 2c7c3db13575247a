/* SPDX-License-Identifier: MIT */
/*
 * foreign-changes.c - what others do to memory is seen, and before it is done.
 *
 * Others are other processes, children that share memory, and the kernel.  The
 * physical pages tell whether something has changed: then the watch must have
 * been hit by the time that this can be seen, and not some time later.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device.h"
#include "foreign.h"
#include "frames.h"
#include "race-cpu.h"
#include "tests/run.h"

#define ROW_SECONDS 120
#define MORE_SECONDS 0.2
#define SKIPPED 77

static const struct foreign_act *const families[] = {
	foreign_calls,
	foreign_sharers,
	foreign_kernel,
};
#define FAMILIES (sizeof(families) / sizeof(*families))

/**
 * struct choice - what to run
 * @act, @kind: these alone; NULL for all
 * @complete: a row that is skipped has failed
 */
struct choice {
	const char *act, *kind;
	bool complete;
};

/* What rows came to; a kernel that refuses is no failure where it may. */
struct tally {
	unsigned int rows, changed, refused, skipped, spurious, failed;
};

static bool is_on(const struct foreign_scene *scene, unsigned int kinds)
{
	return kinds & 1U << scene->kind;
}

/* The kernel may act later, and not on all pages at once. */
static void let_settle(const struct foreign_scene *scene,
		       struct foreign_watch *watch)
{
	double until = run_seconds() + scene->act->settle;
	bool changed = false;

	while (run_seconds() < until) {
		if (foreign_watch_look(watch) && !changed) {
			changed = true;
			until = run_seconds() + MORE_SECONDS;
		}
		usleep(2000);
	}
}

/*
 * A real-time thread that sleeps a little is there in the middle of things.  It
 * leaves most of the processor to others, and does not wake up so often that a
 * virtual machine on a busy host has no time for anything else.
 */
static void look_until(const struct foreign_scene *scene,
		       struct foreign_cast *cast, struct foreign_watch *watch)
{
	double since;

	while (!foreign_actor_ended(cast)) {
		since = run_seconds();
		if (!scene->act->unseen)
			foreign_watch_look(watch);
		usleep(1000 + (useconds_t)(2e6 * (run_seconds() - since)));
	}
	let_settle(scene, watch);
}

static int watch_act(struct foreign_scene *scene, struct foreign_cast *cast,
		     struct foreign_seen *seen)
{
	struct foreign_watch *watch = foreign_watch_start(scene);
	int error;

	foreign_actor_go(cast);
	look_until(scene, cast, watch);
	error = foreign_actor_result(cast);
	foreign_watch_end(watch, seen);
	if (error)
		snprintf(scene->reason, sizeof(scene->reason), "refused: %s",
			 strerror(-error));
	return error;
}

/* An error before there is something to watch is the row's. */
static int play(struct foreign_scene *scene, struct foreign_seen *seen)
{
	const struct foreign_act *act = scene->act;
	struct foreign_cast *cast = NULL;
	int error = act->prepare ? act->prepare(scene) : 0;

	if (!error)
		error = foreign_memory_plan(scene);
	if (error)
		return error;
	if (act->actor != FOREIGN_SHARER)
		cast = foreign_actor_start(scene);
	error = foreign_memory_make(scene);
	if (!error && act->ready)
		error = act->ready(scene);
	if (error)
		return error;
	if (act->actor == FOREIGN_SHARER)
		cast = foreign_actor_start(scene);
	race_real_time();
	return watch_act(scene, cast, seen);
}

/* NULL if all is well, or what is wrong. */
static const char *judge(const struct foreign_scene *scene, int error,
			 const struct foreign_seen *seen)
{
	if (scene->lacking)
		return NULL;
	if (seen->missed)
		return "MISSED";
	if (seen->late)
		return "LATE";
	if (seen->untold)
		return "NOT TOLD (2010)";
	if (is_on(scene, scene->act->must) && !seen->changed)
		return "NOT DONE";
	if (error && !is_on(scene, scene->act->may))
		return "FAILED";
	if (is_on(scene, scene->act->quiet) && !scene->huge && seen->spurious)
		return "NOT QUIET";
	return NULL;
}

static const char *verdict(const struct foreign_scene *scene,
			   const struct foreign_seen *seen)
{
	if (seen->changed)
		return seen->spurious ? "caught, and more" : "caught";
	if (seen->spurious)
		return scene->huge ? "may fire" : "spurious";
	return scene->reason[0] ? "" : "quiet";
}

static void print(const struct foreign_scene *scene, const char *wrong,
		  const struct foreign_seen *seen, double seconds)
{
	printf("%-33s %-16s %5zu %7u %5u %8u %4u %7.1f  %s%s%s\n",
	       scene->act->name, foreign_kind_name(scene->kind), scene->pages,
	       seen->changed, seen->hit, seen->spurious, seen->late, seconds,
	       wrong ? wrong : verdict(scene, seen),
	       scene->reason[0] ? " " : "", scene->reason);
}

/* In a process of its own.  The exit status says what to count. */
enum {
	ROW_CHANGED = 1,
	ROW_SPURIOUS = 2,
	ROW_REFUSED = 4,
	ROW_SKIPPED = 8,
	ROW_WRONG = 16
};

static int row(const struct foreign_act *act, enum foreign_kind kind)
{
	struct foreign_scene scene = { .act = act,
				       .kind = kind,
				       .owner = getpid() };
	struct foreign_seen seen = { 0 };
	double since = run_seconds();
	const char *wrong;
	int error;

	run_limit(ROW_SECONDS);
	error = play(&scene, &seen);
	if (act->finish)
		act->finish(&scene);
	if (error && !scene.reason[0])
		snprintf(scene.reason, sizeof(scene.reason), "%s",
			 strerror(-error));
	wrong = judge(&scene, error, &seen);
	print(&scene, wrong, &seen, run_seconds() - since);
	if (scene.lacking)
		return ROW_SKIPPED;
	return (seen.changed ? ROW_CHANGED : 0) |
	       (seen.spurious ? ROW_SPURIOUS : 0) | (error ? ROW_REFUSED : 0) |
	       (wrong ? ROW_WRONG : 0);
}

static void run_row(const struct foreign_act *act, enum foreign_kind kind,
		    struct tally *tally)
{
	int status = 0;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (!child)
		exit(row(act, kind));
	if (child < 0 || waitpid(child, &status, 0) != child) {
		perror("fork");
		exit(1);
	}
	tally->rows++;
	if (!WIFEXITED(status)) {
		printf("%-33s %-16s DIED, status %#x\n", act->name,
		       foreign_kind_name(kind), (unsigned int)status);
		status = ROW_WRONG << 8;
	}
	status = WEXITSTATUS(status);
	tally->changed += !!(status & ROW_CHANGED);
	tally->skipped += !!(status & ROW_SKIPPED);
	tally->spurious += !!(status & ROW_SPURIOUS);
	tally->refused += !!(status & ROW_REFUSED);
	tally->failed += !!(status & ROW_WRONG);
}

static bool is_chosen(const struct choice *choice,
		      const struct foreign_act *act, enum foreign_kind kind)
{
	unsigned int kinds = act->must | act->may | act->quiet;

	return kinds & 1U << kind &&
	       (!choice->act || strstr(act->name, choice->act)) &&
	       (!choice->kind || !strcmp(choice->kind, foreign_kind_name(kind)));
}

static void run_rows(const struct choice *choice, struct tally *tally)
{
	const struct foreign_act *act;

	for (size_t i = 0; i < FAMILIES; i++)
		for (act = families[i]; act->name; act++)
			for (int kind = 0; kind < FOREIGN_KINDS; kind++)
				if (is_chosen(choice, act,
					      (enum foreign_kind)kind))
					run_row(act, (enum foreign_kind)kind,
						tally);
}

static struct choice choose(int argc, char **argv)
{
	static const struct option options[] = {
		{ "act", required_argument, NULL, 'a' },
		{ "kind", required_argument, NULL, 'k' },
		{ "complete", no_argument, NULL, 'c' },
		{ 0 },
	};
	struct choice choice = { 0 };
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'a') {
			choice.act = optarg;
		} else if (option == 'k') {
			choice.kind = optarg;
		} else if (option == 'c') {
			choice.complete = true;
		} else {
			fprintf(stderr,
				"usage: %s [--act PART-OF-NAME] [--kind NAME] "
				"[--complete]\n",
				argv[0]);
			exit(2);
		}
	}
	return choice;
}

int main(int argc, char **argv)
{
	struct choice choice = choose(argc, argv);
	struct tally tally = { 0 };

	device_need();
	if (!frames_shown()) {
		printf("skipped: only root sees physical pages\n");
		return SKIPPED;
	}
	foreign_system_prepare();
	printf("%-33s %-16s %5s %7s %5s %8s %4s %7s\n", "act", "memory",
	       "pages", "changed", "hit", "spurious", "late", "seconds");
	run_rows(&choice, &tally);
	printf("%u rows: %u changed, %u refused, %u skipped, %u spurious, "
	       "%u failed\n",
	       tally.rows, tally.changed, tally.refused, tally.skipped,
	       tally.spurious, tally.failed);
	return tally.failed || !tally.rows ||
	       (choice.complete && tally.skipped);
}
