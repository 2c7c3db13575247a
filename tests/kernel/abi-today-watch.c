/* SPDX-License-Identifier: MIT */
/* abi-today-watch.c - watches: what they are told of, their names, their end. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "expect-today.h"
#include "tests/run.h"

static void hit_once(void **state)
{
	struct today *today = *state;
	char *memory = device_pages(2);
	struct ummunotify_watch watch = expect_watched(today, memory, 2 * page);
	uint64_t generation = today_generation(today);

	expect_none_logged(today);
	munmap(memory + page, page);
	assert_int_equal(today_generation(today), generation + 1);
	expect_logged(today, &watch, memory + page, memory + 2 * page);
	/* It is spent: the rest, and what comes there, is no event. */
	munmap(memory, page);
	assert_ptr_equal(device_pages_at(memory, 2), memory);
	munmap(memory, 2 * page);
	assert_int_equal(today_generation(today), generation + 1);
	expect_none_logged(today);
	assert_false(today_valid(today, &watch));
	assert_int_equal(today_unwatch(today, &watch), 0);
}

static void of_any_bytes(void **state)
{
	/* From the middle page of three, which of them is unmapped, the hint. */
	static const struct {
		long start, end, page, hint_start, hint_end;
	} ranges[] = {
		{ 100, 200, 1, 100, 200 },     { 0, 1, 1, 0, 1 },
		{ 4095, 4096, 1, 4095, 4096 }, { -1, 4097, 0, -1, 0 },
		{ -1, 4097, 2, 4096, 4097 },   { 4095, 4096, 2, 0, 0 },
		{ 100, 4096, 0, 0, 0 },	       { -5000, 9000, 1, 0, 4096 },
	};
	struct today *today = *state;

	for (int i = 0; i < 8; i++) {
		char *memory = device_pages(3), *middle = memory + page;
		struct ummunotify_watch watch =
			expect_watched(today, middle + ranges[i].start,
				       (size_t)(ranges[i].end -
						ranges[i].start));

		munmap(memory + ranges[i].page * (long)page, page);
		if (ranges[i].hint_start == ranges[i].hint_end)
			assert_true(today_valid(today, &watch));
		else
			expect_logged(today, &watch,
				      middle + ranges[i].hint_start,
				      middle + ranges[i].hint_end);
		expect_none_logged(today);
		assert_int_equal(today_unwatch(today, &watch), 0);
		munmap(memory, 3 * page);
	}
}

static void bad_ranges(void **state)
{
	static const struct {
		uint64_t start, end;
	} ranges[] = {
		{ 0, 0 },
		{ 4096, 4096 },
		{ 8192, 4096 },
		{ ~0ULL, ~0ULL },
		{ ~0ULL, 0 },
		{ 0, ~0ULL },
		{ 0, 1ULL << 63 },
		{ 4096, 1ULL << 57 },
		{ 0xffff888000000000, 0xffff888000001000 },
	};
	long before = device_statistic("watches");
	struct ummunotify_watch watch;
	struct today *today = *state;

	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		watch = (struct ummunotify_watch){ .start = ranges[i].start,
						   .end = ranges[i].end };
		assert_int_equal(today_watches(today, &watch, 1), -EINVAL);
	}
	for (unsigned int bit = 0; bit < 32; bit += 31) {
		watch = (struct ummunotify_watch){ .start = 4096,
						   .end = 8192,
						   .flags = 1U << bit };
		assert_int_equal(today_watches(today, &watch, 1), -EINVAL);
	}
	assert_int_equal(device_statistic("watches"), before);
	/* Garbage in what is answered only is none. */
	watch = (struct ummunotify_watch){
		.start = 4096,
		.end = 8192,
		.state = ~0ULL,
		.slot = ~0U,
	};
	assert_int_equal(today_watches(today, &watch, 1), 1);
	assert_true(today_valid(today, &watch));
}

/* The names that are none, or none any more. */
static void stale_names(void **state)
{
	struct today *today = *state;
	char *memory = device_pages(1);
	struct ummunotify_watch watch = expect_watched(today, memory, page);
	const struct ummunotify_watch_id wrong[] = {
		{ .state = 0, .slot = watch.slot },
		{ .state = watch.state + 1, .slot = watch.slot },
		{ .state = watch.state - 1, .slot = watch.slot },
		{ .state = watch.state, .slot = watch.slot + 1 },
		{ .state = watch.state, .slot = 0 },
		{ .state = watch.state, .slot = 511 },
		{ .state = watch.state, .slot = 512 },
		{ .state = watch.state, .slot = 131071 },
		{ .state = watch.state, .slot = ~0U },
		{ .state = 0, .slot = 0 },
		{ .state = watch.state, .slot = watch.slot, .reserved = 1 },
	};
	struct ummunotify_watch old;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct ummunotify_watch_id id = wrong[i];

		assert_int_equal(today_unwatches(today, &id, 1), -EINVAL);
		assert_int_equal(today_rearms(today, &id, 1), -EINVAL);
		assert_memory_equal(&id, &wrong[i], sizeof(id));
	}
	assert_true(today_valid(today, &watch));
	assert_int_equal(today_unwatch(today, &watch), 0);
	assert_false(today_valid(today, &watch));
	/* It has ended, also when its slot is another's. */
	assert_int_equal(today_unwatch(today, &watch), -EINVAL);
	assert_int_equal(today_rearm(today, &watch), -EINVAL);
	old = watch;
	watch = expect_watched(today, memory, page);
	assert_int_equal(watch.slot, old.slot);
	assert_int_not_equal(watch.state, old.state);
	assert_int_equal(today_unwatch(today, &old), -EINVAL);
	assert_int_equal(today_rearm(today, &old), -EINVAL);
	assert_true(today_valid(today, &watch));
	munmap(memory, page);
	expect_logged(today, &watch, memory, memory + page);
}

static void rearmed(void **state)
{
	struct today *today = *state;
	char *memory = device_pages(2);
	struct ummunotify_watch watch = expect_watched(today, memory, 2 * page);
	struct ummunotify_watch old;

	for (int i = 0; i < 10; i++) {
		old = watch;
		madvise(memory, page, MADV_DONTNEED);
		expect_logged(today, &watch, memory, memory + page);
		assert_int_equal(today_rearm(today, &watch), 0);
		assert_int_equal(watch.slot, old.slot);
		assert_int_not_equal(watch.state, old.state);
		assert_true(today_valid(today, &watch));
		assert_false(today_valid(today, &old));
		assert_int_equal(today_rearm(today, &old), -EINVAL);
		assert_int_equal(today_unwatch(today, &old), -EINVAL);
		memset(memory, 1, 2 * page);
		expect_none_logged(today);
	}
	/* Of all that it watched, not of what was hit. */
	munmap(memory + page, page);
	expect_logged(today, &watch, memory + page, memory + 2 * page);
	assert_int_equal(today_unwatch(today, &watch), 0);
	assert_int_equal(today_rearm(today, &watch), -EINVAL);
	munmap(memory, page);
	expect_none_logged(today);
}

/* One that is valid is as good as one armed now, whatever its name is. */
static void rearmed_while_valid(void **state)
{
	struct today *today = *state;
	char *memory = device_pages(1);
	struct ummunotify_watch watch = expect_watched(today, memory, page);

	for (int i = 0; i < 3; i++) {
		assert_int_equal(today_rearm(today, &watch), 0);
		assert_true(today_valid(today, &watch));
	}
	expect_none_logged(today);
	munmap(memory, page);
	expect_logged(today, &watch, memory, memory + page);
	expect_none_logged(today);
}

static void same_range_many_times(void **state)
{
	enum { SAME = 700 };
	static struct ummunotify_watch watches[SAME];
	struct ummunotify_log_entry entry;
	struct today *today = *state;
	char *memory = device_pages(1);
	bool seen[SAME] = { false };
	uint64_t generation = today_generation(today);

	for (int i = 0; i < SAME; i++)
		watches[i] = expect_watched(today, memory, page);
	/* Not those that have ended. */
	for (int i = 0; i < SAME; i += 7)
		assert_int_equal(today_unwatch(today, &watches[i]), 0);
	munmap(memory, page);
	while (today_next(today, &entry)) {
		int i = 0;

		while (i < SAME && watches[i].state != entry.state)
			i++;
		assert_true(i < SAME && i % 7 && !seen[i]);
		assert_int_equal(entry.slot, watches[i].slot);
		assert_false(today_valid(today, &watches[i]));
		seen[i] = true;
	}
	assert_int_equal(today->read, SAME - SAME / 7);
	/* It moves with each of them. */
	assert_int_equal(today_generation(today), generation + today->read);
}

static int by_number(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

	return a < b ? -1 : a > b;
}

/* However its slot came by it, a state is one watch's for ever. */
static void states_are_never_used_again(void **state)
{
	enum { ROUNDS = 3000, AT_ONCE = 4 };
	uint64_t *states = calloc(3 * ROUNDS * AT_ONCE, sizeof(*states));
	struct ummunotify_watch watches[AT_ONCE];
	struct today *today = *state;
	char *memory = device_pages(1);
	struct ummunotify_log_entry entry;
	size_t count = 0;
	uint32_t highest = 0;

	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < AT_ONCE; i++) {
			watches[i] = expect_watched(today, memory, page);
			states[count++] = watches[i].state;
			if (watches[i].slot > highest)
				highest = watches[i].slot;
		}
		if (round % 3 == 0) {
			madvise(memory, page, MADV_DONTNEED);
			memset(memory, 1, page);
			while (today_next(today, &entry))
				continue;
		}
		for (int i = 0; i < AT_ONCE; i++) {
			uint64_t before = watches[i].state;

			assert_int_equal(today_rearm(today, &watches[i]), 0);
			if (watches[i].state != before)
				states[count++] = watches[i].state;
			assert_int_equal(today_unwatch(today, &watches[i]), 0);
		}
	}
	print_message("%zu states, the highest slot was %u\n", count, highest);
	assert_true(count > ROUNDS * AT_ONCE && highest < 64);
	qsort(states, count, sizeof(*states), by_number);
	assert_int_not_equal(states[0], 0);
	for (size_t i = 1; i < count; i++)
		assert_true(states[i - 1] < states[i]);
	free(states);
	munmap(memory, page);
}

/* Not by another descriptor either. */
static void states_are_of_one_descriptor(void **state)
{
	enum { ROUNDS = 1000 };
	static uint64_t states[4 * ROUNDS];
	struct today *today = *state, other;
	char *memory = device_pages(1);
	struct ummunotify_watch watches[2];
	size_t count = 0;

	assert_int_equal(today_open(&other, 0, 0), 0);
	for (int round = 0; round < ROUNDS; round++) {
		watches[0] = expect_watched(today, memory, page);
		watches[1] = expect_watched(&other, memory, page);
		states[count++] = watches[0].state;
		states[count++] = watches[1].state;
		madvise(memory, page, MADV_DONTNEED);
		memset(memory, 1, page);
		assert_int_equal(today_rearm(today, &watches[0]), 0);
		assert_int_equal(today_rearm(&other, &watches[1]), 0);
		states[count++] = watches[0].state;
		states[count++] = watches[1].state;
		assert_int_equal(today_unwatch(today, &watches[0]), 0);
		assert_int_equal(today_unwatch(&other, &watches[1]), 0);
		assert_int_equal(today_drained(today, ~0ULL), 0);
		assert_int_equal(today_drained(&other, ~0ULL), 0);
	}
	qsort(states, count, sizeof(*states), by_number);
	for (size_t i = 1; i < count; i++)
		assert_true(states[i - 1] < states[i]);
	today_close(&other);
	munmap(memory, page);
}

/*
 * Somebody closes all descriptors, and a second user of the module gets the
 * number of the first one's.  That one goes on to use it, and its mapping.
 */
static void no_watch_of_who_had_the_number(void **state)
{
	struct today *today = *state, other;
	char *memory = device_pages(1);
	struct ummunotify_watch mine = expect_watched(today, memory, page);
	struct ummunotify_watch theirs;

	assert_int_equal(close(today->fd), 0);
	assert_int_equal(today_open(&other, 0, 0), 0);
	assert_int_equal(other.fd, today->fd);
	theirs = expect_watched(&other, memory, page);
	assert_int_equal(theirs.slot, mine.slot);
	assert_int_equal(today_unwatch(today, &mine), -EINVAL);
	assert_int_equal(today_rearm(today, &mine), -EINVAL);
	assert_true(today_valid(&other, &theirs));
	/* A descriptor that only its mapping keeps still watches. */
	assert_true(today_valid(today, &mine));
	munmap(memory, page);
	assert_false(today_valid(today, &mine));
	assert_false(today_valid(&other, &theirs));
	assert_int_equal(today_unwatch(&other, &theirs), 0);
	munmap((void *)(uintptr_t)other.map, other.setup.map_length);
}

static void only_hits_move_the_generation(void **state)
{
	struct today *today = *state;
	char *memory = device_pages(2);
	uint64_t generation = today_generation(today);
	struct ummunotify_watch watch;

	for (int i = 0; i < 100; i++) {
		watch = expect_watched(today, memory, page);
		assert_int_equal(today_unwatch(today, &watch), 0);
		assert_int_equal(today_drained(today, 0), 0);
	}
	watch = expect_watched(today, memory, page);
	munmap(memory + page, page);
	assert_int_equal(today_generation(today), generation);
	munmap(memory, page);
	assert_int_equal(today_generation(today), generation + 1);
	assert_int_equal(today_unwatch(today, &watch), 0);
	assert_int_equal(today_generation(today), generation + 1);
}

/* An event that was logged stays; its state tells that it is of no watch. */
static void ended_with_its_event_unread(void **state)
{
	struct ummunotify_watch first, second;
	struct today *today = *state;
	char *memory = device_pages(1);

	first = expect_watched(today, memory, page);
	madvise(memory, page, MADV_DONTNEED);
	assert_int_equal(today_unwatch(today, &first), 0);
	memset(memory, 1, page);
	second = expect_watched(today, memory, page);
	assert_int_equal(second.slot, first.slot);
	expect_logged(today, &first, memory, memory + page);
	expect_none_logged(today);
	assert_true(today_valid(today, &second));
	munmap(memory, page);
	expect_logged(today, &second, memory, memory + page);
}

#define TEST(name)                                                 \
	cmocka_unit_test_setup_teardown(name, expect_today_opened, \
					expect_today_closed)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(hit_once),
		TEST(of_any_bytes),
		TEST(bad_ranges),
		TEST(stale_names),
		TEST(rearmed),
		TEST(rearmed_while_valid),
		TEST(same_range_many_times),
		TEST(states_are_never_used_again),
		TEST(states_are_of_one_descriptor),
		TEST(no_watch_of_who_had_the_number),
		TEST(only_hits_move_the_generation),
		TEST(ended_with_its_event_unread),
	};

	run_limit(600);
	device_need();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
