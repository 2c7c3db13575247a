/* SPDX-License-Identifier: MIT */
/* abi-limits.c - how many watches a descriptor, a process and a user may have. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "expect-today.h"
#include "tests/child.h"

#define SOMEBODY 4242
#define SOMEBODY_ELSE 4343

/* Not touched, and watched where nothing happens. */
static char *memory;

static struct {
	long per_file, per_process, per_user;
} before;

static int save_limits(void **state)
{
	(void)state;
	before.per_file = device_parameter("watches_per_file", 100);
	before.per_process = device_parameter("watches_per_process", 250);
	before.per_user = device_parameter("watches_per_user", 1000);
	memory = mmap(NULL, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	print_message("%ld a file, %ld a process, %ld a user by default\n",
		      before.per_file, before.per_process, before.per_user);
	return memory == MAP_FAILED;
}

static int restore_limits(void **state)
{
	(void)state;
	device_parameter("watches_per_file", before.per_file);
	device_parameter("watches_per_process", before.per_process);
	device_parameter("watches_per_user", before.per_user);
	munmap(memory, page);
	return 0;
}

/* As many as it gets; the error that ends it. */
static int watch_until_refused(struct today *today, int *error)
{
	struct ummunotify_watch watch;
	int count = 0;

	while (!(*error = today_watch(today, memory, page, &watch)))
		count++;
	return count;
}

static int register_until_refused(int fd, int *error)
{
	int count = 0;

	while (!(*error = device_register(fd, memory, page, (uint64_t)count)))
		count++;
	return count;
}

static void of_a_descriptor(void **state)
{
	struct today granted, asked;
	int error, fd = device_open(0);

	(void)state;
	assert_int_equal(today_open(&granted, 0, 0), 0);
	assert_int_equal(granted.setup.watches, 100);
	assert_int_equal(watch_until_refused(&granted, &error), 100);
	assert_int_equal(error, -ENOSPC);
	today_close(&granted);
	/* What it was set up for. */
	assert_int_equal(today_open(&asked, 0, 7), 0);
	assert_int_equal(watch_until_refused(&asked, &error), 7);
	assert_int_equal(error, -ENOSPC);
	today_close(&asked);
	/* The calls of 2010 know no error but this one. */
	assert_int_equal(register_until_refused(fd, &error), 100);
	assert_int_equal(error, -ENOMEM);
	for (uint64_t i = 40; i < 50; i++)
		assert_int_equal(device_unregister(fd, i), 0);
	for (uint64_t i = 40; i < 50; i++)
		assert_int_equal(device_register(fd, memory, page, i), 0);
	assert_int_equal(device_register(fd, memory, page, 100), -ENOMEM);
	close(fd);
}

/* As many of a batch as there is room for. */
static void of_a_descriptor_in_batches(void **state)
{
	struct ummunotify_watch watches[130];
	struct ummunotify_watch_id ids[130];
	struct today today;

	(void)state;
	assert_int_equal(today_open(&today, 0, 0), 0);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 130; i++)
			watches[i] = (struct ummunotify_watch){
				.start = (uintptr_t)memory,
				.end = (uintptr_t)memory + page,
			};
		assert_int_equal(today_watches(&today, watches, 130), 100);
		assert_int_equal(today_watches(&today, watches + 100, 30),
				 -ENOSPC);
		for (int i = 0; i < 100; i++)
			ids[i] = (struct ummunotify_watch_id){
				.state = watches[i].state,
				.slot = watches[i].slot,
			};
		assert_int_equal(today_unwatches(&today, ids + 90, 10), 10);
		assert_int_equal(today_watches(&today, watches + 100, 30), 10);
		for (int i = 0; i < 10; i++)
			ids[90 + i] = (struct ummunotify_watch_id){
				.state = watches[100 + i].state,
				.slot = watches[100 + i].slot,
			};
		assert_int_equal(today_unwatches(&today, ids, 100), 100);
	}
	today_close(&today);
}

/* A watch that is spent is one still. */
static void spent_ones_count(void **state)
{
	char *hit = device_pages(1);
	struct ummunotify_watch watch, spent;
	struct today today;

	(void)state;
	assert_int_equal(today_open(&today, 0, 1), 0);
	spent = expect_watched(&today, hit, page);
	munmap(hit, page);
	assert_int_equal(today_watch(&today, memory, page, &watch), -ENOSPC);
	assert_int_equal(today_unwatch(&today, &spent), 0);
	assert_int_equal(today_watch(&today, memory, page, &watch), 0);
	today_close(&today);
}

static void of_a_process(void **state)
{
	struct today first, second, third;
	int error, fd = device_open(0);

	(void)state;
	assert_int_equal(today_open(&first, 0, 0), 0);
	assert_int_equal(today_open(&second, 0, 0), 0);
	assert_int_equal(today_open(&third, 0, 0), 0);
	assert_int_equal(watch_until_refused(&first, &error), 100);
	assert_int_equal(watch_until_refused(&second, &error), 100);
	assert_int_equal(watch_until_refused(&third, &error), 50);
	assert_int_equal(error, -ENOSPC);
	assert_int_equal(register_until_refused(fd, &error), 0);
	assert_int_equal(error, -ENOMEM);
	/* Closed, it leaves its room to others. */
	today_close(&first);
	assert_int_equal(register_until_refused(fd, &error), 100);
	close(fd);
	assert_int_equal(watch_until_refused(&third, &error), 50);
	today_close(&third);
	today_close(&second);
}

/* A child that watches as @user, until told to end; how many it got. */
struct user {
	pid_t child;
	int said, tell, count;
};

static void user_run(uid_t user, int say, int told)
{
	struct today todays[3];
	int count = 0, error = 0;
	char end;

	CHILD_REQUIRE(!setgid(user) && !setuid(user));
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 0; i < 3; i++) {
		CHILD_REQUIRE(!today_open(&todays[i], 0, 0));
		count += watch_until_refused(&todays[i], &error);
		CHILD_REQUIRE(error == -ENOSPC);
	}
	CHILD_REQUIRE(write(say, &count, sizeof(count)) == sizeof(count));
	CHILD_REQUIRE(read(told, &end, 1) == 1);
	_exit(0);
}

static void user_start(struct user *user, uid_t id)
{
	int say[2], tell[2];

	assert_int_equal(pipe(say), 0);
	assert_int_equal(pipe(tell), 0);
	user->child = fork();
	if (!user->child)
		user_run(id, say[1], tell[0]);
	close(say[1]);
	close(tell[0]);
	user->said = say[0];
	user->tell = tell[1];
	assert_int_equal(read(user->said, &user->count, sizeof(user->count)),
			 sizeof(user->count));
}

static void user_end(const struct user *user)
{
	assert_int_equal(write(user->tell, "", 1), 1);
	close(user->tell);
	close(user->said);
	expect_child(user->child);
}

static void of_a_user(void **state)
{
	enum { PROCESSES = 6 };
	struct user users[PROCESSES], other;
	int sum = 0;

	(void)state;
	/* 250 a process, until there are 1000. */
	for (int i = 0; i < PROCESSES; i++) {
		user_start(&users[i], SOMEBODY);
		assert_int_equal(users[i].count, i < 4 ? 250 : 0);
		sum += users[i].count;
	}
	print_message("%d processes of a user: %d watches\n", PROCESSES, sum);
	assert_int_equal(sum, 1000);
	/* Which is nothing to another user. */
	user_start(&other, SOMEBODY_ELSE);
	assert_int_equal(other.count, 250);
	user_end(&other);
	/* Nor to this one, when they have ended. */
	user_end(&users[1]);
	user_start(&users[1], SOMEBODY);
	assert_int_equal(users[1].count, 250);
	for (int i = 0; i < PROCESSES; i++)
		user_end(&users[i]);
}

/* One left of a user's limit, in the middle of a batch. */
static void rest_of_a_user(void **state)
{
	pid_t child = fork();

	(void)state;
	if (!child) {
		struct ummunotify_watch watches[50] = { 0 };
		struct today today;

		CHILD_REQUIRE(!setgid(SOMEBODY) && !setuid(SOMEBODY));
		CHILD_REQUIRE(!today_open(&today, 0, 0));
		for (int i = 0; i < 50; i++) {
			watches[i].start = (uintptr_t)memory;
			watches[i].end = (uintptr_t)memory + page;
		}
		CHILD_REQUIRE(today_watches(&today, watches, 50) == 37);
		CHILD_REQUIRE(today_watches(&today, watches, 1) == -ENOSPC);
		_exit(0);
	}
	expect_child(child);
}

static int user_limit_of_37(void **state)
{
	(void)state;
	device_parameter("watches_per_user", 37);
	return 0;
}

static int user_limit_of_1000(void **state)
{
	(void)state;
	device_parameter("watches_per_user", 1000);
	return 0;
}

static void nothing_is_left(void **state)
{
	(void)state;
	assert_int_equal(device_statistic("watches"), 0);
	assert_int_equal(device_statistic("files"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(of_a_descriptor),
		cmocka_unit_test(of_a_descriptor_in_batches),
		cmocka_unit_test(spent_ones_count),
		cmocka_unit_test(of_a_process),
		cmocka_unit_test(of_a_user),
		cmocka_unit_test_setup_teardown(rest_of_a_user, user_limit_of_37,
						user_limit_of_1000),
		cmocka_unit_test(nothing_is_left),
	};

	run_limit(600);
	device_need();
	return cmocka_run_group_tests(tests, save_limits, restore_limits);
}
