/* SPDX-License-Identifier: MIT */
/*
 * fork-handler-order.c - a program that holds a lock of its own in its fork
 * handlers may call the library with that lock held.
 *
 * Handlers before a fork run in the reverse order of their registration.  If
 * those of the library were registered at its first use, they would run before
 * the program's, and take in the other order what its calls take.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "run.h"
#include "scene.h"

static pthread_mutex_t big = PTHREAD_MUTEX_INITIALIZER;
static int in_handler; /* a fork has come as far as the program's handler */

static void before_fork(void)
{
	__atomic_store_n(&in_handler, 1, __ATOMIC_RELEASE);
	pthread_mutex_lock(&big);
}

static void after_fork(void)
{
	pthread_mutex_unlock(&big);
}

/* As early as a library that is loaded with the program does it. */
__attribute__((constructor)) static void register_handlers(void)
{
	if (pthread_atfork(before_fork, after_fork, after_fork))
		abort();
}

static struct ummu_monitor *monitor, *of_cache;
static struct ummu_rcache *rcache;
static char *memory;

static void set_up(void)
{
	memory = scene_map(16 * scene_page());
	monitor = scene_monitor();
	of_cache = scene_monitor();
	REQUIRE(!ummu_rcache_create(of_cache, &scene_pinner, NULL, NULL,
				    &rcache));
}

static void *fork_once(void *unused)
{
	pid_t child = fork();

	REQUIRE(child >= 0);
	if (!child)
		_exit(0);
	scene_child_ends(child);
	return unused;
}

static bool handler_runs(void *unused)
{
	(void)unused;
	return __atomic_load_n(&in_handler, __ATOMIC_ACQUIRE);
}

static void (*call)(void);

/* The fork waits for the lock, its holder for nobody. */
static void call_with_lock(void *unused)
{
	pthread_t forker;

	(void)unused;
	in_handler = 0;
	pthread_mutex_lock(&big);
	REQUIRE(!pthread_create(&forker, NULL, fork_once, NULL));
	REQUIRE(scene_await(handler_runs, NULL));
	call();
	pthread_mutex_unlock(&big);
	REQUIRE(!pthread_join(forker, NULL));
}

static void during_fork(const char *name, void (*function)(void))
{
	call = function;
	scene_returns(name, call_with_lock, NULL);
}

static struct ummu_watch *watch;

static void do_watch(void)
{
	watch = scene_watch(monitor, memory, scene_page());
}

static void do_unwatch(void)
{
	ummu_monitor_unwatch(monitor, watch);
}

static void do_check(void)
{
	ummu_monitor_settle(monitor);
	ummu_monitor_generation(monitor);
}

static void do_read(void)
{
	struct ummu_event event;

	REQUIRE(ummu_monitor_read(monitor, &event, 1) >= 0);
}

static void do_open_and_close(void)
{
	ummu_monitor_close(scene_monitor());
}

static void do_descriptor(void)
{
	REQUIRE(ummu_monitor_fd(monitor) >= 0);
}

static void do_release(void)
{
	REQUIRE(!ummu_monitor_release(monitor, memory, scene_page()));
}

static void do_get(void)
{
	struct ummu_region *region;

	REQUIRE(!ummu_rcache_get(rcache, memory + 4 * scene_page(),
				 scene_page(), 0, &region));
	ummu_rcache_put(rcache, region);
}

static void do_unmap(void)
{
	REQUIRE(!munmap(memory + 4 * scene_page(), scene_page()));
}

static void do_flush(void)
{
	REQUIRE(ummu_rcache_flush(rcache, true) >= 0);
}

static void do_invalidate(void)
{
	REQUIRE(ummu_rcache_invalidate(rcache, memory, 4 * scene_page()) >= 0);
}

/* Every call that takes a lock. */
static void each_call(void)
{
	set_up();
	during_fork("watch", do_watch);
	during_fork("check", do_check);
	during_fork("unwatch", do_unwatch);
	during_fork("read", do_read);
	during_fork("open and close", do_open_and_close);
	during_fork("fd", do_descriptor);
	during_fork("release", do_release);
	during_fork("get that misses", do_get);
	during_fork("get that hits", do_get);
	during_fork("unmap", do_unmap);
	during_fork("flush", do_flush);
	during_fork("invalidate", do_invalidate);
}

static void first_call(void)
{
	during_fork("the first open", do_open_and_close);
}

static void *forever(void *function)
{
	for (;;)
		((void (*)(void))function)();
	return NULL;
}

static unsigned long gets, forks;

static void map_get_unmap(void)
{
	char *addr = scene_map(2 * scene_page());
	struct ummu_region *region;
	int error;

	pthread_mutex_lock(&big);
	error = ummu_rcache_get(rcache, addr, 2 * scene_page(), 0, &region);
	pthread_mutex_unlock(&big);
	if (!error)
		ummu_rcache_put(rcache, region);
	munmap(addr, 2 * scene_page());
	__atomic_fetch_add(&gets, 1, __ATOMIC_RELAXED);
}

static void fork_and_wait(void)
{
	fork_once(NULL);
	__atomic_fetch_add(&forks, 1, __ATOMIC_RELAXED);
}

struct progress {
	unsigned long gets, forks;
};

static bool made_progress(void *ctx)
{
	const struct progress *aim = ctx;

	return __atomic_load_n(&gets, __ATOMIC_RELAXED) >= aim->gets &&
	       __atomic_load_n(&forks, __ATOMIC_RELAXED) >= aim->forks;
}

/* Both go on, one after the other. */
static void gets_and_forks(void)
{
	struct progress aim = { 0 };
	pthread_t threads[2];

	set_up();
	REQUIRE(!pthread_create(&threads[0], NULL, forever, map_get_unmap));
	REQUIRE(!pthread_create(&threads[1], NULL, forever, fork_and_wait));
	for (int i = 0; i < 10; i++) {
		aim.gets += 20;
		aim.forks += 20;
		if (!scene_await(made_progress, &aim))
			printf("  stuck after %lu gets and %lu forks\n", gets,
			       forks);
		REQUIRE(made_progress(&aim));
	}
	printf("  %lu gets, %lu forks\n", gets, forks);
}

int main(int argc, char **argv)
{
	static const struct scene scenes[] = {
		{ "each_call", each_call },
		{ "first_call", first_call },
		{ "gets_and_forks", gets_and_forks },
	};

	return scenes_play(scenes, sizeof(scenes) / sizeof(scenes[0]), argc,
			   argv);
}
