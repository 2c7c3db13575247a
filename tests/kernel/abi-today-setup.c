/* SPDX-License-Identifier: MIT */
/* abi-today-setup.c - the set-up of a descriptor, field by field. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "expect-2010.h"
#include "today.h"
#include "tests/run.h"

static const struct ummunotify_setup plain = {
	.size = sizeof(struct ummunotify_setup),
	.magic = UMMUNOTIFY_SETUP_MAGIC,
};

static int call(int fd, unsigned long number, void *argument)
{
	return ioctl(fd, number, argument) < 0 ? -errno : 0;
}

static int set_up(int fd, struct ummunotify_setup setup)
{
	return call(fd, UMMUNOTIFY_SETUP, &setup);
}

static void wrong_fields(void **state)
{
	static const struct ummunotify_setup wrong[] = {
		{ .size = 0, .magic = UMMUNOTIFY_SETUP_MAGIC },
		{ .size = 8, .magic = UMMUNOTIFY_SETUP_MAGIC },
		{ .size = 55, .magic = UMMUNOTIFY_SETUP_MAGIC },
		{ .size = ~0U, .magic = UMMUNOTIFY_SETUP_MAGIC },
		{ .size = 56, .magic = 0 },
		{ .size = 56, .magic = UMMUNOTIFY_SETUP_MAGIC + 1 },
		{ .size = 56, .magic = UMMUNOTIFY_SETUP_MAGIC, .flags = 1 },
		{ .size = 56,
		  .magic = UMMUNOTIFY_SETUP_MAGIC,
		  .flags = 1ULL << 63 },
		{ .size = 56, .magic = UMMUNOTIFY_SETUP_MAGIC, .reserved = 1 },
		/* No class, the one between, the ones behind. */
		{ .size = 56,
		  .magic = UMMUNOTIFY_SETUP_MAGIC,
		  .classes = 1 << 5 },
		{ .size = 56,
		  .magic = UMMUNOTIFY_SETUP_MAGIC,
		  .classes = UMMUNOTIFY_CLASS_ALL | 1 << 8 },
		{ .size = 56,
		  .magic = UMMUNOTIFY_SETUP_MAGIC,
		  .classes = UMMUNOTIFY_CLASS_UNMAP | 1ULL << 32 },
		{ .size = 56,
		  .magic = UMMUNOTIFY_SETUP_MAGIC,
		  .classes = ~0ULL },
	};
	int fd = expect_fd(state);

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		int error = set_up(fd, wrong[i]);

		/* Not the struct's size: told by either. */
		if (wrong[i].size == ~0U && error == -E2BIG)
			continue;
		assert_int_equal(error, -EINVAL);
	}
	/* After all that it was not set up yet. */
	assert_int_equal(set_up(fd, plain), 0);
}

/* A newer program: what it sets beyond our struct must be zeros. */
static void larger_struct(void **state)
{
	struct {
		struct ummunotify_setup setup;
		char more[4096 - sizeof(struct ummunotify_setup)];
	} larger = { .setup = plain };
	int fd = expect_fd(state), other;

	larger.setup.size = sizeof(larger);
	for (size_t at = 0; at < sizeof(larger.more); at += 503) {
		larger.more[at] = 1;
		assert_int_equal(call(fd, UMMUNOTIFY_SETUP, &larger), -E2BIG);
		larger.more[at] = 0;
	}
	larger.more[sizeof(larger.more) - 1] = 1;
	assert_int_equal(call(fd, UMMUNOTIFY_SETUP, &larger), -E2BIG);
	larger.setup.size--;
	assert_int_equal(call(fd, UMMUNOTIFY_SETUP, &larger), 0);
	assert_true(larger.setup.map_length > 0);

	/* Whose number has the larger size in it. */
	other = device_open(0);
	larger.setup = plain;
	assert_int_equal(call(other,
			      _IOWR(UMMUNOTIFY_MAGIC, 4, char[sizeof(larger)]),
			      &larger),
			 0);
	assert_int_equal(call(other, _IOW(UMMUNOTIFY_MAGIC, 4, larger), &larger),
			 -ENOTTY);
	close(other);
}

static void bad_addresses(void **state)
{
	char *memory = device_pages(2), *end = memory + page;
	struct ummunotify_setup *setup;
	int fd = expect_fd(state);

	munmap(end, page);
	assert_int_equal(call(fd, UMMUNOTIFY_SETUP, NULL), -EFAULT);
	assert_int_equal(call(fd, UMMUNOTIFY_SETUP, (void *)0xffff888000000000),
			 -EFAULT);
	setup = (void *)(end - 48);
	setup->size = plain.size;
	setup->magic = plain.magic;
	assert_int_equal(call(fd, UMMUNOTIFY_SETUP, setup), -EFAULT);
	/* The tail that a larger struct has. */
	setup = (void *)(end - sizeof(*setup));
	*setup = plain;
	setup->size += 8;
	assert_int_equal(call(fd, UMMUNOTIFY_SETUP, setup), -EFAULT);
	/* The answer cannot be written: it is as if nothing was called. */
	*setup = plain;
	mprotect(memory, page, PROT_READ);
	assert_int_equal(call(fd, UMMUNOTIFY_SETUP, setup), -EFAULT);
	mprotect(memory, page, PROT_READ | PROT_WRITE);
	assert_int_equal(call(fd, UMMUNOTIFY_SETUP, setup), 0);
	munmap(memory, page);
}

/* And can still be a descriptor of 2010, with its one page. */
static void failed_and_then_2010(void **state)
{
	char *memory = device_pages(1);
	struct ummunotify_setup *setup = (void *)memory;
	int fd = expect_fd(state);
	const volatile uint64_t *counter;

	*setup = plain;
	mprotect(memory, page, PROT_READ);
	assert_int_equal(call(fd, UMMUNOTIFY_SETUP, setup), -EFAULT);
	assert_ptr_equal(mmap(NULL, 2 * page, PROT_READ, MAP_SHARED, fd, 0),
			 MAP_FAILED);
	assert_int_equal(errno, EINVAL);
	counter = device_counter(fd);
	assert_non_null(counter);
	assert_int_equal(*counter, 0);
	expect_registered(fd, memory, page, 1);
	munmap(memory, page);
	expect_hit(fd, 1, memory, memory + page, 1);
}

static int exchange_first(int fd)
{
	uint32_t mask = 0;

	return device_exchange(fd, &mask);
}

static int register_first(int fd)
{
	return device_register(fd, NULL, 0, 0);
}

static int unregister_first(int fd)
{
	return device_unregister(fd, 0) == -EINVAL ? 0 : -1;
}

static int read_first(int fd)
{
	struct ummunotify_event event;

	return device_read(fd, &event, 1) == -EAGAIN ? 0 : -1;
}

static int map_first(int fd)
{
	return device_counter(fd) ? 0 : -1;
}

static void must_be_first(void **state)
{
	static int (*const firsts[])(int) = {
		exchange_first, register_first, unregister_first,
		read_first,	map_first,
	};
	struct ummunotify_event event;
	uint64_t none = 0;

	(void)state;
	for (int i = 0; i < 5; i++) {
		int fd = device_open(O_NONBLOCK);

		assert_int_equal(firsts[i](fd), 0);
		assert_int_equal(set_up(fd, plain), -EINVAL);
		/* Nor is any other call of today good for it. */
		assert_int_equal(call(fd, UMMUNOTIFY_DRAINED, &none), -EINVAL);
		/* It still is of 2010. */
		assert_int_equal(device_read(fd, &event, 1), -EAGAIN);
		close(fd);
	}
}

static void looking_is_no_call(void **state)
{
	struct ummunotify_batch batch = { 0 };
	int fd = expect_fd(state);
	uint64_t none = 0;

	assert_false(device_readable(fd));
	/* Nor is one that was refused for want of a set-up. */
	assert_int_equal(call(fd, UMMUNOTIFY_WATCH, &batch), -EINVAL);
	assert_int_equal(call(fd, UMMUNOTIFY_UNWATCH, &batch), -EINVAL);
	assert_int_equal(call(fd, UMMUNOTIFY_REARM, &batch), -EINVAL);
	assert_int_equal(call(fd, UMMUNOTIFY_DRAINED, &none), -EINVAL);
	assert_int_equal(set_up(fd, plain), 0);
}

static void once(void **state)
{
	int fd = expect_fd(state);

	assert_int_equal(set_up(fd, plain), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(set_up(fd, plain), -EINVAL);
}

static void calls_of_2010_after_it(void **state)
{
	struct ummunotify_event event;
	int fd = expect_fd(state);
	uint32_t mask = 0;

	assert_int_equal(set_up(fd, plain), 0);
	assert_int_equal(device_exchange(fd, &mask), -EINVAL);
	assert_int_equal(device_register(fd, NULL, 0, 0), -EINVAL);
	assert_int_equal(device_unregister(fd, 0), -EINVAL);
	assert_int_equal(device_read(fd, &event, 1), -EINVAL);
	assert_int_equal(device_read(fd, &event, 0), -EINVAL);
	assert_false(device_readable(fd));
	assert_int_equal(call(fd, _IO(UMMUNOTIFY_MAGIC, 9), NULL), -ENOTTY);
}

static void check_layout(const struct ummunotify_setup *setup)
{
	uint64_t states_end = setup->states_offset +
			      ((uint64_t)setup->watches + 1) * sizeof(uint64_t);

	print_message("%u watches: %llu KiB, states at %llu, log at %llu\n",
		      setup->watches,
		      (unsigned long long)setup->map_length / 1024,
		      (unsigned long long)setup->states_offset,
		      (unsigned long long)setup->log_offset);
	assert_int_equal(setup->map_length % page, 0);
	assert_int_equal(setup->states_offset % page, 0);
	assert_int_equal(setup->log_offset % UMMUNOTIFY_LOG_PAGE, 0);
	assert_true(setup->states_offset >= sizeof(struct ummunotify_shared));
	assert_true(setup->log_offset >= states_end ||
		    setup->states_offset > setup->log_offset);
	assert_true(states_end <= setup->map_length);
	/* Room for an event of each. */
	assert_true((setup->map_length - setup->log_offset) /
			    UMMUNOTIFY_LOG_PAGE * UMMUNOTIFY_LOG_ENTRIES >=
		    setup->watches);
}

static void what_it_answers(void **state)
{
	static const uint32_t wanted[] = { 1, 2, 511, 512, 513, 5000, 131072 };
	static const uint64_t classes[] = {
		UMMUNOTIFY_CLASS_UNMAP,
		UMMUNOTIFY_CLASS_SOFT_DIRTY | UMMUNOTIFY_CLASS_MIGRATE,
		UMMUNOTIFY_CLASS_DEFAULT,
		UMMUNOTIFY_CLASS_ALL,
	};
	long limit = device_parameter("watches_per_file", 131072);

	(void)state;
	device_parameter("watches_per_file", limit);
	for (int i = 0; i < 7; i++) {
		struct ummunotify_setup setup = { .watches = wanted[i],
						  .classes = classes[i % 4] };
		int fd = device_open(0);

		assert_int_equal(today_setup(fd, &setup), 0);
		assert_int_equal(setup.watches, wanted[i]);
		assert_int_equal(setup.classes, classes[i % 4]);
		check_layout(&setup);
		close(fd);
	}
	/* None asked for, and more than there may be: what there may be. */
	for (int i = 0; i < 3; i++) {
		static const uint32_t any[] = { 0, 131073, ~0U };
		struct ummunotify_setup setup = { .watches = any[i] };
		int fd = device_open(0);

		assert_int_equal(today_setup(fd, &setup), 0);
		assert_int_equal(setup.watches, limit);
		assert_int_equal(setup.classes, UMMUNOTIFY_CLASS_DEFAULT);
		check_layout(&setup);
		close(fd);
	}
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, expect_opened, expect_closed)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(wrong_fields),
		TEST(larger_struct),
		TEST(bad_addresses),
		TEST(failed_and_then_2010),
		cmocka_unit_test(must_be_first),
		TEST(looking_is_no_call),
		TEST(once),
		TEST(calls_of_2010_after_it),
		cmocka_unit_test(what_it_answers),
	};

	run_limit(600);
	device_need();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
