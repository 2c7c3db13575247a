/* SPDX-License-Identifier: MIT */
/*
 * vfork-child-killed.c - a child that shares the memory unmaps it and is killed.
 *
 * A child that is killed while its unmap waits for the reader takes its event
 * along: the kernel drops it, and no userfaultfd can tell of it.  What is
 * promised: once the event was read the watch is invalid, and nobody hangs.
 * What became of a watch whose event was dropped is printed, not judged.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "proc-self.h"
#include "run.h"
#include "scene.h"

static struct ummu_monitor *monitor;
static struct ummu_watch *watch;
static char *memory;
static size_t page;

static void set_up(void)
{
	page = scene_page();
	memory = scene_map(16 * page);
	monitor = scene_monitor();
	watch = scene_watch(monitor, memory, 16 * page);
	REQUIRE(proc_reader_starts());
}

/* It runs on the memory of its parent, and returns to nothing. */
static int unmap_and_end(void *unused)
{
	(void)unused;
	syscall(SYS_munmap, memory, 8 * page);
	syscall(SYS_exit, 0);
	return 0;
}

static pid_t start_sharing_child(void)
{
	char *its_stack = scene_map(16 * page);
	pid_t child = clone(unmap_and_end, its_stack + 16 * page,
			    CLONE_VM | SIGCHLD, NULL);

	REQUIRE(child > 0);
	return child;
}

static bool is_gone(void *addr)
{
	unsigned char present;

	return mincore(addr, page, &present) && errno == ENOMEM;
}

static void event_was_read(void)
{
	int status;
	pid_t child;

	set_up();
	child = start_sharing_child();
	REQUIRE(waitpid(child, &status, 0) == child);
	REQUIRE(WIFEXITED(status));
	REQUIRE(is_gone(memory));
	REQUIRE(!ummu_watch_valid(watch));
	scene_unmap(memory + 8 * page, 8 * page);
}

/* Another process stops the reader, until told to let it go. */
static pid_t stop_reader(int stopped[2], int go[2])
{
	pid_t reader = proc_reader(), tracer;
	int status;
	char byte;

	REQUIRE(!pipe(stopped) && !pipe(go));
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
	tracer = scene_child();
	if (tracer)
		return tracer;
	close(go[1]);
	if (ptrace(PTRACE_SEIZE, reader, 0, 0) ||
	    ptrace(PTRACE_INTERRUPT, reader, 0, 0) ||
	    waitpid(reader, &status, __WALL) != reader)
		_exit(77);
	REQUIRE(write(stopped[1], "x", 1) == 1);
	REQUIRE(read(go[0], &byte, 1) == 0);
	ptrace(PTRACE_DETACH, reader, 0, 0);
	_exit(0);
}

static void killed_before_it_was_read(void)
{
	int stopped[2], go[2], status;
	pid_t tracer, child;
	char byte;

	set_up();
	tracer = stop_reader(stopped, go);
	close(stopped[1]);
	if (read(stopped[0], &byte, 1) != 1)
		scene_skip("ptrace is refused here");
	child = start_sharing_child();
	REQUIRE(scene_await(is_gone, memory));
	REQUIRE(!kill(child, SIGKILL));
	REQUIRE(waitpid(child, &status, 0) == child);
	close(go[1]);
	scene_child_ends(tracer);
	printf("  the child ended by %s; the watch of the memory is %s\n",
	       WIFSIGNALED(status) ? "SIGKILL" : "itself",
	       ummu_watch_valid(watch) ? "valid: the event is lost" : "invalid");
	/* Whatever was lost, the library goes on. */
	scene_unmap(memory + 8 * page, 8 * page);
	REQUIRE(!ummu_watch_valid(watch));
	ummu_monitor_unwatch(monitor, watch);
	scene_watch_works(monitor);
}

/* A probe that is never quiet again would be a hang in disguise. */
static void others_go_on(void)
{
	pid_t children[8];
	int status;

	set_up();
	for (int i = 0; i < 8; i++) {
		memory = scene_map(16 * page);
		watch = scene_watch(monitor, memory, 16 * page);
		children[i] = start_sharing_child();
		usleep(200U * (unsigned int)i); /* at different moments */
		kill(children[i], SIGKILL);
		REQUIRE(waitpid(children[i], &status, 0) == children[i]);
		if (!is_gone(memory))
			continue; /* it was killed before it began */
		printf("  killed %s its event was read: watch %s\n",
		       WIFSIGNALED(status) ? "perhaps before" : "after",
		       ummu_watch_valid(watch) ? "valid" : "invalid");
	}
	scene_watch_works(monitor);
	scene_watch_works(scene_monitor());
}

int main(int argc, char **argv)
{
	static const struct scene scenes[] = {
		{ "event_was_read", event_was_read },
		{ "killed_before_it_was_read", killed_before_it_was_read },
		{ "others_go_on", others_go_on },
	};

	return scenes_play(scenes, sizeof(scenes) / sizeof(scenes[0]), argc,
			   argv);
}
