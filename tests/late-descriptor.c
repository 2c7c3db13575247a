/* SPDX-License-Identifier: MIT */
/*
 * late-descriptor.c - a descriptor that is first asked for while memory is
 * watched tells of an unmap in another thread, though nobody calls the library.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>

#include "proc-self.h"
#include "run.h"
#include "scene.h"

static void expect_readable(int fd, int how_long_ms)
{
	struct pollfd poller = { .fd = fd, .events = POLLIN };
	double start = run_seconds();

	REQUIRE(poll(&poller, 1, how_long_ms) == 1);
	REQUIRE(poller.revents == POLLIN);
	printf("  readable after %.4f s\n", run_seconds() - start);
}

static void expect_quiet(int fd)
{
	struct pollfd poller = { .fd = fd, .events = POLLIN };

	REQUIRE(poll(&poller, 1, 0) == 0);
}

static void expect_event(struct ummu_monitor *monitor)
{
	struct ummu_event events[2];

	REQUIRE(ummu_monitor_read(monitor, events, 2) == 1);
	REQUIRE(events[0].cookie == 7);
	REQUIRE(events[0].reason == UMMU_REASON_UNMAP);
	REQUIRE(ummu_monitor_read(monitor, events, 2) == 0);
}

static void first_asked_while_reader_runs(void)
{
	size_t page = scene_page();
	struct ummu_monitor *monitor = scene_monitor();
	char *memory = scene_map(4 * page);
	int fd;

	scene_watch(monitor, memory, 4 * page);
	REQUIRE(proc_reader_starts());
	usleep(200000); /* it sleeps in the kernel now */
	fd = ummu_monitor_fd(monitor);
	REQUIRE(fd >= 0);
	REQUIRE(ummu_monitor_fd(monitor) == fd);
	expect_quiet(fd);
	scene_unmap(memory, page);
	expect_readable(fd, SCENE_PATIENCE * 1000);
	expect_event(monitor);
	expect_quiet(fd);
}

/* The event is there first. */
static void first_asked_when_events_wait(void)
{
	size_t page = scene_page();
	struct ummu_monitor *monitor = scene_monitor();
	char *memory = scene_map(4 * page);
	int fd;

	scene_watch(monitor, memory, 4 * page);
	scene_unmap(memory, page);
	fd = ummu_monitor_fd(monitor);
	REQUIRE(fd >= 0);
	expect_readable(fd, SCENE_PATIENCE * 1000);
	expect_event(monitor);
	expect_quiet(fd);
}

/* The reader has ended and is started anew: it still knows the descriptor. */
static void asked_before_the_reader_ended(void)
{
	size_t page = scene_page();
	struct ummu_monitor *monitor = scene_monitor();
	char *memory = scene_map(4 * page);
	struct ummu_watch *watch = scene_watch(monitor, memory, 4 * page);
	int fd = ummu_monitor_fd(monitor);

	REQUIRE(fd >= 0);
	ummu_monitor_unwatch(monitor, watch);
	REQUIRE(proc_reader_ends());
	expect_quiet(fd);
	scene_watch(monitor, memory, 4 * page);
	scene_unmap(memory, page);
	expect_readable(fd, SCENE_PATIENCE * 1000);
	expect_event(monitor);
	REQUIRE(ummu_monitor_fd(monitor) == fd);
}

/* Many monitors, the descriptor of the last one. */
static void last_of_many(void)
{
	enum { MONITORS = 20 };
	struct ummu_monitor *monitors[MONITORS];
	size_t page = scene_page();
	char *memory = scene_map(4 * page);
	int fd = -1;

	for (int i = 0; i < MONITORS; i++) {
		monitors[i] = scene_monitor();
		scene_watch(monitors[i], memory, 4 * page);
		fd = ummu_monitor_fd(monitors[i]);
		REQUIRE(fd >= 0);
	}
	scene_unmap(memory, page);
	expect_readable(fd, SCENE_PATIENCE * 1000);
	for (int i = 0; i < MONITORS; i++) {
		expect_event(monitors[i]);
		expect_quiet(ummu_monitor_fd(monitors[i]));
	}
}

int main(int argc, char **argv)
{
	static const struct scene scenes[] = {
		{ "first_asked_while_reader_runs",
		  first_asked_while_reader_runs },
		{ "first_asked_when_events_wait", first_asked_when_events_wait },
		{ "asked_before_the_reader_ended",
		  asked_before_the_reader_ended },
		{ "last_of_many", last_of_many },
	};

	return scenes_play(scenes, sizeof(scenes) / sizeof(scenes[0]), argc,
			   argv);
}
