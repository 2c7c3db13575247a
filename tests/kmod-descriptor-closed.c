/* SPDX-License-Identifier: MIT */
/*
 * kmod-descriptor-closed.c - somebody closes the descriptor of the device.
 *
 * The kernel keeps what was watched for the sake of the mapping, so watches
 * stay true.  Nothing more can be watched, and whatever gets the number of the
 * descriptor, another monitor for one, is left alone.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "child.h"
#include "run.h"
#include "witness.h"

static size_t page;

/* A monitor, a cache, and what they hold. */
struct scene {
	struct witness witness;
	struct ummu_monitor *monitor;
	struct ummu_watch *watch, *spent;
	struct ummu_checkpoint checkpoint;
	char *memory;
	int fd;
};

static void set_up(struct scene *scene)
{
	uint64_t number;

	CHILD_REQUIRE(!witness_open(&scene->witness));
	CHILD_REQUIRE(!ummu_monitor_open(NULL, &scene->monitor));
	scene->memory = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHILD_REQUIRE(scene->memory != MAP_FAILED);
	memset(scene->memory, 1, 4 * page);
	CHILD_REQUIRE(!ummu_monitor_watch(scene->monitor, scene->memory, page,
					  7, &scene->watch));
	CHILD_REQUIRE(!ummu_monitor_watch(scene->monitor,
					  scene->memory + 3 * page, page, 8,
					  &scene->spent));
	munmap(scene->memory + 3 * page, page);
	CHILD_REQUIRE(!witness_get(&scene->witness, scene->memory + page, page,
				   &number));
	ummu_monitor_checkpoint(scene->monitor, &scene->checkpoint);
	scene->fd = ummu_monitor_fd(scene->monitor);
	CHILD_REQUIRE(scene->fd > 900); /* out of the way */
}

static void expect_refused(struct scene *scene)
{
	struct ummu_watch *handle = NULL;

	CHILD_REQUIRE(ummu_monitor_watch(scene->monitor, scene->memory, page, 0,
					 &handle) == -EBADF);
	CHILD_REQUIRE(strstr(ummu_monitor_explain(), "closed"));
	CHILD_REQUIRE(ummu_monitor_status(scene->monitor) == -EBADF);
	CHILD_REQUIRE(strstr(ummu_monitor_explain(), "closed"));
	CHILD_REQUIRE(!handle);
}

static void expect_true(struct scene *scene)
{
	struct ummu_event events[4];

	CHILD_REQUIRE(ummu_watch_valid(scene->watch));
	CHILD_REQUIRE(!ummu_changed(&scene->checkpoint));
	munmap(scene->memory, page);
	CHILD_REQUIRE(!ummu_watch_valid(scene->watch));
	CHILD_REQUIRE(ummu_changed(&scene->checkpoint));
	CHILD_REQUIRE(ummu_monitor_read(scene->monitor, events, 4) == 2);
	CHILD_REQUIRE(events[0].cookie == 8 && events[1].cookie == 7);
	CHILD_REQUIRE(events[1].reason == UMMU_REASON_UNMAP);
	CHILD_REQUIRE(ummu_monitor_read(scene->monitor, events, 4) == 0);
}

/* What is registered is told of still; the first miss finds out. */
static void expect_cache_fails(struct scene *scene)
{
	struct ummu_region *region = NULL;
	uint64_t number;

	CHILD_REQUIRE(witness_get(&scene->witness, scene->memory + page, page,
				  &number) == 1);
	CHILD_REQUIRE(ummu_rcache_get(scene->witness.rcache,
				      scene->memory + 2 * page, page, 0,
				      &region) == -EBADF);
	CHILD_REQUIRE(witness_get(&scene->witness, scene->memory + page, page,
				  &number) == -EBADF);
	CHILD_REQUIRE(!region);
}

static void tear_down(struct scene *scene)
{
	ummu_monitor_unwatch(scene->monitor, scene->watch);
	ummu_monitor_unwatch(scene->monitor, scene->spent);
	witness_close(&scene->witness);
	CHILD_REQUIRE(scene->witness.registered == scene->witness.deregistered);
	ummu_monitor_close(scene->monitor);
}

static void close_all(void)
{
	CHILD_REQUIRE(!syscall(SYS_close_range, 3, ~0U, 0));
}

static void found_by_a_watch(void)
{
	struct scene scene;

	set_up(&scene);
	close_all();
	CHILD_REQUIRE(ummu_monitor_status(scene.monitor) == 0);
	expect_refused(&scene);
	expect_true(&scene);
	expect_cache_fails(&scene);
	tear_down(&scene);
}

static void found_by_an_unwatch(void)
{
	struct scene scene;

	set_up(&scene);
	close_all();
	ummu_monitor_unwatch(scene.monitor, scene.spent);
	scene.spent = NULL;
	CHILD_REQUIRE(ummu_monitor_status(scene.monitor) == -EBADF);
	CHILD_REQUIRE(ummu_watch_valid(scene.watch));
	expect_refused(&scene);
	tear_down(&scene);
}

static void found_by_nobody(void)
{
	struct scene scene;

	set_up(&scene);
	close_all();
	expect_true(&scene);
	tear_down(&scene);
}

/* The ends of a pipe get the numbers, and nothing happens to them. */
static void number_of_a_pipe(void)
{
	static const char message[] = "this is not for you";
	char buffer[2 * sizeof(message)];
	struct scene scene;
	int ends[2];

	set_up(&scene);
	close_all();
	CHILD_REQUIRE(!pipe(ends));
	CHILD_REQUIRE(dup2(ends[0], scene.fd) == scene.fd);
	CHILD_REQUIRE(write(ends[1], message, sizeof(message)) ==
		      sizeof(message));
	expect_true(&scene);
	expect_refused(&scene);
	tear_down(&scene);
	CHILD_REQUIRE(fcntl(scene.fd, F_GETFD) >= 0);
	CHILD_REQUIRE(read(scene.fd, buffer, sizeof(buffer)) == sizeof(message));
}

/* Another monitor gets the number, and is not taken for the first one. */
static void number_of_another_monitor(void)
{
	struct ummu_monitor_stats stats = { .size = sizeof(stats) };
	struct ummu_monitor *first, *other;
	struct ummu_watch *handle;
	struct scene scene;

	set_up(&scene);
	close_all();
	/* The first gets the number of the cache's. */
	CHILD_REQUIRE(!ummu_monitor_open(NULL, &first));
	CHILD_REQUIRE(!ummu_monitor_open(NULL, &other));
	CHILD_REQUIRE(ummu_monitor_fd(other) == scene.fd);
	CHILD_REQUIRE(
		!ummu_monitor_watch(other, scene.memory, page, 1, &handle));
	expect_refused(&scene);
	expect_true(&scene);
	CHILD_REQUIRE(!ummu_watch_valid(handle));
	tear_down(&scene);
	CHILD_REQUIRE(fcntl(scene.fd, F_GETFD) >= 0);
	CHILD_REQUIRE(!ummu_monitor_stats(other, &stats));
	CHILD_REQUIRE(stats.watched == 1 && stats.invalidations == 1);
	ummu_monitor_unwatch(other, handle);
	ummu_monitor_close(other);
	ummu_monitor_close(first);
	CHILD_REQUIRE(fcntl(scene.fd, F_GETFD) < 0);
}

/* A process each: numbers are used again there. */
static void in_a_child(void (*scenario)(void))
{
	pid_t child = fork();

	if (!child) {
		run_limit(100);
		scenario();
		_exit(0);
	}
	expect_child(child);
}

#define IN_A_CHILD(scenario)                      \
	static void test_##scenario(void **state) \
	{                                         \
		(void)state;                      \
		in_a_child(scenario);             \
	}

IN_A_CHILD(found_by_a_watch)
IN_A_CHILD(found_by_an_unwatch)
IN_A_CHILD(found_by_nobody)
IN_A_CHILD(number_of_a_pipe)
IN_A_CHILD(number_of_another_monitor)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_found_by_a_watch),
		cmocka_unit_test(test_found_by_an_unwatch),
		cmocka_unit_test(test_found_by_nobody),
		cmocka_unit_test(test_number_of_a_pipe),
		cmocka_unit_test(test_number_of_another_monitor),
	};

	run_limit(250);
	witness_need_kmod();
	page = (size_t)sysconf(_SC_PAGESIZE);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
