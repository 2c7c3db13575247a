/* SPDX-License-Identifier: MIT */
/* lifecycle-million.c - a million watches in one process, timed. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "expect-2010.h"
#include "expect-today.h"
#include "tests/run.h"

#define MILLION 1000000
#define BATCH 1000

static struct {
	long per_file, per_process, per_user;
} before;

static int raise_limits(void **state)
{
	(void)state;
	before.per_file = device_parameter("watches_per_file", MILLION);
	before.per_process = device_parameter("watches_per_process", MILLION);
	before.per_user = device_parameter("watches_per_user", MILLION);
	return 0;
}

static int restore_limits(void **state)
{
	(void)state;
	device_parameter("watches_per_file", before.per_file);
	device_parameter("watches_per_process", before.per_process);
	device_parameter("watches_per_user", before.per_user);
	return 0;
}

/* What is never touched costs no memory, and its invalidations are as real. */
static char *addresses(void)
{
	char *memory = mmap(NULL, MILLION * page, PROT_READ,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_ptr_not_equal(memory, MAP_FAILED);
	return memory;
}

static double since;

static void start(void)
{
	since = run_seconds();
}

static void report(const char *what, unsigned int count)
{
	double taken = run_seconds() - since;

	print_message("%-28s %8u %9.1f ms %8.2f us each\n", what, count,
		      taken * 1e3, taken * 1e6 / count);
}

static struct ummunotify_watch watches[MILLION];

static void watch_all(struct today *today, const char *memory)
{
	for (size_t i = 0; i < MILLION; i++) {
		watches[i].start = (uintptr_t)memory + i * page;
		watches[i].end = watches[i].start + page;
		watches[i].flags = 0;
	}
	for (size_t i = 0; i < MILLION; i += BATCH)
		assert_int_equal(today_watches(today, watches + i, BATCH),
				 BATCH);
}

/* All of these are told of once, each as what it is. */
static void read_log(struct today *today, const char *memory,
		     unsigned int expected)
{
	struct ummunotify_log_entry entry;

	start();
	for (unsigned int i = 0; i < expected; i++) {
		struct ummunotify_watch *watch;

		assert_int_equal(today_next(today, &entry), 1);
		watch = &watches[(entry.hint_start - (uintptr_t)memory) / page];
		if (entry.state != watch->state || entry.slot != watch->slot ||
		    entry.hint_end != watch->end)
			fail_msg("event %u is of no watch", i);
		watch->state = 0;
	}
	report("read from the log", expected);
	expect_none_logged(today);
}

static void of_today(void **state)
{
	struct ummunotify_watch extra;
	char *memory = addresses();
	struct today today;
	unsigned int gone;

	(void)state;
	assert_int_equal(today_open(&today, 0, 0), 0);
	assert_int_equal(today.setup.watches, MILLION);
	start();
	watch_all(&today, memory);
	report("watch, in batches", MILLION);
	assert_int_equal(device_statistic("watches"), MILLION);
	assert_int_equal(today_watch(&today, memory, page, &extra), -ENOSPC);

	start();
	for (size_t i = 0; i < 1000; i++)
		madvise(memory + (i * 997 + 3) * page, page, MADV_DONTNEED);
	report("give up a page", 1000);
	assert_int_equal(today_logged(&today), 1000);
	read_log(&today, memory, 1000);
	assert_int_equal(today_drained(&today, today.read), 0);

	/* To split a large mapping is a reason to invalidate 2 MiB of it. */
	start();
	munmap(memory + MILLION / 2 * page, page);
	gone = (unsigned int)(today_logged(&today) - today.read);
	report("unmap one page: hits", gone);
	assert_true(gone >= 1 && gone <= 1024);
	read_log(&today, memory, gone);
	gone += 1000;

	start();
	munmap(memory, MILLION * page);
	report("unmap all of it", MILLION - gone);
	for (size_t i = 0; i < MILLION; i += 1013)
		assert_false(watches[i].state &&
			     today_valid(&today, &watches[i]));
	read_log(&today, memory, MILLION - gone);

	start();
	today_close(&today);
	report("close", MILLION);
	assert_int_equal(device_statistic("watches"), 0);
}

static void end_all_by_name(void **state)
{
	static struct ummunotify_watch_id ids[BATCH];
	char *memory = addresses();
	struct today today;

	(void)state;
	assert_int_equal(today_open(&today, 0, 0), 0);
	watch_all(&today, memory);
	start();
	for (size_t i = 0; i < MILLION; i += BATCH) {
		for (size_t j = 0; j < BATCH; j++)
			ids[j] = (struct ummunotify_watch_id){
				.state = watches[i + j].state,
				.slot = watches[i + j].slot,
			};
		assert_int_equal(today_unwatches(&today, ids, BATCH), BATCH);
	}
	report("unwatch, in batches", MILLION);
	assert_int_equal(device_statistic("watches"), 0);
	munmap(memory, MILLION * page);
	expect_none_logged(&today);
	today_close(&today);
}

static void close_with_all(void **state)
{
	char *memory = addresses();
	struct today today;

	(void)state;
	assert_int_equal(today_open(&today, 0, 0), 0);
	watch_all(&today, memory);
	start();
	today_close(&today);
	report("close with all armed", MILLION);
	assert_int_equal(device_statistic("watches"), 0);
	munmap(memory, MILLION * page);
}

static void of_2010(void **state)
{
	enum { ROOM = 4096 };
	static struct ummunotify_event events[ROOM];
	int fd = expect_fd(state), count;
	unsigned int told = 0;
	char *memory = addresses();
	bool last = false;

	start();
	for (size_t i = 0; i < MILLION; i++)
		expect_registered(fd, memory + i * page, page, i * 7919);
	report("register", MILLION);
	assert_int_equal(device_register(fd, memory, page, 1), -ENOMEM);
	madvise(memory + MILLION / 2 * page, page, MADV_DONTNEED);
	expect_hit(fd, MILLION / 2 * 7919ULL, memory + MILLION / 2 * page,
		   memory + (MILLION / 2 + 1) * page, 1);

	start();
	munmap(memory, MILLION * page);
	report("unmap all of it", MILLION);
	start();
	while (!last) {
		count = device_read(fd, events, ROOM);
		assert_true(count > 0);
		last = events[count - 1].type == UMMUNOTIFY_EVENT_TYPE_LAST;
		told += (unsigned int)(count - last);
	}
	report("read", told);
	assert_int_equal(told, MILLION);
	start();
	for (size_t i = 0; i < MILLION; i++)
		assert_int_equal(device_unregister(fd, i * 7919), 0);
	report("unregister", MILLION);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, expect_opened, expect_closed)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(of_today),
		cmocka_unit_test(end_all_by_name),
		cmocka_unit_test(close_with_all),
		TEST(of_2010),
	};

	run_limit(2000);
	device_need();
	return cmocka_run_group_tests(tests, raise_limits, restore_limits);
}
