/* SPDX-License-Identifier: MIT */
/* abi-today-log.c - the log: its order, its pages, its end and its going on. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "expect-today.h"
#include "tests/run.h"

/* Pages are hit in turn: memory that stays mapped. */
static void hit(char *memory)
{
	madvise(memory, page, MADV_DONTNEED);
	*memory = 1;
}

static void in_order(void **state)
{
	enum { WATCHES = 50 };
	struct ummunotify_watch watches[WATCHES];
	struct today *today = *state;
	char *memory = device_pages(WATCHES);

	for (size_t i = 0; i < WATCHES; i++)
		watches[i] = expect_watched(today, memory + i * page, page);
	for (size_t i = 0; i < WATCHES; i++)
		hit(memory + i * 7 % WATCHES * page);
	for (size_t i = 0; i < WATCHES; i++) {
		char *at = memory + i * 7 % WATCHES * page;

		expect_logged(today, &watches[i * 7 % WATCHES], at, at + page);
	}
	expect_none_logged(today);
	munmap(memory, WATCHES * page);
}

/* Thousands before one is read: the last entry of a page names the next. */
static void through_many_pages(void **state)
{
	enum { WATCHES = 5000 };
	static struct ummunotify_watch watches[WATCHES];
	struct today *today = *state;
	char *memory = device_pages(WATCHES);

	for (size_t i = 0; i < WATCHES; i++)
		watches[i] = (struct ummunotify_watch){
			.start = (uintptr_t)memory + i * page,
			.end = (uintptr_t)memory + (i + 1) * page,
		};
	assert_int_equal(today_watches(today, watches, WATCHES), WATCHES);
	for (size_t i = 0; i < WATCHES; i += 2)
		hit(memory + i * page);
	munmap(memory, WATCHES * page);
	assert_int_equal(today_logged(today), WATCHES);
	for (size_t i = 0; i < WATCHES; i += 2)
		expect_logged(today, &watches[i], memory + i * page,
			      memory + (i + 1) * page);
	/* One invalidation goes up through the addresses. */
	for (size_t i = 1; i < WATCHES; i += 2)
		expect_logged(today, &watches[i], memory + i * page,
			      memory + (i + 1) * page);
	expect_none_logged(today);
}

/* What was drained is used again: the log of few watches stays small. */
static void pages_go_round(void **state)
{
	enum { ROUNDS = 20000 };
	struct today small;
	struct ummunotify_watch watch;
	struct ummunotify_log_entry entry;
	char *memory = device_pages(1);
	uint64_t moves = 0, last = 0, highest = 0;

	(void)state;
	assert_int_equal(today_open(&small, 0, 10), 0);
	watch = expect_watched(&small, memory, page);
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t at;

		hit(memory);
		assert_int_equal(today_next(&small, &entry), 1);
		assert_int_equal(entry.state, watch.state);
		at = (small.entry - sizeof(entry)) / UMMUNOTIFY_LOG_PAGE;
		assert_true(at >= small.setup.log_offset / UMMUNOTIFY_LOG_PAGE);
		moves += at != last;
		last = at;
		if (at > highest)
			highest = at;
		/* Tells how much was read besides. */
		assert_int_equal(today_rearm(&small, &watch), 0);
	}
	print_message("%d events, %llu times to another page, to %llu\n",
		      ROUNDS, (unsigned long long)moves,
		      (unsigned long long)highest);
	assert_true(moves >= ROUNDS / UMMUNOTIFY_LOG_ENTRIES);
	assert_true(highest < small.setup.map_length / UMMUNOTIFY_LOG_PAGE);
	today_close(&small);
	munmap(memory, page);
}

/* Watches and hits, as long as there is room; nothing is read. */
static uint64_t fill(struct today *today, char *memory,
		     struct ummunotify_watch *watch)
{
	uint64_t logged = today_logged(today);
	int error = today_watch(today, memory, page, watch);

	while (!error) {
		hit(memory);
		assert_int_equal(today_logged(today), ++logged);
		error = today_rearm(today, watch);
		assert_true(logged < 1000000);
	}
	assert_int_equal(error, -EAGAIN);
	return logged;
}

/* What was logged is whole: as many, all with this range, no state twice. */
static void read_all(struct today *today, char *memory, uint64_t logged)
{
	struct ummunotify_log_entry entry;
	uint64_t last = 0;

	while (today_next(today, &entry)) {
		assert_int_equal(entry.hint_start, (uintptr_t)memory);
		assert_int_equal(entry.hint_end, (uintptr_t)memory + page);
		assert_int_not_equal(entry.state, last);
		last = entry.state;
	}
	assert_int_equal(today->read, logged);
}

static void full_until_drained(void **state)
{
	static const uint32_t limits[] = { 1, 10, 600 };

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct today today;
		struct ummunotify_watch watch, another;
		char *memory = device_pages(1);
		uint64_t logged;

		assert_int_equal(today_open(&today, 0, limits[i]), 0);
		for (int round = 0; round < 5; round++) {
			uint64_t before = today.read;

			logged = fill(&today, memory, &watch);
			print_message("%u watches: full after %llu events\n",
				      limits[i],
				      (unsigned long long)(logged - before));
			/* At least what was promised: one for each watch. */
			assert_true(logged - before >= limits[i]);
			for (int again = 0; again < 3; again++)
				assert_int_equal(today_rearm(&today, &watch),
						 -EAGAIN);
			if (limits[i] > 1)
				assert_int_equal(today_watch(&today, memory,
							     page, &another),
						 -EAGAIN);
			assert_int_equal(today_logged(&today), logged);
			assert_int_equal(today_state(&today, watch.slot), 0);
			read_all(&today, memory, logged);

			/* The very call that failed is good, by its @drained. */
			assert_int_equal(today_rearm(&today, &watch), 0);
			hit(memory);
			expect_logged(&today, &watch, memory, memory + page);
			expect_none_logged(&today);
			assert_int_equal(today_unwatch(&today, &watch), 0);
		}
		today_close(&today);
		munmap(memory, page);
	}
}

/* By DRAINED alone; and a part is enough for a part. */
static void room_comes_with_drained(void **state)
{
	struct today today;
	struct ummunotify_watch watch;
	char *memory = device_pages(1);
	uint64_t logged, needed = 0;
	int error = -EAGAIN;

	(void)state;
	assert_int_equal(today_open(&today, 0, 10), 0);
	logged = fill(&today, memory, &watch);
	while (error == -EAGAIN) {
		assert_int_equal(today_drained(&today, ++needed), 0);
		error = today_rearm(&today, &watch);
		assert_true(needed <= logged);
	}
	assert_int_equal(error, 0);
	print_message("%llu logged; room after %llu drained\n",
		      (unsigned long long)logged, (unsigned long long)needed);
	hit(memory);
	read_all(&today, memory, logged + 1);
	today_close(&today);
	munmap(memory, page);
}

/* Every watch has its room: what is armed is never without. */
static void all_at_once_when_nearly_full(void **state)
{
	enum { WATCHES = 500 };
	static struct ummunotify_watch watches[WATCHES];
	struct ummunotify_log_entry entry;
	struct today today;
	char *memory = device_pages(1);
	int error;

	(void)state;
	assert_int_equal(today_open(&today, 0, WATCHES), 0);
	for (int round = 0; round < 4; round++) {
		uint64_t events = 0;
		uint32_t armed = 0;

		for (uint32_t i = 0; i < WATCHES; i++)
			watches[i] = (struct ummunotify_watch){
				.start = (uintptr_t)memory,
				.end = (uintptr_t)memory + page,
			};
		/* Armed and hit again and again, and not read. */
		for (;;) {
			error = today_watches(&today, watches, WATCHES);
			if (error < 0)
				break;
			armed = (uint32_t)error;
			hit(memory);
			events += armed;
			for (uint32_t i = 0; i < armed; i++)
				assert_int_equal(today_unwatch(&today,
							       &watches[i]),
						 0);
		}
		assert_int_equal(error, -EAGAIN);
		assert_true(events >= WATCHES);
		print_message("%llu events, the last batch was of %u\n",
			      (unsigned long long)events, armed);
		for (uint64_t i = 0; i < events; i++)
			assert_int_equal(today_next(&today, &entry), 1);
		expect_none_logged(&today);
		assert_int_equal(today_drained(&today, today.read), 0);
	}
	today_close(&today);
	munmap(memory, page);
}

/* Lower than before: nothing.  Higher than there is: all there is. */
static void what_drained_may_say(void **state)
{
	struct today *today = *state;
	char *memory = device_pages(4);

	for (size_t i = 0; i < 4; i++)
		expect_watched(today, memory + i * page, page);
	hit(memory);
	hit(memory + page);
	assert_true(device_readable(today->fd));
	assert_int_equal(today_drained(today, 1), 0);
	assert_true(device_readable(today->fd));
	assert_int_equal(today_drained(today, 2), 0);
	assert_false(device_readable(today->fd));
	assert_int_equal(today_drained(today, 0), 0);
	assert_int_equal(today_drained(today, 1), 0);
	assert_false(device_readable(today->fd));
	assert_int_equal(today_drained(today, ~0ULL), 0);
	assert_false(device_readable(today->fd));
	hit(memory + 2 * page);
	assert_true(device_readable(today->fd));
	assert_int_equal(today_drained(today, 1ULL << 63), 0);
	assert_false(device_readable(today->fd));
	hit(memory + 3 * page);
	assert_true(device_readable(today->fd));
	assert_int_equal(today_logged(today), 4);
	munmap(memory, 4 * page);
}

#define TEST(name)                                                 \
	cmocka_unit_test_setup_teardown(name, expect_today_opened, \
					expect_today_closed)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(in_order),
		TEST(through_many_pages),
		cmocka_unit_test(pages_go_round),
		cmocka_unit_test(full_until_drained),
		cmocka_unit_test(room_comes_with_drained),
		cmocka_unit_test(all_at_once_when_nearly_full),
		TEST(what_drained_may_say),
	};

	run_limit(600);
	device_need();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
