/* SPDX-License-Identifier: MIT */
/* lifecycle-fork.c - who shares the address space may use it; nobody else. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "expect-2010.h"
#include "expect-today.h"
#include "tests/child.h"

static int map_errno(int fd)
{
	void *map = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 0);

	return map == MAP_FAILED ? errno : 0;
}

/* In a child: every call of 2010. */
static int expect_refused(int fd)
{
	struct ummunotify_event event;
	uint32_t mask = 0;

	CHILD_REQUIRE(device_exchange(fd, &mask) == -EIO);
	CHILD_REQUIRE(device_register(fd, &mask, 4, 99) == -EIO);
	CHILD_REQUIRE(device_unregister(fd, 1) == -EIO);
	CHILD_REQUIRE(device_read(fd, &event, 1) == -EIO);
	CHILD_REQUIRE(map_errno(fd) == EIO);
	return 0;
}

static void child_of_2010(void **state)
{
	char *memory = device_pages(1);
	int fd = expect_fd(state);
	pid_t child;

	expect_registered(fd, memory, page, 1);
	child = fork();
	if (!child) {
		if (expect_refused(fd))
			_exit(1);
		CHILD_REQUIRE(!device_readable(fd));
		munmap(memory, page);
		CHILD_REQUIRE(!device_readable(fd));
		close(fd);
		_exit(0);
	}
	expect_child(child);
	expect_nothing(fd);
	/* What is pending is not told to a child either. */
	munmap(memory, page);
	child = fork();
	if (!child) {
		CHILD_REQUIRE(device_readable(fd));
		_exit(expect_refused(fd));
	}
	expect_child(child);
	expect_hit(fd, 1, memory, memory + page, 1);
}

/* A child has its own descriptor, and is told of its own memory. */
static void child_with_its_own(void **state)
{
	char *memory = device_pages(1);
	int fd = expect_fd(state);
	pid_t child;

	expect_registered(fd, memory, page, 1);
	child = fork();
	if (!child) {
		struct ummunotify_event events[2];
		int own = device_open(O_NONBLOCK);

		CHILD_REQUIRE(!device_register(own, memory, page, 2));
		memset(memory, 2, page); /* a copy: its page is another now */
		CHILD_REQUIRE(device_read(own, events, 2) == 2);
		munmap(memory, page);
		CHILD_REQUIRE(device_read(own, events, 2) == 2);
		CHILD_REQUIRE(events[0].user_cookie_counter == 2);
		_exit(0);
	}
	expect_child(child);
	expect_nothing(fd);
	munmap(memory, page);
	expect_hit(fd, 1, memory, memory + page, 1);
}

/* What a child of vfork() does to memory it does to its parent's. */
static char *vfork_memory;
static int vfork_fd;

static void child_of_vfork(void **state)
{
	pid_t child;

	vfork_memory = device_pages(2);
	vfork_fd = expect_fd(state);
	expect_registered(vfork_fd, vfork_memory, page, 1);
	child = vfork();
	if (!child) {
		munmap(vfork_memory, page);
		/* It may use it, too. */
		device_register(vfork_fd, vfork_memory + page, page, 2);
		_exit(0);
	}
	expect_child(child);
	expect_hit(vfork_fd, 1, vfork_memory, vfork_memory + page, 1);
	munmap(vfork_memory + page, page);
	expect_hit(vfork_fd, 2, vfork_memory + page, vfork_memory + 2 * page, 2);
}

/**
 * struct sharer - a process of its own in the address space of its maker
 * @fd: the maker's
 * @may_go: a pipe: go on when the maker has ended
 * @memory: watched
 * @stack: its own
 */
struct sharer {
	int fd, may_go[2];
	char *memory;
	char stack[65536] __attribute__((aligned(16)));
};

static int sharer_run(void *argument)
{
	struct sharer *sharer = argument;
	struct ummunotify_event events[3];
	char byte;

	close(sharer->may_go[1]);
	CHILD_REQUIRE(read(sharer->may_go[0], &byte, 1) == 0);
	/* Its maker is gone, its address space is not. */
	CHILD_REQUIRE(!device_hung_up(sharer->fd));
	munmap(sharer->memory, page);
	CHILD_REQUIRE(device_read(sharer->fd, events, 3) == 2);
	CHILD_REQUIRE(events[0].user_cookie_counter == 1);
	CHILD_REQUIRE(!device_register(sharer->fd, sharer->memory, page, 2));
	_exit(0);
}

/* The maker: ends while the other one goes on. */
static void maker_run(void)
{
	struct sharer *sharer = mmap(NULL, sizeof(*sharer),
				     PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	sharer->fd = device_open(O_NONBLOCK);
	sharer->memory = device_pages(1);
	CHILD_REQUIRE(!pipe(sharer->may_go));
	CHILD_REQUIRE(!device_register(sharer->fd, sharer->memory, page, 1));
	CHILD_REQUIRE(clone(sharer_run, sharer->stack + sizeof(sharer->stack),
			    CLONE_VM | SIGCHLD, sharer) > 0);
	syscall(SYS_exit_group, 0);
}

static void sharer_outlives_its_maker(void **state)
{
	pid_t child = fork();
	int status;

	(void)state;
	if (!child)
		maker_run();
	expect_child(child);
	/* It is ours now (see main). */
	child = wait(&status);
	assert_true(child > 0);
	assert_int_equal(status, 0);
}

static void *open_and_end(void *fd)
{
	*(int *)fd = device_open(O_NONBLOCK);
	return NULL;
}

/* The thread that opened it ends: the process has it still. */
static void thread_opens_and_ends(void **state)
{
	char *memory = device_pages(1);
	pthread_t thread;
	int fd = -1;

	(void)state;
	pthread_create(&thread, NULL, open_and_end, &fd);
	pthread_join(thread, NULL);
	expect_registered(fd, memory, page, 1);
	munmap(memory, page);
	expect_hit(fd, 1, memory, memory + page, 1);
	close(fd);
}

static void await_end_of_leader(void)
{
	char path[64], state = '?';

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", getpid());
	while (state != 'Z') {
		FILE *file = fopen(path, "re");

		if (!file || fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
			_exit(4);
		fclose(file);
		usleep(1000);
	}
}

static void *go_on_alone(void *fd)
{
	char *memory = device_pages(1);
	struct ummunotify_event events[2];

	await_end_of_leader();
	if (device_register(*(int *)fd, memory, page, 5))
		_exit(2);
	munmap(memory, page);
	_exit(device_read(*(int *)fd, events, 2) == 2 ? 0 : 3);
}

/* The first thread ends before the others. */
static void leader_ends_first(void **state)
{
	pid_t child = fork();

	(void)state;
	if (!child) {
		static int fd;
		pthread_t thread;

		fd = device_open(O_NONBLOCK);
		pthread_create(&thread, NULL, go_on_alone, &fd);
		syscall(SYS_exit, 0);
	}
	expect_child(child);
}

/* A set-up descriptor: the child's looks are tests of abi-today-mapping. */
static void busy_parent(void **state)
{
	struct today today;
	char *memory = device_pages(64);
	struct ummunotify_log_entry entry;

	(void)state;
	assert_int_equal(today_open(&today, 0, 0), 0);
	for (int round = 0; round < 30; round++) {
		struct ummunotify_watch watches[64];
		pid_t child;

		for (size_t i = 0; i < 64; i++)
			watches[i] = expect_watched(&today, memory + i * page,
						    page);
		child = fork();
		if (!child) {
			for (size_t i = 0; i < 64; i++)
				CHILD_REQUIRE(!today_valid(&today, &watches[i]));
			CHILD_REQUIRE(!today_generation(&today));
			_exit(0);
		}
		madvise(memory, 64 * page, MADV_DONTNEED);
		for (size_t i = 0; i < 64; i++)
			assert_false(today_valid(&today, &watches[i]));
		memset(memory, 1, 64 * page);
		expect_child(child);
		for (size_t i = 0; i < 64; i++) {
			assert_int_equal(today_next(&today, &entry), 1);
			assert_int_equal(today_unwatch(&today, &watches[i]), 0);
		}
		expect_none_logged(&today);
	}
	today_close(&today);
	munmap(memory, 64 * page);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, expect_opened, expect_closed)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(child_of_2010),
		TEST(child_with_its_own),
		TEST(child_of_vfork),
		cmocka_unit_test(sharer_outlives_its_maker),
		cmocka_unit_test(thread_opens_and_ends),
		cmocka_unit_test(leader_ends_first),
		cmocka_unit_test(busy_parent),
	};
	int failed;

	run_limit(600);
	device_need();
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	if (!device_await_statistic("spaces", 0))
		failed = 1;
	return failed;
}
