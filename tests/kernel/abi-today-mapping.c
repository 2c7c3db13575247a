/* SPDX-License-Identifier: MIT */
/* abi-today-mapping.c - the shared pages: who sees what of them, and when. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "expect-today.h"
#include "tests/child.h"

static sigjmp_buf after_error;

static void on_bus_error(int number)
{
	(void)number;
	siglongjmp(after_error, 1);
}

/* Is it one to read this byte? */
static bool is_bus_error(const volatile void *address)
{
	struct sigaction action = { .sa_handler = on_bus_error }, before;
	volatile bool error = true;

	sigaction(SIGBUS, &action, &before);
	if (!sigsetjmp(after_error, 1)) {
		(void)*(const volatile char *)address;
		error = false;
	}
	sigaction(SIGBUS, &before, NULL);
	return error;
}

static int map_errno(int fd, uint64_t length, int protection, int flags,
		     uint64_t offset)
{
	void *map = mmap(NULL, length, protection, flags, fd, (off_t)offset);

	if (map == MAP_FAILED)
		return errno;
	munmap(map, length);
	return 0;
}

static void which_mappings(void **state)
{
	const struct today *today = *state;
	uint64_t length = today->setup.map_length;
	int fd = today->fd;

	assert_int_equal(map_errno(fd, length, PROT_READ, MAP_SHARED, 0), 0);
	assert_int_equal(map_errno(fd, 8, PROT_READ, MAP_SHARED, 0), 0);
	assert_int_equal(map_errno(fd, page, PROT_READ, MAP_SHARED,
				   length - page),
			 0);
	assert_int_equal(map_errno(fd, length + 1, PROT_READ, MAP_SHARED, 0),
			 EINVAL);
	assert_int_equal(map_errno(fd, length, PROT_READ, MAP_SHARED, page),
			 EINVAL);
	assert_int_equal(map_errno(fd, page, PROT_READ, MAP_SHARED, length),
			 EINVAL);
	assert_int_equal(map_errno(fd, page, PROT_READ, MAP_SHARED, 1UL << 45),
			 EINVAL);
	assert_int_equal(map_errno(fd, length, PROT_READ, MAP_PRIVATE, 0),
			 EINVAL);
	assert_int_equal(map_errno(fd, length, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE, 0),
			 EINVAL);
	assert_int_equal(map_errno(fd, length, PROT_READ | PROT_WRITE,
				   MAP_SHARED, 0),
			 EACCES);
}

static void never_writable(void **state)
{
	const struct today *today = *state;
	void *map = (void *)(uintptr_t)today->map;
	uint64_t number = 42;
	int file;

	assert_int_equal(mprotect(map, page, PROT_READ | PROT_WRITE), -1);
	assert_int_equal(errno, EACCES);
	assert_ptr_equal(mremap(map, page, 2 * page, MREMAP_MAYMOVE),
			 MAP_FAILED);
	file = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(file, &number, 8, (off_t)(uintptr_t)map), -1);
	close(file);
	assert_int_equal(today_generation(today), 1);
	assert_int_equal(today_logged(today), 0);
}

/* By a debugger, say. */
static void not_to_be_reached_from_outside(void **state)
{
	const struct today *today = *state;
	uint64_t number = 42;
	struct iovec local = { &number, 8 };
	struct iovec remote = { (void *)(uintptr_t)today->map, 8 };

	assert_int_equal(process_vm_readv(getpid(), &local, 1, &remote, 1, 0),
			 -1);
	assert_int_equal(errno, EFAULT);
	assert_int_equal(process_vm_writev(getpid(), &local, 1, &remote, 1, 0),
			 -1);
	assert_int_equal(errno, EFAULT);
	assert_int_equal(today_generation(today), 1);
}

/* Pages are there as soon as a slot that was handed out needs them. */
static void pages_come_with_slots(void **state)
{
	struct today *today = *state;
	const struct ummunotify_setup *setup = &today->setup;
	char *memory = device_pages(1);
	struct ummunotify_watch watch;

	assert_false(is_bus_error(today->map));
	assert_true(is_bus_error(today->map + setup->states_offset));
	assert_true(is_bus_error(today->map + setup->map_length - 1));
	watch = expect_watched(today, memory, page);
	assert_false(is_bus_error(today->map + setup->states_offset +
				  8 * watch.slot));
	assert_false(is_bus_error(today->map + setup->log_offset));
	assert_true(is_bus_error(today->map + setup->map_length - 1));
	munmap(memory, page);
	expect_logged(today, &watch, memory, memory + page);
}

static void parts_of_it(void **state)
{
	struct today *today = *state;
	const struct ummunotify_setup *setup = &today->setup;
	char *memory = device_pages(1);
	struct ummunotify_watch watch = expect_watched(today, memory, page);
	const volatile uint64_t *states = mmap(NULL, page, PROT_READ,
					       MAP_SHARED, today->fd,
					       (off_t)setup->states_offset);
	const volatile struct ummunotify_log_entry
		*log = mmap(NULL, page, PROT_READ, MAP_SHARED, today->fd,
			    (off_t)setup->log_offset);
	const volatile struct ummunotify_shared *shared = mmap(NULL,
							       sizeof(*shared),
							       PROT_READ,
							       MAP_SHARED,
							       today->fd, 0);

	assert_int_equal(states[watch.slot], watch.state);
	munmap(memory, page);
	assert_int_equal(states[watch.slot], 0);
	assert_int_equal(log[0].state, watch.state);
	assert_int_equal(log[0].slot, watch.slot);
	assert_int_equal(shared->logged, 1);
	assert_true(shared->generation > 1);
	munmap((void *)(uintptr_t)states, page);
	munmap((void *)(uintptr_t)log, page);
	munmap((void *)(uintptr_t)shared, page);
}

static void slot_0_is_never_given_out(void **state)
{
	struct today *today = *state;
	char *memory = device_pages(1);

	for (int i = 0; i < 2000; i++)
		assert_true(expect_watched(today, memory, page).slot > 0);
	munmap(memory, page);
}

/* The child of fork: no watch is valid, no page a fault, no call allowed. */
static int child_sees_nothing(struct today *today,
			      const struct ummunotify_watch *watch)
{
	const volatile uint64_t *words = (const volatile void *)today->map;
	struct ummunotify_watch another, mine = *watch;
	struct ummunotify_setup setup = { 0 };

	CHILD_REQUIRE(!today_valid(today, watch));
	CHILD_REQUIRE(today_generation(today) == 0);
	CHILD_REQUIRE(today_logged(today) == 0);
	for (uint64_t at = 0; at < today->setup.map_length; at += page)
		CHILD_REQUIRE(words[at / 8] == 0);
	CHILD_REQUIRE(today_watch(today, words, page, &another) == -EIO);
	CHILD_REQUIRE(today_unwatch(today, watch) == -EIO);
	CHILD_REQUIRE(today_rearm(today, &mine) == -EIO);
	CHILD_REQUIRE(today_drained(today, 0) == -EIO);
	CHILD_REQUIRE(today_setup(today->fd, &setup) == -EIO);
	CHILD_REQUIRE(map_errno(today->fd, page, PROT_READ, MAP_SHARED, 0) ==
		      EIO);
	CHILD_REQUIRE(read(today->fd, &setup, sizeof(setup)) < 0 &&
		      errno == EIO);
	return 0;
}

static void in_a_child_made_by(pid_t (*make)(void), struct today *today)
{
	char *memory = device_pages(2);
	struct ummunotify_watch watch = expect_watched(today, memory, page);
	uint64_t generation = today_generation(today);
	pid_t child = make();

	if (!child) {
		pid_t grandchild;
		int status;

		if (child_sees_nothing(today, &watch))
			_exit(1);
		grandchild = raw_clone();
		if (!grandchild)
			_exit(child_sees_nothing(today, &watch));
		CHILD_REQUIRE(waitpid(grandchild, &status, 0) == grandchild);
		CHILD_REQUIRE(status == 0);
		/* Its memory is its own. */
		munmap(memory, 2 * page);
		munmap((void *)(uintptr_t)today->map, page);
		_exit(0);
	}
	expect_child(child);
	assert_true(today_valid(today, &watch));
	assert_int_equal(today_generation(today), generation);
	munmap(memory, 2 * page);
	expect_logged(today, &watch, memory, memory + page);
}

static void in_a_child_of_fork(void **state)
{
	in_a_child_made_by(plain_fork, *state);
}

static void in_a_child_without_handlers(void **state)
{
	in_a_child_made_by(raw_clone, *state);
}

/* What was never looked at before the fork, and what was looked at. */
static void child_of_a_mapping_not_touched(void **state)
{
	struct today *today = *state;
	const volatile struct ummunotify_shared *shared;
	pid_t child;

	shared = mmap(NULL, page, PROT_READ, MAP_SHARED, today->fd, 0);
	child = fork();
	if (!child) {
		CHILD_REQUIRE(shared->generation == 0);
		_exit(0);
	}
	expect_child(child);
	assert_int_equal(shared->generation, 1);
	munmap((void *)(uintptr_t)shared, page);
}

#define TEST(name)                                                 \
	cmocka_unit_test_setup_teardown(name, expect_today_opened, \
					expect_today_closed)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(which_mappings),
		TEST(never_writable),
		TEST(not_to_be_reached_from_outside),
		TEST(pages_come_with_slots),
		TEST(parts_of_it),
		TEST(slot_0_is_never_given_out),
		TEST(in_a_child_of_fork),
		TEST(in_a_child_without_handlers),
		TEST(child_of_a_mapping_not_touched),
	};

	run_limit(600);
	device_need();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
