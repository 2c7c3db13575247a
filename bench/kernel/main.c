/* SPDX-License-Identifier: MIT */
/*
 * main.c - runs the kernel benchmark: every row in processes of their own,
 * once in the root memory cgroup and once in a child of it.
 *
 * usage: bench-kernel [WATCHES...]
 *
 * Prints one row a line, in columns that bench/kernel/report.py reads.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define CGROUP "/sys/fs/cgroup/ummunotify-bench"

static const unsigned int default_watches[] = { 0, 1000, 10000, 100000 };

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		bench_fail(path);
	close(fd);
}

static void enter_cgroup(void)
{
	write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	if (mkdir(CGROUP, 0755) && errno != EEXIST)
		bench_fail(CGROUP);
	write_file(CGROUP "/cgroup.procs", "0");
}

static void leave_cgroup(void)
{
	write_file("/sys/fs/cgroup/cgroup.procs", "0");
	if (rmdir(CGROUP))
		bench_fail(CGROUP);
}

/* Until the device is opened, this process has no notifier. */
static void measure(struct bench_world *world)
{
	struct bench_device device;

	bench_world_map(world);
	if (!world->watches)
		bench_floor_rows(world);
	bench_unmap_rows(world);
	bench_open(world, &device);
	bench_unmap_rows(world);
	if (world->watches) {
		bench_watch_rows(world);
		bench_event_rows(world);
		bench_wakeup_row(world);
	}
	bench_floor_rows(world);
}

static void measure_2010(struct bench_world *world)
{
	struct bench_device device;

	bench_world_map(world);
	bench_open_2010(world, &device);
	bench_unmap_rows(world);
	if (!world->watches)
		return;
	bench_watch_rows(world);
	bench_event_rows(world);
	bench_wakeup_row(world);
}

static void in_process(void (*run)(struct bench_world *world),
		       struct bench_world world)
{
	pid_t child = fork();
	int status;

	if (child < 0)
		bench_fail("fork");
	if (!child) {
		run(&world);
		exit(0);
	}
	if (waitpid(child, &status, 0) != child)
		bench_fail("waitpid");
	if (!WIFEXITED(status) || WEXITSTATUS(status)) {
		errno = 0;
		bench_fail("a process ended before its rows were measured");
	}
}

static void measure_all(const char *cgroup, const unsigned int *watches,
			unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		struct bench_world world = {
			.cgroup = cgroup,
			.layout = &bench_dense,
			.watches = watches[i],
		};

		in_process(measure, world);
		in_process(measure_2010, world);
		world.layout = &bench_sparse;
		in_process(measure, world);
	}
}

/* The same addresses in each process and each run. */
static void fix_addresses(char **argv)
{
	int persona = personality(0xffffffff);

	if (persona & ADDR_NO_RANDOMIZE)
		return;
	if (persona < 0 || personality(persona | ADDR_NO_RANDOMIZE) < 0)
		bench_fail("personality");
	execv("/proc/self/exe", argv);
	bench_fail("cannot start again");
}

static unsigned int number_of(const char *text)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	if (*end || end == text || number > 1000000 ||
	    (number && number < BENCH_RANGE)) {
		fprintf(stderr,
			"bench-kernel: %s is no number of watches; 0, or "
			"%d to 1000000\n",
			text, BENCH_RANGE);
		exit(2);
	}
	return (unsigned int)number;
}

int main(int argc, char **argv)
{
	unsigned int given[16], i, count = argc - 1;
	const unsigned int *watches = given;

	if (count > 16)
		count = 16;
	for (i = 0; i < count; i++)
		given[i] = number_of(argv[i + 1]);
	if (!count) {
		watches = default_watches;
		count = sizeof(default_watches) / sizeof(*default_watches);
	}
	fix_addresses(argv);
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	bench_calibrate();
	measure_all("root", watches, count);
	enter_cgroup();
	measure_all("child", watches, count);
	leave_cgroup();
	return 0;
}
