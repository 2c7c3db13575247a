/* SPDX-License-Identifier: MIT */
/* scene.c - play the scenes of a test, each in a process of its own. */
#define _GNU_SOURCE
#include "scene.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "run.h"
#include "witness.h"

#if RUN_TSAN
/* The process of a scene starts threads: it must not end for that. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "die_after_fork=0";
}
#endif

#define SKIPPED 77

/* Longer than all that a scene waits for, one after the other. */
#define SCENE_LIMIT (6 * SCENE_PATIENCE)

/* A child ends earlier, so that its parent can tell of it. */
#define CHILD_LIMIT (2 * SCENE_PATIENCE)

_Noreturn void scene_fail(const char *file, int line, const char *truth,
			  int error, const char *explained)
{
	printf("  %s:%d: not so: %s (errno: %s; explained: \"%s\")\n", file,
	       line, truth, strerror(error), explained);
	fflush(stdout);
	_exit(1);
}

_Noreturn void scene_skip(const char *why)
{
	printf("  skipped: %s\n", why);
	fflush(stdout);
	_exit(SKIPPED);
}

bool scene_await(bool (*truth)(void *ctx), void *ctx)
{
	double end = run_seconds() + SCENE_PATIENCE;

	while (!truth(ctx)) {
		if (run_seconds() > end)
			return false;
		usleep(10000);
	}
	return true;
}

/* What a thread does, and what it is called. */
struct action {
	void (*act)(void *ctx);
	void *ctx;
};

static void *act(void *argument)
{
	struct action *action = argument;

	action->act(action->ctx);
	return NULL;
}

void scene_returns(const char *what, void (*function)(void *ctx), void *ctx)
{
	struct action action = { .act = function, .ctx = ctx };
	struct timespec end;
	pthread_t thread;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += SCENE_PATIENCE;
	REQUIRE(!pthread_create(&thread, NULL, act, &action));
	if (!pthread_timedjoin_np(thread, NULL, &end))
		return;
	printf("  %s did not return within %d s\n", what, SCENE_PATIENCE);
	fflush(stdout);
	_exit(1);
}

struct range {
	void *addr;
	size_t length;
};

static void unmap(void *ctx)
{
	const struct range *range = ctx;

	REQUIRE(!munmap(range->addr, range->length));
}

void scene_unmap(void *addr, size_t length)
{
	struct range range = { .addr = addr, .length = length };

	scene_returns("munmap", unmap, &range);
}

static pid_t limited_child(unsigned int seconds)
{
	pid_t child;

	fflush(stdout);
	child = fork();
	REQUIRE(child >= 0);
	if (!child)
		run_limit(seconds);
	return child;
}

pid_t scene_child(void)
{
	return limited_child(CHILD_LIMIT);
}

static int ended(pid_t child)
{
	int status;

	while (waitpid(child, &status, 0) != child)
		if (errno != EINTR)
			return -1;
	return status;
}

void scene_child_ends(pid_t child)
{
	int status = ended(child);

	if (WIFSIGNALED(status))
		printf("  a child was killed by signal %d%s\n",
		       WTERMSIG(status),
		       WTERMSIG(status) == 9 ? ": it hung" : "");
	REQUIRE(status == 0);
}

size_t scene_page(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

char *scene_map(size_t length)
{
	char *addr = mmap(NULL, length, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	REQUIRE(addr != MAP_FAILED);
	memset(addr, 1, length);
	return addr;
}

struct ummu_monitor *scene_monitor(void)
{
	struct ummu_monitor_opts opts = { .size = sizeof(opts),
					  .backend = "uffd" };
	struct ummu_monitor *monitor = NULL;

	REQUIRE(!ummu_monitor_open(&opts, &monitor));
	return monitor;
}

struct ummu_watch *scene_watch(struct ummu_monitor *monitor, const void *addr,
			       size_t length)
{
	struct ummu_watch *watch = NULL;

	REQUIRE(!ummu_monitor_watch(monitor, addr, length, 7, &watch));
	return watch;
}

static bool watch_is_valid(void *ctx)
{
	return ummu_watch_valid(ctx);
}

void scene_watch_works(struct ummu_monitor *monitor)
{
	size_t page = scene_page();
	char *addr = scene_map(4 * page);
	struct ummu_watch *watch = scene_watch(monitor, addr, 4 * page);

	/* Once in a while an answer is "could not find out". */
	REQUIRE(scene_await(watch_is_valid, watch));
	scene_unmap(addr, page);
	REQUIRE(!ummu_watch_valid(watch));
	REQUIRE(ummu_watch_spent(watch));
	scene_unmap(addr + page, 3 * page);
	ummu_monitor_unwatch(monitor, watch);
}

static int pin(void *ctx, struct ummu_region *region)
{
	(void)ctx, (void)region;
	return 0;
}

static void unpin(void *ctx, struct ummu_region *region)
{
	(void)ctx, (void)region;
}

const struct ummu_rcache_ops scene_pinner = {
	.size = sizeof(scene_pinner),
	.reg = pin,
	.dereg = unpin,
};

static bool wanted(const char *name, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], name))
			return true;
	return argc < 2;
}

static bool play(const struct scene *scene)
{
	double start = run_seconds();
	pid_t child = limited_child(SCENE_LIMIT);
	int status;

	if (!child) {
		setvbuf(stdout, NULL, _IOLBF, 0);
		scene->play();
		fflush(stdout);
		_exit(0);
	}
	status = ended(child);
	printf("%s: ", scene->name);
	if (WIFSIGNALED(status))
		printf("FAILED, killed by signal %d", WTERMSIG(status));
	else
		printf("%s", status == 0		    ? "passed" :
			     WEXITSTATUS(status) == SKIPPED ? "skipped" :
							      "FAILED");
	printf(" (%.1f s)\n", run_seconds() - start);
	return status == 0 ||
	       (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED);
}

int scenes_play(const struct scene *scenes, size_t count, int argc, char **argv)
{
	bool passed = true;

	setvbuf(stdout, NULL, _IOLBF, 0);
	witness_need_uffd();
	for (size_t i = 0; i < count; i++)
		if (wanted(scenes[i].name, argc, argv))
			passed &= play(&scenes[i]);
	return !passed;
}
