/* SPDX-License-Identifier: MIT */
/*
 * process-ends.c - the reader thread keeps no process alive, and is not there
 * when nothing is watched.
 *
 * A program whose main thread has called pthread_exit() ends with its last
 * thread, and unshare(CLONE_NEWUSER) works in a process of one thread only.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "proc-self.h"
#include "run.h"
#include "scene.h"

static struct ummu_monitor *monitor;
static struct ummu_watch *watch;
static char *memory;

static void watch_memory(void)
{
	memory = scene_map(4 * scene_page());
	monitor = scene_monitor();
	watch = scene_watch(monitor, memory, 4 * scene_page());
}

/* The child ends before it is killed, as all children of scenes are. */
static void expect_end(void (*live)(void))
{
	double start = run_seconds();
	pid_t child = scene_child();

	if (!child) {
		live();
		_exit(2);
	}
	scene_child_ends(child);
	printf("  ended after %.2f s\n", run_seconds() - start);
}

static _Noreturn void leave_main(void)
{
	pthread_exit(NULL);
}

static void close_and_leave(void)
{
	watch_memory();
	ummu_monitor_unwatch(monitor, watch);
	ummu_monitor_close(monitor);
	leave_main();
}

static void open_close_and_leave(void)
{
	ummu_monitor_close(scene_monitor());
	leave_main();
}

static void watch_and_leave(void)
{
	watch_memory();
	leave_main();
}

static void *worker(void *unused)
{
	usleep(300000);
	ummu_monitor_unwatch(monitor, watch);
	ummu_monitor_close(monitor);
	return unused;
}

static void leave_a_worker(void)
{
	pthread_t thread;

	watch_memory();
	REQUIRE(!pthread_create(&thread, NULL, worker, NULL));
	leave_main();
}

static void *watching_worker(void *unused)
{
	watch_memory();
	usleep(300000);
	return unused;
}

/* Main is gone when the first watch begins. */
static void leave_a_watching_worker(void)
{
	pthread_t thread;

	REQUIRE(!pthread_create(&thread, NULL, watching_worker, NULL));
	leave_main();
}

static void closed_then_main_leaves(void)
{
	expect_end(close_and_leave);
}

static void never_watched_then_main_leaves(void)
{
	expect_end(open_close_and_leave);
}

static void watched_and_main_leaves(void)
{
	expect_end(watch_and_leave);
}

static void main_leaves_before_worker_closes(void)
{
	expect_end(leave_a_worker);
}

static void worker_watches_without_main(void)
{
	expect_end(leave_a_watching_worker);
}

static void *sleeper(void *ready)
{
	REQUIRE(write(*(int *)ready, "x", 1) == 1);
	for (;;)
		pause();
	return NULL;
}

/* SIGTERM ends it at once, with main there or gone. */
static void terminated(bool main_leaves)
{
	int ready[2], status;
	double start;
	pthread_t thread;
	pid_t child;
	char byte;

	REQUIRE(!pipe(ready));
	child = scene_child();
	if (!child) {
		watch_memory();
		if (!main_leaves)
			sleeper(&ready[1]);
		REQUIRE(!pthread_create(&thread, NULL, sleeper, &ready[1]));
		leave_main();
	}
	REQUIRE(read(ready[0], &byte, 1) == 1);
	start = run_seconds();
	REQUIRE(!kill(child, SIGTERM));
	REQUIRE(waitpid(child, &status, 0) == child);
	printf("  ended %.2f s after SIGTERM\n", run_seconds() - start);
	REQUIRE(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

static void sigterm_while_watched(void)
{
	terminated(false);
}

static void sigterm_without_main(void)
{
	terminated(true);
}

static bool single_threaded(void *unused)
{
	(void)unused;
	return proc_threads() == 1;
}

/* unshare() in a child: is it allowed here at all? */
static bool may_unshare(void)
{
	pid_t child = scene_child();
	int status;

	if (!child)
		_exit(unshare(CLONE_NEWUSER) != 0);
	REQUIRE(waitpid(child, &status, 0) == child);
	return status == 0;
}

static void expect_single_threaded(bool may)
{
	double start = run_seconds();
	bool single = scene_await(single_threaded, NULL);

	printf("  %u thread(s) after %.2f s\n", proc_threads(),
	       run_seconds() - start);
	REQUIRE(single);
	if (may)
		REQUIRE(!unshare(CLONE_NEWUSER));
	else
		printf("  unshare(CLONE_NEWUSER) is refused here anyway\n");
}

static void single_threaded_after_close(void)
{
	bool may = may_unshare();

	watch_memory();
	ummu_monitor_close(monitor);
	expect_single_threaded(may);
}

static void single_threaded_after_open(void)
{
	bool may = may_unshare();

	scene_monitor();
	expect_single_threaded(may);
}

static void single_threaded_after_unwatch(void)
{
	bool may = may_unshare();

	watch_memory();
	scene_monitor();
	ummu_monitor_unwatch(monitor, watch);
	expect_single_threaded(may);
}

/* All of it was unmapped; the handle of the spent watch is still held. */
static void single_threaded_after_unmap(void)
{
	bool may = may_unshare();

	watch_memory();
	scene_unmap(memory, 4 * scene_page());
	REQUIRE(!ummu_watch_valid(watch));
	expect_single_threaded(may);
}

static void watched_again_after_idle(void)
{
	watch_memory();
	ummu_monitor_unwatch(monitor, watch);
	for (int i = 0; i < 2; i++) {
		REQUIRE(scene_await(single_threaded, NULL));
		scene_watch_works(monitor);
		scene_watch_works(scene_monitor());
	}
}

/* It stays as long as something is watched. */
static void reader_stays(void)
{
	watch_memory();
	REQUIRE(proc_reader_starts());
	sleep(5);
	REQUIRE(proc_reader());
	scene_unmap(memory, scene_page());
	REQUIRE(!ummu_watch_valid(watch));
}

/* A forked child asks its copy of the monitor what it claims. */
static void child_asks_what_is_claimed(void)
{
	struct ummu_caps caps = { .size = sizeof(caps) };
	pid_t child;

	watch_memory();
	child = scene_child();
	if (child) {
		scene_child_ends(child);
		return;
	}
	REQUIRE(!ummu_monitor_caps(monitor, &caps));
	printf("  %u thread(s) in the child\n", proc_threads());
	REQUIRE(proc_threads() == 1);
	scene_watch_works(scene_monitor());
	fflush(stdout);
	_exit(0);
}

int main(int argc, char **argv)
{
	static const struct scene scenes[] = {
		{ "closed_then_main_leaves", closed_then_main_leaves },
		{ "never_watched_then_main_leaves",
		  never_watched_then_main_leaves },
		{ "watched_and_main_leaves", watched_and_main_leaves },
		{ "main_leaves_before_worker_closes",
		  main_leaves_before_worker_closes },
		{ "worker_watches_without_main", worker_watches_without_main },
		{ "child_asks_what_is_claimed", child_asks_what_is_claimed },
		{ "sigterm_while_watched", sigterm_while_watched },
		{ "sigterm_without_main", sigterm_without_main },
		{ "single_threaded_after_close", single_threaded_after_close },
		{ "single_threaded_after_open", single_threaded_after_open },
		{ "single_threaded_after_unwatch",
		  single_threaded_after_unwatch },
		{ "single_threaded_after_unmap", single_threaded_after_unmap },
		{ "watched_again_after_idle", watched_again_after_idle },
		{ "reader_stays", reader_stays },
	};

	return scenes_play(scenes, sizeof(scenes) / sizeof(scenes[0]), argc,
			   argv);
}
