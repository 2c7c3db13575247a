/* SPDX-License-Identifier: MIT */
/*
 * numa-hinting.c - that the kernel looks which node uses a page is no event.
 *
 * Needs a machine of two nodes; the page stays on the one where it is used.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "expect-2010.h"
#include "tests/run.h"

#define PAGES 1024

/* A number of the machine's. */
static long statistic(const char *wanted)
{
	FILE *file = fopen("/proc/vmstat", "re");
	char name[64];
	long value, found = -1;

	while (file && found < 0 && fscanf(file, "%63s %ld", name, &value) == 2)
		if (!strcmp(name, wanted))
			found = value;
	if (file)
		fclose(file);
	return found;
}

static bool set_number(const char *path, int value)
{
	FILE *file = fopen(path, "we");

	if (!file)
		return false;
	fprintf(file, "%d\n", value);
	return fclose(file) == 0;
}

static void *wait_for_end(void *end)
{
	char byte;

	return read(*(int *)end, &byte, 1) == 1 ? end : NULL;
}

/* The kernel takes access away for a moment, to see who uses the page. */
static void numa_hinting(void **state)
{
	static const char *const debug = "/sys/kernel/debug/sched/"
					 "numa_balancing/";
	double limit = run_seconds() + 250;
	int fd = expect_fd(state);
	const volatile uint64_t *counter = device_counter(fd);
	char *memory = device_pages(PAGES);
	long before = statistic("numa_hint_faults"), now = before;
	pthread_t thread;
	char path[128];
	int end[2];

	assert_true(before >= 0);
	assert_true(set_number("/proc/sys/kernel/numa_balancing", 1));
	snprintf(path, sizeof(path), "%sscan_delay_ms", debug);
	set_number(path, 1);
	snprintf(path, sizeof(path), "%sscan_period_min_ms", debug);
	set_number(path, 1);
	assert_non_null(counter);
	expect_registered(fd, memory, PAGES * page, 1);
	/* A process of one thread is left alone on its own node. */
	assert_int_equal(pipe(end), 0);
	assert_int_equal(pthread_create(&thread, NULL, wait_for_end, end), 0);
	/* Nearly all that is touched meanwhile is what is watched. */
	while (now < before + PAGES && run_seconds() < limit) {
		for (int i = 0; i < 100000; i++)
			memory[(size_t)(i % PAGES) * page]++;
		now = statistic("numa_hint_faults");
	}
	print_message("%ld faults, of %d pages\n", now - before, PAGES);
	assert_true(now >= before + PAGES);
	assert_int_equal(write(end[1], "", 1), 1);
	pthread_join(thread, NULL);
	assert_int_equal(*counter, 0);
	expect_nothing(fd);
	munmap(memory, PAGES * page);
	expect_hit(fd, 1, memory, memory + PAGES * page, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(numa_hinting, expect_opened,
						expect_closed),
	};

	run_limit(600);
	device_need();
	if (access("/sys/devices/system/node/node1", F_OK)) {
		printf("skipped: a machine of one node\n");
		return 77;
	}
	if (statistic("pgfault") < 0) {
		printf("skipped: a kernel that counts no events of memory\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
