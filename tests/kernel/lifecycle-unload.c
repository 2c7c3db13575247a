/* SPDX-License-Identifier: MIT */
/*
 * lifecycle-unload.c - the module stays while it is in use, and goes at any
 * moment after that: also when processes that used it are just dying.
 *
 * UMMU_MODULE is the path of the module, which is loaded when this starts and
 * when it ends.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "expect-2010.h"
#include "expect-today.h"
#include "tests/child.h"

static const char *module;

static void load(void)
{
	int file = open(module, O_RDONLY | O_CLOEXEC);

	assert_true(file >= 0);
	if (syscall(SYS_finit_module, file, "", 0))
		fail_msg("cannot load %s: %s", module, strerror(errno));
	close(file);
}

/* Without waiting; 0 or an errno. */
static int try_to_unload(void)
{
	return syscall(SYS_delete_module, "ummunotify", O_NONBLOCK) ? errno : 0;
}

/* What has ended may take its time: a grace period of the kernel or two. */
static int unload(void)
{
	int tries = 1, error;

	while ((error = try_to_unload()) == EWOULDBLOCK && tries < 100000) {
		tries++;
		usleep(1000);
	}
	assert_int_equal(error, 0);
	return tries;
}

static void reload(void)
{
	int tries = unload();

	print_message("unloaded at try %d\n", tries);
	assert_int_equal(access("/dev/ummunotify", F_OK), -1);
	load();
	assert_int_equal(access("/dev/ummunotify", F_OK), 0);
}

static void unused(void **state)
{
	(void)state;
	for (int i = 0; i < 5; i++)
		reload();
}

static void while_open(void **state)
{
	char *memory = device_pages(1);
	int fd = device_open(O_NONBLOCK);

	(void)state;
	assert_int_equal(try_to_unload(), EWOULDBLOCK);
	expect_registered(fd, memory, page, 1);
	assert_int_equal(try_to_unload(), EWOULDBLOCK);
	munmap(memory, page);
	expect_hit(fd, 1, memory, memory + page, 1);
	close(fd);
	reload();
}

static void while_mapped(void **state)
{
	int fd = device_open(0);
	const volatile uint64_t *counter = device_counter(fd);

	(void)state;
	assert_non_null(counter);
	close(fd);
	assert_int_equal(try_to_unload(), EWOULDBLOCK);
	assert_int_equal(*counter, 0);
	munmap((void *)(uintptr_t)counter, page);
	reload();
}

/* By a child that has it, whose maker is gone. */
static void while_inherited(void **state)
{
	int end[2];
	pid_t child;

	(void)state;
	assert_int_equal(pipe(end), 0);
	child = fork();
	if (!child) {
		struct today today;

		close(end[1]);
		CHILD_REQUIRE(!today_open(&today, 0, 0));
		if (!fork()) {
			char byte;

			CHILD_REQUIRE(read(end[0], &byte, 1) == 0);
			CHILD_REQUIRE(today_generation(&today) == 0);
		}
		_exit(0);
	}
	expect_child(child);
	for (int i = 0; i < 20; i++)
		assert_int_equal(try_to_unload(), EWOULDBLOCK);
	close(end[1]);
	assert_true(wait(NULL) > 0);
	reload();
}

static void while_polled(void **state)
{
	char *memory = device_pages(1);
	int fd = device_open(O_NONBLOCK);
	pid_t child;

	(void)state;
	expect_registered(fd, memory, page, 1);
	child = fork();
	if (!child) {
		fd_set set;

		/* In a system call when it is closed here. */
		FD_ZERO(&set);
		FD_SET(fd, &set);
		_exit(select(fd + 1, &set, NULL, NULL, NULL) == 1 ? 0 : 1);
	}
	usleep(30000);
	munmap(memory, page);
	close(fd);
	expect_child(child);
	reload();
}

/* Watches in both languages, and dies when all the others do. */
static void user_of_the_module(int start)
{
	struct ummunotify_watch watch;
	struct today today;
	char *memory = device_pages(64);
	int fd = device_open(O_NONBLOCK);
	char byte;

	CHILD_REQUIRE(!today_open(&today, 0, 0));
	for (uint64_t i = 0; i < 64; i++) {
		CHILD_REQUIRE(!device_register(fd, memory + i * page, page, i));
		CHILD_REQUIRE(
			!today_watch(&today, memory + i * page, page, &watch));
	}
	munmap(memory, 32 * page);
	CHILD_REQUIRE(read(start, &byte, 1) == 0);
	_exit(0);
}

static void while_users_die(void **state)
{
	enum { ROUNDS = 20, USERS = 8 };
	int most = 0;

	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		pid_t users[USERS];
		int start[2], tries;

		assert_int_equal(pipe(start), 0);
		for (int i = 0; i < USERS; i++) {
			users[i] = fork();
			if (!users[i]) {
				close(start[1]);
				user_of_the_module(start[0]);
			}
		}
		while (device_statistic("files") < 2L * USERS)
			usleep(1000);
		assert_int_equal(try_to_unload(), EWOULDBLOCK);
		close(start[1]);
		/* From here on they end, and nobody waits for that. */
		for (tries = 1; try_to_unload(); tries++)
			assert_true(tries < 1000000);
		load();
		if (tries > most)
			most = tries;
		for (int i = 0; i < USERS; i++)
			expect_child(users[i]);
		close(start[0]);
	}
	print_message("%d times, at the latest at try %d\n", ROUNDS, most);
}

/* Opens and closes it, until it is not there; with pauses of its own. */
static void open_until_gone(unsigned int pause)
{
	for (;;) {
		int fd = device_open(0);

		/* Of a module that is going: no such device. */
		if (fd < 0)
			_exit(fd == -ENOENT || fd == -ENODEV || fd == -ENXIO ?
				      0 :
				      1);
		close(fd);
		usleep(pause);
	}
}

static void while_others_open(void **state)
{
	enum { ROUNDS = 10, USERS = 2 };

	(void)state;
	for (unsigned int round = 0; round < ROUNDS; round++) {
		pid_t users[USERS];

		for (unsigned int i = 0; i < USERS; i++) {
			users[i] = fork();
			if (!users[i])
				open_until_gone(50000 + 7000 * i + round);
		}
		usleep(60000);
		/* In a pause of all of them: else it is in use. */
		unload();
		for (unsigned int i = 0; i < USERS; i++)
			expect_child(users[i]);
		load();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unused),
		cmocka_unit_test(while_open),
		cmocka_unit_test(while_mapped),
		cmocka_unit_test(while_inherited),
		cmocka_unit_test(while_polled),
		cmocka_unit_test(while_users_die),
		cmocka_unit_test(while_others_open),
	};

	run_limit(900);
	device_need();
	module = getenv("UMMU_MODULE");
	if (!module || access(module, R_OK)) {
		printf("skipped: UMMU_MODULE names no module\n");
		return 77;
	}
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
