/* SPDX-License-Identifier: MIT */
/* abi-2010-regions.c - which regions are hit by what, and what the hint says. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "expect-2010.h"
#include "tests/run.h"

static void overlapping_and_equal_ranges(void **state)
{
	/* In pages of the memory; the last two are not hit. */
	static const struct {
		unsigned int first, end, hint_first, hint_end;
	} ranges[] = {
		{ 2, 4, 2, 4 }, { 2, 4, 2, 4 }, { 0, 8, 2, 4 }, { 3, 4, 3, 4 },
		{ 1, 3, 2, 3 }, { 3, 8, 3, 4 }, { 0, 2, 0, 0 }, { 4, 8, 0, 0 },
	};
	const int count = 8, hit = 6;
	struct ummunotify_event events[9];
	char *memory = device_pages(8);
	unsigned int seen = 0;
	int fd = expect_fd(state);

	for (int i = 0; i < count; i++)
		expect_registered(fd, memory + ranges[i].first * page,
				  (ranges[i].end - ranges[i].first) * page,
				  100 + (uint64_t)i);
	munmap(memory + 2 * page, 2 * page);
	assert_int_equal(device_read(fd, events, 9), hit + 1);
	for (int i = 0; i < hit; i++) {
		uint64_t which = events[i].user_cookie_counter - 100;

		assert_true(which < (uint64_t)hit);
		expect_inval(&events[i], 100 + which,
			     memory + ranges[which].hint_first * page,
			     memory + ranges[which].hint_end * page, true);
		seen |= 1U << which;
	}
	assert_int_equal(seen, 0x3f);
	/* One invalidation, however many it hit. */
	expect_last(&events[hit], 1);
	expect_nothing(fd);
	munmap(memory, 8 * page);
}

static void never_hit(void **state)
{
	char *memory = device_pages(4);
	uint64_t at = (uintptr_t)memory;
	const struct {
		uint64_t start, end;
	} ranges[] = {
		{ 0, 0 },
		{ at + page, at + page },
		{ at + page + 5, at + page + 5 },
		{ at + 2 * page, at + page },
		{ at + 4 * page, at },
		{ at + page, 0 },
		{ ~0ULL, 0 },
		{ ~0ULL, ~0ULL },
		{ ~0ULL - 1, ~0ULL },
		{ 1ULL << 47, 1ULL << 48 },
		{ 1ULL << 63, ~0ULL },
		{ 0xffffffff80000000, 0xffffffff90000000 },
		{ at + 4 * page, at + 5 * page },
		{ at - page, at },
	};
	const uint64_t count = sizeof(ranges) / sizeof(ranges[0]);
	int fd = expect_fd(state);

	for (uint64_t i = 0; i < count; i++)
		assert_int_equal(device_register_range(fd, ranges[i].start,
						       ranges[i].end, i),
				 0);
	madvise(memory, 4 * page, MADV_DONTNEED);
	munmap(memory, 4 * page);
	expect_nothing(fd);
	for (uint64_t i = 0; i < count; i++)
		assert_int_equal(device_unregister(fd, i), 0);
	expect_nothing(fd);
}

/* All there is, also with an end that no mapping reaches. */
static void everything(void **state)
{
	static const uint64_t ends[] = { ~0ULL, 1ULL << 63, 1ULL << 47 };
	int fd = expect_fd(state);

	for (uint64_t i = 0; i < 3; i++) {
		char *memory = device_pages(2);

		assert_int_equal(device_register_range(fd, 0, ends[i], i), 0);
		munmap(memory, 2 * page);
		expect_hit(fd, i, memory, memory + 2 * page, i + 1);
		assert_int_equal(device_unregister(fd, i), 0);
	}
}

/* The bytes of a region, of those the ones that are hit: never none. */
static void ranges_of_any_bytes(void **state)
{
	/* From the middle page of three, and which of them is unmapped. */
	static const struct {
		long start, end, page;
		long hint_start, hint_end; /* none: not hit */
	} ranges[] = {
		{ 100, 200, 1, 100, 200 },
		{ 0, 1, 1, 0, 1 },
		{ 4095, 4096, 1, 4095, 4096 },
		{ -1, 4097, 1, 0, 4096 },
		{ -1, 4097, 0, -1, 0 },
		{ -1, 4097, 2, 4096, 4097 },
		{ 4000, 4100, 1, 4000, 4096 },
		{ 4000, 4100, 2, 4096, 4100 },
		{ 0, 1, 0, 0, 0 },
		{ 4095, 4096, 2, 0, 0 },
		{ 100, 4096, 2, 0, 0 },
		{ 0, 200, 0, 0, 0 },
		{ -4096, 8192, 1, 0, 4096 },
		{ -5000, 9000, 0, -4096, 0 },
	};
	const int count = sizeof(ranges) / sizeof(ranges[0]);
	int fd = expect_fd(state);
	uint64_t counter = 0;

	for (int i = 0; i < count; i++) {
		char *memory = device_pages(3), *middle = memory + page;

		expect_registered(fd, middle + ranges[i].start,
				  (size_t)(ranges[i].end - ranges[i].start), 9);
		munmap(memory + ranges[i].page * (long)page, page);
		if (ranges[i].hint_start == ranges[i].hint_end)
			expect_nothing(fd);
		else
			expect_hit(fd, 9, middle + ranges[i].hint_start,
				   middle + ranges[i].hint_end, ++counter);
		assert_int_equal(device_unregister(fd, 9), 0);
		munmap(memory, 3 * page);
	}
}

static void second_hit_widens(void **state)
{
	struct ummunotify_event events[3];
	char *memory = device_pages(8);
	int fd = expect_fd(state);

	expect_registered(fd, memory + 5, 6 * page, 1);
	munmap(memory + page, page);
	munmap(memory + 3 * page, page);
	assert_int_equal(device_read(fd, events, 3), 2);
	expect_inval(&events[0], 1, memory + 5, memory + 5 + 6 * page, false);
	expect_last(&events[1], 2);
	expect_nothing(fd);

	/* Read, it is as if never hit. */
	munmap(memory + 4 * page, page);
	expect_hit(fd, 1, memory + 4 * page, memory + 5 * page, 3);

	/* The same page twice, and a third time. */
	for (int i = 0; i < 3; i++)
		madvise(memory + 2 * page, page, MADV_DONTNEED);
	assert_int_equal(device_read(fd, events, 3), 2);
	expect_inval(&events[0], 1, memory + 5, memory + 5 + 6 * page, false);
	expect_last(&events[1], 6);
	munmap(memory, 8 * page);
}

static void stays_armed(void **state)
{
	char *memory = device_pages(2);
	int fd = expect_fd(state);

	expect_registered(fd, memory, 2 * page, 77);
	for (uint64_t i = 1; i <= 20; i++) {
		munmap(memory, 2 * page);
		expect_hit(fd, 77, memory, memory + 2 * page, i);
		/* Nothing is there; nothing happens to it. */
		munmap(memory, 2 * page);
		expect_nothing(fd);
		assert_ptr_equal(device_pages_at(memory, 2), memory);
		expect_nothing(fd);
	}
	munmap(memory, 2 * page);
}

/* As long as the event is not read, too. */
static void stays_armed_undrained(void **state)
{
	struct ummunotify_event events[3];
	const volatile uint64_t *counter = device_counter(expect_fd(state));
	char *memory = device_pages(1);
	int fd = expect_fd(state);

	assert_non_null(counter);
	expect_registered(fd, memory, page, 77);
	for (uint64_t i = 1; i <= 20; i++) {
		munmap(memory, page);
		assert_int_equal(*counter, i);
		assert_ptr_equal(device_pages_at(memory, 1), memory);
	}
	assert_int_equal(device_read(fd, events, 3), 2);
	expect_inval(&events[0], 77, memory, memory + page, false);
	expect_last(&events[1], 20);
	munmap(memory, page);
}

static void nothing_mapped_yet(void **state)
{
	char *memory = device_pages(1);
	int fd = expect_fd(state);

	munmap(memory, page);
	expect_registered(fd, memory, page, 1);
	expect_nothing(fd);
	assert_ptr_equal(device_pages_at(memory, 1), memory);
	expect_nothing(fd);
	munmap(memory, page);
	expect_hit(fd, 1, memory, memory + page, 1);
}

static void unregister_drops_the_event(void **state)
{
	struct ummunotify_event events[4];
	char *memory = device_pages(3);
	int fd = expect_fd(state);

	for (uint64_t i = 0; i < 3; i++)
		expect_registered(fd, memory + i * page, page, i);
	munmap(memory, 3 * page);
	assert_int_equal(device_unregister(fd, 1), 0);
	assert_int_equal(device_read(fd, events, 4), 3);
	assert_int_equal(events[0].user_cookie_counter +
				 events[1].user_cookie_counter,
			 0 + 2);
	expect_last(&events[2], 1);
	expect_nothing(fd);
}

/*
 * The counter moved, so there is a LAST to read: or a client that compares the
 * two looks for ever.
 */
static void unregister_owes_a_last(void **state)
{
	char *memory = device_pages(2);
	int fd = expect_fd(state);

	expect_registered(fd, memory, page, 0);
	munmap(memory, page);
	assert_int_equal(device_unregister(fd, 0), 0);
	expect_only_last(fd, 1);

	/* Also of the second, and of one that another cookie got. */
	expect_registered(fd, memory + page, page, 0);
	munmap(memory + page, page);
	assert_int_equal(device_unregister(fd, 0), 0);
	expect_registered(fd, memory + page, page, 0);
	expect_only_last(fd, 2);
	assert_int_equal(device_unregister(fd, 0), 0);
	expect_nothing(fd);
}

static void registering_is_no_event(void **state)
{
	const volatile uint64_t *counter = device_counter(expect_fd(state));
	char *memory = device_pages(1);
	int fd = expect_fd(state);

	assert_non_null(counter);
	for (uint64_t i = 0; i < 100; i++) {
		expect_registered(fd, memory, page, i);
		assert_int_equal(*counter, 0);
	}
	for (uint64_t i = 0; i < 100; i++) {
		assert_int_equal(device_unregister(fd, i), 0);
		assert_int_equal(*counter, 0);
	}
	munmap(memory, page);
	assert_int_equal(*counter, 0);
	expect_nothing(fd);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, expect_opened, expect_closed)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(overlapping_and_equal_ranges),
		TEST(never_hit),
		TEST(everything),
		TEST(ranges_of_any_bytes),
		TEST(second_hit_widens),
		TEST(stays_armed),
		TEST(stays_armed_undrained),
		TEST(nothing_mapped_yet),
		TEST(unregister_drops_the_event),
		TEST(unregister_owes_a_last),
		TEST(registering_is_no_event),
	};

	run_limit(600);
	device_need();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
