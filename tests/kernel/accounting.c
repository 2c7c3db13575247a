/* SPDX-License-Identifier: MIT */
/*
 * accounting.c - what watches take is charged to the memory cgroup of who
 * watches, which may have none left.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "expect-2010.h"
#include "expect-today.h"
#include "tests/child.h"

#define CGROUPS "/sys/fs/cgroup"
#define MANY 100000
#define LITTLE (4L << 20)

static char group[64];

/* Not touched, and watched where nothing happens. */
static char *memory;

/* A file of the group, for writing. */
static int open_file(const char *file)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", group, file);
	return open(path, O_WRONLY | O_CLOEXEC);
}

static bool put(const char *file, const char *text)
{
	ssize_t length = (ssize_t)strlen(text), written;
	int fd = open_file(file);

	if (fd < 0)
		return false;
	written = write(fd, text, (size_t)length);
	close(fd);
	return written == length;
}

/* The number in a file, of the line with this name if there is one. */
static long get(const char *file, const char *name)
{
	char path[128], line[128];
	size_t length = strlen(name);
	long found = -1;
	FILE *stream;

	snprintf(path, sizeof(path), "%s/%s", group, file);
	stream = fopen(path, "re");
	while (stream && found < 0 && fgets(line, sizeof(line), stream))
		if (!strncmp(line, name, length))
			found = atol(line + length);
	if (stream)
		fclose(stream);
	return found;
}

static bool make_group(void)
{
	strcpy(group, CGROUPS);
	if (!put("cgroup.subtree_control", "+memory"))
		return false;
	snprintf(group, sizeof(group), CGROUPS "/accounting-%d", getpid());
	return !mkdir(group, 0755) && get("memory.current", "") >= 0;
}

static int remove_group(void)
{
	for (int i = 0; i < 5000 && rmdir(group); i++)
		usleep(20000);
	return access(group, F_OK) ? 0 : -1;
}

/* A group of its own for each test. */
static int set_up(void **state)
{
	(void)state;
	return make_group() ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	return remove_group();
}

/*
 * Where there is nothing left the kernel kills who asks for a page or opens a
 * file.  So this process has all of its pages first, and the file open; and says
 * nothing before it has raised the limit again.  LONG_MAX: none.
 */
static bool limit_to(long bytes)
{
	static int fd = -1;
	char text[32];
	int length;

	if (fd < 0) {
		fd = open_file("memory.max");
		if (fd < 0 || mlockall(MCL_CURRENT | MCL_FUTURE))
			return false;
	}
	length = bytes == LONG_MAX ? snprintf(text, sizeof(text), "max") :
				     snprintf(text, sizeof(text), "%ld", bytes);
	return pwrite(fd, text, (size_t)length, 0) == length;
}

/* Room for a little more than there is. */
static bool limit_to_little(void)
{
	/* Opens what it needs first. */
	return limit_to(LONG_MAX) &&
	       limit_to(get("memory.current", "") + LITTLE);
}

/* In a child in the group. */
static void confined(int (*run)(void))
{
	pid_t child = fork();

	if (!child) {
		CHILD_REQUIRE(put("cgroup.procs", "0"));
		_exit(run());
	}
	expect_child(child);
	assert_int_equal(get("memory.events", "oom_kill "), 0);
	assert_int_equal(device_statistic("watches"), 0);
	assert_true(device_await_statistic("files", 0));
}

static long charged(void)
{
	return get("memory.stat", "kernel ");
}

/* What is freed late, and what is charged ahead for each CPU. */
static bool is_back_to(long before)
{
	for (int i = 0; i < 10000; i++) {
		if (charged() - before < 1L << 20)
			return true;
		usleep(10000);
	}
	fprintf(stderr, "charged still: %ld, was %ld\n", charged(), before);
	return false;
}

static bool watch_many(struct today *today, uint32_t count)
{
	static struct ummunotify_watch watches[1000];

	while (count) {
		for (size_t i = 0; i < 1000; i++)
			watches[i] = (struct ummunotify_watch){
				.start = (uintptr_t)memory,
				.end = (uintptr_t)memory + page,
			};
		if (today_watches(today, watches, 1000) != 1000)
			return false;
		count -= 1000;
	}
	return true;
}

static int charge_today(void)
{
	struct today today;
	long before = charged(), pages, grown;

	CHILD_REQUIRE(!today_open(&today, 0, MANY));
	CHILD_REQUIRE(watch_many(&today, MANY));
	grown = charged() - before;
	printf("%d watches: %ld KiB, %ld bytes each\n", MANY, grown >> 10,
	       grown / MANY);
	/* The state words and the log alone, and not without reason more. */
	pages = MANY * (8 + 32);
	CHILD_REQUIRE(grown > pages + MANY * 40);
	CHILD_REQUIRE(grown < pages * 6);
	today_close(&today);
	CHILD_REQUIRE(is_back_to(before));
	return 0;
}

static void of_today(void **state)
{
	(void)state;
	confined(charge_today);
}

static int charge_2010(void)
{
	long before = charged(), grown;
	int fd = device_open(0);

	for (uint64_t i = 0; i < MANY; i++)
		CHILD_REQUIRE(!device_register(fd, memory, page, i));
	grown = charged() - before;
	printf("%d regions: %ld KiB, %ld bytes each\n", MANY, grown >> 10,
	       grown / MANY);
	CHILD_REQUIRE(grown > MANY * 100);
	CHILD_REQUIRE(grown < MANY * 400);
	close(fd);
	CHILD_REQUIRE(is_back_to(before));
	return 0;
}

static void of_2010(void **state)
{
	(void)state;
	confined(charge_2010);
}

/* Descriptors alone: their page, their records. */
static int charge_descriptors(void)
{
	enum { COUNT = 900 };
	static int fds[COUNT];
	long before = charged(), grown;

	for (int i = 0; i < COUNT; i++) {
		fds[i] = device_open(0);
		CHILD_REQUIRE(fds[i] >= 0);
	}
	grown = charged() - before;
	printf("%d descriptors: %ld KiB, %ld bytes each\n", COUNT, grown >> 10,
	       grown / COUNT);
	CHILD_REQUIRE(grown > COUNT * 4096L);
	for (int i = 0; i < COUNT; i++)
		close(fds[i]);
	CHILD_REQUIRE(is_back_to(before));
	return 0;
}

static void of_descriptors(void **state)
{
	(void)state;
	confined(charge_descriptors);
}

/* Until there is nothing left: an error, and no more. */
static int exhaust_today(void)
{
	struct ummunotify_watch watch, last;
	long before = charged();
	struct today today;
	bool again = false, valid;
	uint32_t count = 0;
	char *own = device_pages(1);
	int error, unwatched, reused;
	size_t logged;

	CHILD_REQUIRE(!today_open(&today, 0, MANY));
	CHILD_REQUIRE(!today_watch(&today, own, page, &last));
	CHILD_REQUIRE(today_logged(&today) == 0); /* its page is there */
	CHILD_REQUIRE(limit_to_little());
	while (!(error = today_watch(&today, memory, page, &watch)))
		count++;
	for (int i = 0; i < 100; i++)
		again |= today_watch(&today, memory, page, &watch) != -ENOMEM;
	/* What there is works. */
	munmap(own, page);
	valid = today_valid(&today, &last);
	logged = today_logged(&today);
	unwatched = today_unwatch(&today, &last);
	/* A slot that is free needs no memory. */
	reused = today_watch(&today, memory, page, &watch);

	CHILD_REQUIRE(limit_to(LONG_MAX));
	printf("%u watches in %ld KiB more, then error %d\n", count,
	       LITTLE >> 10, error);
	CHILD_REQUIRE(error == -ENOMEM && count > 1000 && !again);
	CHILD_REQUIRE(!valid && logged == 1 && !unwatched && !reused);
	CHILD_REQUIRE(device_statistic("watches") == count + 1);
	CHILD_REQUIRE(!today_watch(&today, memory, page, &watch));
	today_close(&today);
	CHILD_REQUIRE(is_back_to(before));
	return 0;
}

static void exhausted_today(void **state)
{
	(void)state;
	confined(exhaust_today);
}

static int exhaust_2010(void)
{
	long before = charged();
	int fd = device_open(0), error, unregistered, registered;
	uint64_t count = 0;

	CHILD_REQUIRE(limit_to_little());
	while (!(error = device_register(fd, memory, page, count)))
		count++;
	unregistered = device_unregister(fd, 0);
	registered = device_register(fd, memory, page, 0);

	CHILD_REQUIRE(limit_to(LONG_MAX));
	printf("%llu regions in %ld KiB more, then error %d\n",
	       (unsigned long long)count, LITTLE >> 10, error);
	CHILD_REQUIRE(error == -ENOMEM && count > 1000);
	CHILD_REQUIRE(!unregistered && !registered);
	close(fd);
	CHILD_REQUIRE(is_back_to(before));
	return 0;
}

static void exhausted_2010(void **state)
{
	(void)state;
	confined(exhaust_2010);
}

static int set_up_from(const int *fds, int first, int count, int *error)
{
	while (first < count) {
		struct ummunotify_setup setup = { 0 };

		*error = today_setup(fds[first], &setup);
		if (*error)
			break;
		first++;
	}
	return first;
}

/* What was not set up for want of memory can be later. */
static int exhaust_setups(void)
{
	enum { COUNT = 900, CLOSED = 20 };
	static int fds[COUNT];
	long before = charged();
	int setups, error = 0;

	for (int i = 0; i < COUNT; i++)
		fds[i] = device_open(0);
	CHILD_REQUIRE(limit_to_little());
	setups = set_up_from(fds, 0, COUNT, &error);
	CHILD_REQUIRE(limit_to(LONG_MAX));
	printf("%d descriptors set up, then error %d\n", setups, error);
	CHILD_REQUIRE(error == -ENOMEM && setups > CLOSED && setups < COUNT);
	for (int i = 0; i < CLOSED; i++)
		close(fds[i]);
	setups = set_up_from(fds, setups, COUNT, &error);
	CHILD_REQUIRE(!error && setups == COUNT);
	for (int i = CLOSED; i < COUNT; i++)
		close(fds[i]);
	CHILD_REQUIRE(is_back_to(before));
	return 0;
}

static void exhausted_by_setups(void **state)
{
	(void)state;
	confined(exhaust_setups);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(of_today),	      TEST(of_2010),
		TEST(of_descriptors), TEST(exhausted_today),
		TEST(exhausted_2010), TEST(exhausted_by_setups),
	};

	run_limit(600);
	device_need();
	if (!make_group()) {
		printf("skipped: no memory cgroup can be made here\n");
		return 77;
	}
	remove_group();
	memory = mmap(NULL, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
