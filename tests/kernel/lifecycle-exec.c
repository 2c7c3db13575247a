/* SPDX-License-Identifier: MIT */
/*
 * lifecycle-exec.c - a descriptor that is kept over exec: the new program gets
 * an error, and nothing of its memory is touched.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "expect-today.h"
#include "tests/child.h"

static int call(int fd, unsigned long number)
{
	char argument[64] = { 0 };

	return ioctl(fd, number, argument) ? errno : 0;
}

/* The new program: @watched was an address in the old one. */
static int executed(int fd, uint64_t watched)
{
	static const unsigned long calls[] = {
		UMMUNOTIFY_EXCHANGE_FEATURES,
		UMMUNOTIFY_REGISTER_REGION,
		UMMUNOTIFY_UNREGISTER_REGION,
		UMMUNOTIFY_SETUP,
		UMMUNOTIFY_WATCH,
		UMMUNOTIFY_UNWATCH,
		UMMUNOTIFY_REARM,
		UMMUNOTIFY_DRAINED,
	};
	struct pollfd poller = { .fd = fd, .events = POLLIN };
	char buffer[64], *there;

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		CHILD_REQUIRE(call(fd, calls[i]) == EIO);
	CHILD_REQUIRE(read(fd, buffer, sizeof(buffer)) < 0 && errno == EIO);
	CHILD_REQUIRE(mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 0) ==
		      MAP_FAILED);
	CHILD_REQUIRE(errno == EIO);
	CHILD_REQUIRE(poll(&poller, 1, 0) == 1 && poller.revents & POLLHUP);
	/* What was watched ended with the old program. */
	CHILD_REQUIRE(device_await_statistic("watches", 0));
	CHILD_REQUIRE(device_statistic("files") == 1);

	/* Its own memory where the old program's was, and its own device. */
	there = device_pages_at((void *)(uintptr_t)watched, 1);
	munmap(there, page);
	poller.fd = device_open(O_NONBLOCK);
	CHILD_REQUIRE(poller.fd >= 0);
	there = device_pages(1);
	CHILD_REQUIRE(!device_register(poller.fd, there, page, 1));
	munmap(there, page);
	CHILD_REQUIRE(poll(&poller, 1, 0) == 1 && poller.revents == POLLIN);
	return 0;
}

static void execute(int fd, const void *watched)
{
	char number[16], address[32];
	char *const arguments[] = { "lifecycle-exec", number, address, NULL };

	snprintf(number, sizeof(number), "%d", fd);
	snprintf(address, sizeof(address), "%llu",
		 (unsigned long long)(uintptr_t)watched);
	CHILD_REQUIRE(!fcntl(fd, F_SETFD, 0));
	execv("/proc/self/exe", arguments);
	_exit(126);
}

static void kept_2010(void **state)
{
	pid_t child = fork();

	(void)state;
	if (!child) {
		int fd = device_open(O_NONBLOCK);
		char *memory = device_pages(100);

		CHILD_REQUIRE(device_counter(fd));
		for (uint64_t i = 0; i < 100; i++)
			CHILD_REQUIRE(!device_register(fd, memory + i * page,
						       page, i));
		/* One event is pending. */
		munmap(memory, page);
		execute(fd, memory + page);
	}
	expect_child(child);
}

static void kept_today(void **state)
{
	pid_t child = fork();

	(void)state;
	if (!child) {
		struct ummunotify_watch watch;
		struct today today;
		char *memory = device_pages(100);

		CHILD_REQUIRE(!today_open(&today, 0, 0));
		for (size_t i = 0; i < 100; i++)
			CHILD_REQUIRE(!today_watch(&today, memory + i * page,
						   page, &watch));
		munmap(memory, page);
		execute(today.fd, memory + page);
	}
	expect_child(child);
}

/* Of a child of vfork: its parent's address space goes on. */
static void kept_by_a_child_of_vfork(void **state)
{
	char *memory = device_pages(1);
	struct ummunotify_watch watch;
	struct today today;
	pid_t child;

	(void)state;
	assert_int_equal(today_open(&today, 0, 0), 0);
	watch = expect_watched(&today, memory, page);
	child = vfork();
	if (!child) {
		execl("/bin/true", "true", NULL);
		_exit(126);
	}
	expect_child(child);
	assert_true(today_valid(&today, &watch));
	munmap(memory, page);
	expect_logged(&today, &watch, memory, memory + page);
	today_close(&today);
}

/* The usual case: closed by exec, in the middle of everything. */
static void closed_by_exec(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++) {
		pid_t child = fork();

		if (!child) {
			struct ummunotify_watch watch;
			struct today today;
			char *memory = device_pages(4);

			CHILD_REQUIRE(!today_open(&today, 0, 0));
			CHILD_REQUIRE(
				!today_watch(&today, memory, 4 * page, &watch));
			execl("/bin/true", "true", NULL);
			_exit(126);
		}
		expect_child(child);
	}
	assert_true(device_await_statistic("files", 0));
	assert_true(device_await_statistic("spaces", 0));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kept_2010),
		cmocka_unit_test(kept_today),
		cmocka_unit_test(kept_by_a_child_of_vfork),
		cmocka_unit_test(closed_by_exec),
	};

	run_limit(600);
	device_need();
	if (argc == 3)
		return executed(atoi(argv[1]), strtoull(argv[2], NULL, 10));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
