/* SPDX-License-Identifier: MIT */
/* abi-today-wait.c - who waits for the log is told once, until it was read. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "expect-today.h"
#include "tests/run.h"

#define SIGNAL (SIGRTMIN + 3)

static void hit(char *memory)
{
	madvise(memory, page, MADV_DONTNEED);
	memset(memory, 1, page);
}

static void poll_until_drained(void **state)
{
	struct today *today = *state;
	char *memory = device_pages(3);
	struct ummunotify_log_entry entry;

	for (size_t i = 0; i < 3; i++)
		expect_watched(today, memory + i * page, page);
	assert_false(device_readable(today->fd));
	hit(memory);
	assert_true(device_readable(today->fd));
	/* The kernel does not see that it is read. */
	assert_int_equal(today_next(today, &entry), 1);
	assert_true(device_readable(today->fd));
	hit(memory + page);
	assert_int_equal(today_drained(today, 1), 0);
	assert_true(device_readable(today->fd));
	assert_int_equal(today_drained(today, 2), 0);
	assert_false(device_readable(today->fd));
	/* As well as by any other call. */
	hit(memory + 2 * page);
	assert_true(device_readable(today->fd));
	today->read = 3;
	assert_int_equal(today_watches(today, NULL, 0), 0);
	assert_false(device_readable(today->fd));
	munmap(memory, 3 * page);
}

static int epoll_now(int epoll)
{
	struct epoll_event event;

	return epoll_wait(epoll, &event, 1, 0);
}

static void epoll_by_edge(void **state)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	struct today *today = *state;
	char *memory = device_pages(1);
	struct ummunotify_watch watch = expect_watched(today, memory, page);
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	assert_int_equal(epoll_ctl(epoll, EPOLL_CTL_ADD, today->fd, &event), 0);
	assert_int_equal(epoll_now(epoll), 0);
	for (int round = 0; round < 5; round++) {
		hit(memory);
		assert_int_equal(epoll_now(epoll), 1);
		/* More, while it has not said that it has read. */
		for (int i = 0; i < 3; i++) {
			assert_int_equal(today_rearm(today, &watch), 0);
			hit(memory);
			assert_int_equal(epoll_now(epoll), 0);
		}
		today->read = today_logged(today);
		assert_int_equal(today_rearm(today, &watch), 0);
		assert_int_equal(epoll_now(epoll), 0);
	}
	close(epoll);
	munmap(memory, page);
}

static int signals(void)
{
	struct timespec none = { 0 };
	siginfo_t info;
	sigset_t set;
	int count = 0;

	sigemptyset(&set);
	sigaddset(&set, SIGNAL);
	while (sigtimedwait(&set, &info, &none) == SIGNAL)
		count++;
	return count;
}

static void one_signal_until_drained(void **state)
{
	enum { WATCHES = 100 };
	struct today *today = *state;
	char *memory = device_pages(WATCHES);

	assert_int_equal(fcntl(today->fd, F_SETOWN, getpid()), 0);
	assert_int_equal(fcntl(today->fd, F_SETSIG, SIGNAL), 0);
	assert_int_equal(fcntl(today->fd, F_SETFL, O_ASYNC), 0);
	for (int round = 0; round < 5; round++) {
		for (size_t i = 0; i < WATCHES; i++)
			expect_watched(today, memory + i * page, page);
		assert_int_equal(signals(), 0);
		/* One unmap of many, and many of one. */
		madvise(memory, WATCHES / 2 * page, MADV_DONTNEED);
		for (size_t i = WATCHES / 2; i < WATCHES; i++)
			hit(memory + i * page);
		memset(memory, 1, WATCHES * page);
		assert_int_equal(signals(), 1);
		/* A part was read. */
		assert_int_equal(today_drained(today, today->read + 10), 0);
		expect_watched(today, memory, page);
		hit(memory);
		assert_int_equal(signals(), 0);
		today->read = today_logged(today);
		assert_int_equal(today_drained(today, today->read), 0);
		assert_int_equal(signals(), 0);
	}
	munmap(memory, WATCHES * page);
}

struct sleeper {
	pthread_t pthread;
	int fd;
	pid_t thread;
	short revents;
};

static void *sleep_in_poll(void *argument)
{
	struct sleeper *sleeper = argument;
	struct pollfd pollfd = { .fd = sleeper->fd, .events = POLLIN };

	__atomic_store_n(&sleeper->thread, (pid_t)syscall(SYS_gettid),
			 __ATOMIC_RELEASE);
	if (poll(&pollfd, 1, -1) == 1)
		sleeper->revents = pollfd.revents;
	return NULL;
}

static void sleepers_are_woken(void **state)
{
	struct today *today = *state;
	char *memory = device_pages(1);

	for (int round = 0; round < 3; round++) {
		struct sleeper sleepers[3];

		expect_watched(today, memory, page);
		for (int i = 0; i < 3; i++) {
			pid_t thread;

			sleepers[i] = (struct sleeper){ .fd = today->fd };
			pthread_create(&sleepers[i].pthread, NULL,
				       sleep_in_poll, &sleepers[i]);
			do
				thread = __atomic_load_n(&sleepers[i].thread,
							 __ATOMIC_ACQUIRE);
			while (!thread);
			device_await_sleep(thread);
		}
		hit(memory);
		for (int i = 0; i < 3; i++) {
			pthread_join(sleepers[i].pthread, NULL);
			assert_int_equal(sleepers[i].revents, POLLIN);
		}
		assert_int_equal(today_drained(today, today_logged(today)), 0);
	}
	munmap(memory, page);
}

/* Nobody sleeps, nobody is woken. */
static void no_needless_wakeup(void **state)
{
	struct today *today = *state;
	char *memory = device_pages(1);
	long before = device_statistic("wakeups");

	for (int i = 0; i < 50; i++) {
		expect_watched(today, memory, page);
		hit(memory);
		today->read = today_logged(today);
	}
	assert_int_equal(device_statistic("wakeups"), before);
	munmap(memory, page);
}

#define TEST(name)                                                 \
	cmocka_unit_test_setup_teardown(name, expect_today_opened, \
					expect_today_closed)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(poll_until_drained),	TEST(epoll_by_edge),
		TEST(one_signal_until_drained), TEST(sleepers_are_woken),
		TEST(no_needless_wakeup),
	};
	sigset_t blocked;

	run_limit(600);
	device_need();
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGNAL);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
