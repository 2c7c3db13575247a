/* SPDX-License-Identifier: MIT */
/* hundred-thousand-watches.c - more live watches than the kernel has mappings. */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/mappings.h"
#include "run.h"
#include "witness.h"

#define WATCHES ((size_t)100000)
#define GUARDED ((size_t)3000)
#define CROWDED ((size_t)300)

static size_t page;

static char *reserve(size_t bytes, int protection)
{
	char *memory = mmap(NULL, bytes, protection,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_ptr_not_equal(memory, MAP_FAILED);
	return memory;
}

static struct ummu_monitor *open_monitor(void)
{
	struct ummu_monitor *monitor = NULL;

	if (ummu_monitor_open(NULL, &monitor))
		fail_msg("%s", ummu_monitor_explain());
	return monitor;
}

static struct ummu_monitor_stats stats_of(const struct ummu_monitor *monitor)
{
	struct ummu_monitor_stats stats = { .size = sizeof(stats) };

	assert_int_equal(ummu_monitor_stats(monitor, &stats), 0);
	return stats;
}

/* Watches @count pages, two pages apart, the cookie being the number. */
static struct ummu_watch **watch_pages(struct ummu_monitor *monitor,
				       const char *memory, size_t count)
{
	struct ummu_watch **watches = calloc(count, sizeof(*watches));
	double begin = run_seconds();

	assert_non_null(watches);
	for (size_t i = 0; i < count; i++)
		if (ummu_monitor_watch(monitor, memory + 2 * i * page, page, i,
				       &watches[i]))
			fail_msg("watch %zu: %s", i, ummu_monitor_explain());
	print_message("%zu watches: %.2f us each, %ld mappings of %ld, %llu registered\n",
		      count, (run_seconds() - begin) * 1e6 / (double)count,
		      ummu_mappings_count(), ummu_mappings_limit(),
		      (unsigned long long)stats_of(monitor).registered);
	assert_in_range(ummu_mappings_count(), 1, ummu_mappings_limit() - 1);
	return watches;
}

static size_t count_valid(struct ummu_watch **watches, size_t count)
{
	size_t valid = 0;

	for (size_t i = 0; i < count; i++)
		valid += ummu_watch_valid(watches[i]);
	return valid;
}

/* Each cookie once, and no more than that. */
static void expect_all_events(struct ummu_monitor *monitor, size_t count)
{
	bool *seen = calloc(count, sizeof(*seen));
	struct ummu_event events[64];
	size_t total = 0;
	int got;

	assert_non_null(seen);
	while ((got = ummu_monitor_read(monitor, events, 64)) > 0)
		for (int i = 0; i < got; i++, total++) {
			assert_true(events[i].cookie < count);
			assert_false(seen[events[i].cookie]);
			seen[events[i].cookie] = true;
			assert_int_equal(events[i].hint_end -
						 events[i].hint_start,
					 page);
		}
	assert_int_equal(got, 0);
	assert_int_equal(total, count);
	free(seen);
}

static void unwatch_pages(struct ummu_monitor *monitor,
			  struct ummu_watch **watches, size_t count)
{
	double begin = run_seconds();

	for (size_t i = 0; i < count; i++)
		ummu_monitor_unwatch(monitor, watches[i]);
	free(watches);
	print_message("unwatch: %.2f us each\n",
		      (run_seconds() - begin) * 1e6 / (double)count);
	assert_int_equal(stats_of(monitor).watches, 0);
}

static void all_are_told(void **state)
{
	size_t count = RUN_TSAN || RUN_ASAN ? WATCHES / 2 : WATCHES;
	struct ummu_monitor *monitor = open_monitor();
	char *memory = reserve(2 * count * page, PROT_READ | PROT_WRITE);
	struct ummu_watch **watches = watch_pages(monitor, memory, count);
	double begin;

	(void)state;
	assert_int_equal(count_valid(watches, count), count);
	/* What lies between them is not watched. */
	for (size_t i = 0; i < count; i += 1000)
		madvise(memory + (2 * i + 1) * page, page, MADV_DONTNEED);
	assert_int_equal(count_valid(watches, count), count);

	begin = run_seconds();
	munmap(memory, 2 * count * page);
	print_message("munmap of all: %.1f ms\n", (run_seconds() - begin) * 1e3);
	assert_int_equal(count_valid(watches, count), 0);
	expect_all_events(monitor, count);
	unwatch_pages(monitor, watches, count);
	ummu_monitor_close(monitor);
}

/* Closing ends them while they live, and the mappings heal. */
static void closed_while_alive(void **state)
{
	size_t count = WATCHES / 5;
	struct ummu_monitor *monitor = open_monitor();
	char *memory = reserve(2 * count * page, PROT_READ | PROT_WRITE);
	long before = ummu_mappings_count();
	struct ummu_watch **watches = watch_pages(monitor, memory, count);
	double begin = run_seconds();

	(void)state;
	ummu_monitor_close(monitor);
	print_message("close: %.1f ms; %ld mappings before, %ld after\n",
		      (run_seconds() - begin) * 1e3, before,
		      ummu_mappings_count());
	assert_true(ummu_mappings_count() < before + 100);
	free(watches);
	munmap(memory, 2 * count * page);
}

/* @count pages for use with guard pages between: two mappings each. */
static char *guarded_pages(size_t count)
{
	char *memory = reserve(2 * count * page, PROT_NONE);

	for (size_t i = 0; i < count; i++)
		assert_int_equal(mprotect(memory + 2 * i * page, page,
					  PROT_READ | PROT_WRITE),
				 0);
	return memory;
}

/* Pages each of which is a mapping of its own. */
static void guards_between(void **state)
{
	struct ummu_monitor *monitor = open_monitor();
	char *memory = guarded_pages(GUARDED);
	struct ummu_watch **watches = watch_pages(monitor, memory, GUARDED);

	(void)state;
	assert_int_equal(count_valid(watches, GUARDED), GUARDED);
	munmap(memory, 2 * page);
	assert_int_equal(count_valid(watches, GUARDED), GUARDED - 1);
	munmap(memory, 2 * GUARDED * page);
	assert_int_equal(count_valid(watches, GUARDED), 0);
	expect_all_events(monitor, GUARDED);
	unwatch_pages(monitor, watches, GUARDED);
	ummu_monitor_close(monitor);
}

/* The program itself has more than half of the mappings there may be. */
static void little_room(void **state)
{
	size_t crowd = (size_t)ummu_mappings_limit() * 6 / 10 / 2;
	struct ummu_monitor *monitor = open_monitor();
	char *filler = guarded_pages(crowd);
	char *memory = reserve(2 * CROWDED * page, PROT_READ | PROT_WRITE);
	long before = ummu_mappings_count();
	struct ummu_watch **watches, **others;

	(void)state;
	watches = watch_pages(monitor, memory, CROWDED);
	/* A watch splits no mapping, and the module needs none for it. */
	if (witness_on(monitor, "uffd"))
		assert_int_equal(stats_of(monitor).registered, 1);
	assert_true(ummu_mappings_count() < before + (long)CROWDED / 3);
	/* And among the crowd itself. */
	others = watch_pages(monitor, filler, CROWDED);
	munmap(filler, 2 * crowd * page);
	munmap(memory, 2 * CROWDED * page);
	assert_int_equal(count_valid(watches, CROWDED), 0);
	assert_int_equal(count_valid(others, CROWDED), 0);
	ummu_monitor_close(monitor);
	free(watches);
	free(others);
}

/* As many mappings as there may be, though the library counted on some more. */
static void no_room_at_all(void **state)
{
	size_t crowd = (size_t)(ummu_mappings_limit() - ummu_mappings_count()) /
			       2 -
		       5;
	struct ummu_monitor *monitor = open_monitor();
	char *memory = reserve(64 * page, PROT_READ | PROT_WRITE);
	char *filler = guarded_pages(crowd);
	struct ummu_watch **watches = watch_pages(monitor, memory, 32);

	(void)state;
	assert_int_equal(count_valid(watches, 32), 32);
	munmap(memory, 64 * page);
	assert_int_equal(count_valid(watches, 32), 0);
	expect_all_events(monitor, 32);
	munmap(filler, 2 * crowd * page);
	unwatch_pages(monitor, watches, 32);
	ummu_monitor_close(monitor);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(little_room), /* first: it starts counting */
		cmocka_unit_test(all_are_told),
		cmocka_unit_test(closed_while_alive),
		cmocka_unit_test(guards_between),
		cmocka_unit_test(no_room_at_all),
	};

	run_limit(500);
	witness_need_monitor();
	page = (size_t)sysconf(_SC_PAGESIZE);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
