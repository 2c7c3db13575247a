/* SPDX-License-Identifier: MIT */
/* abi-2010-wait.c - poll, epoll and SIGIO tell of events, when they should. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "expect-2010.h"
#include "tests/run.h"

#define SIGNAL (SIGRTMIN + 3)

static void drain(int fd)
{
	struct ummunotify_event events[16];

	while (device_readable(fd))
		assert_true(device_read(fd, events, 16) > 0);
}

static void hit(char *memory)
{
	madvise(memory, page, MADV_DONTNEED);
	memset(memory, 1, page);
}

static void poll_says_what_read_does(void **state)
{
	struct ummunotify_event events[4];
	char *memory = device_pages(2);
	int fd = expect_fd(state);
	struct pollfd poller = {
		.fd = fd, .events = POLLIN | POLLRDNORM | POLLOUT | POLLPRI
	};

	assert_int_equal(poll(&poller, 1, 0), 0);
	expect_registered(fd, memory, page, 1);
	expect_registered(fd, memory + page, page, 2);
	assert_int_equal(poll(&poller, 1, 0), 0);
	hit(memory);
	hit(memory + page);
	assert_int_equal(poll(&poller, 1, 0), 1);
	assert_int_equal(poller.revents, POLLIN | POLLRDNORM);
	for (int left = 3; left; left--) {
		assert_true(device_readable(fd));
		assert_int_equal(device_read(fd, events, 1), 1);
	}
	assert_int_equal(poll(&poller, 1, 0), 0);
	munmap(memory, 2 * page);
}

static void select_too(void **state)
{
	struct timeval none = { 0 };
	char *memory = device_pages(1);
	int fd = expect_fd(state);
	fd_set set;

	FD_ZERO(&set);
	FD_SET(fd, &set);
	assert_int_equal(select(fd + 1, &set, NULL, NULL, &none), 0);
	expect_registered(fd, memory, page, 1);
	hit(memory);
	FD_SET(fd, &set);
	assert_int_equal(select(fd + 1, &set, NULL, NULL, NULL), 1);
	munmap(memory, page);
}

static int epoll_of(int fd, uint32_t events)
{
	struct epoll_event event = { .events = events };
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	assert_true(epoll >= 0);
	assert_int_equal(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), 0);
	return epoll;
}

static int epoll_now(int epoll)
{
	struct epoll_event event;

	return epoll_wait(epoll, &event, 1, 0);
}

static void epoll_by_level(void **state)
{
	char *memory = device_pages(1);
	int fd = expect_fd(state), epoll = epoll_of(fd, EPOLLIN);

	assert_int_equal(epoll_now(epoll), 0);
	expect_registered(fd, memory, page, 1);
	hit(memory);
	for (int i = 0; i < 3; i++)
		assert_int_equal(epoll_now(epoll), 1);
	drain(fd);
	assert_int_equal(epoll_now(epoll), 0);
	hit(memory);
	assert_int_equal(epoll_now(epoll), 1);
	close(epoll);
	munmap(memory, page);
}

/* Once for each time that nothing turns into something. */
static void epoll_by_edge(void **state)
{
	struct ummunotify_event event;
	char *memory = device_pages(2);
	int fd = expect_fd(state), epoll = epoll_of(fd, EPOLLIN | EPOLLET);

	expect_registered(fd, memory, page, 1);
	expect_registered(fd, memory + page, page, 2);
	for (int i = 0; i < 3; i++) {
		hit(memory);
		assert_int_equal(epoll_now(epoll), 1);
		assert_int_equal(epoll_now(epoll), 0);
		/* There is more, but nobody needs to be told. */
		hit(memory + page);
		hit(memory);
		assert_int_equal(epoll_now(epoll), 0);
		assert_int_equal(device_read(fd, &event, 1), 1);
		assert_int_equal(epoll_now(epoll), 0);
		drain(fd);
		assert_int_equal(epoll_now(epoll), 0);
	}
	close(epoll);
	munmap(memory, 2 * page);
}

struct poller {
	pthread_t pthread;
	int fd;
	pid_t thread;
	short revents;
};

static void *poller_run(void *argument)
{
	struct poller *poller = argument;
	struct pollfd pollfd = { .fd = poller->fd, .events = POLLIN };

	__atomic_store_n(&poller->thread, (pid_t)syscall(SYS_gettid),
			 __ATOMIC_RELEASE);
	if (poll(&pollfd, 1, -1) == 1)
		poller->revents = pollfd.revents;
	return NULL;
}

static void poller_start(struct poller *poller, int fd)
{
	pid_t thread;

	*poller = (struct poller){ .fd = fd };
	pthread_create(&poller->pthread, NULL, poller_run, poller);
	do
		thread = __atomic_load_n(&poller->thread, __ATOMIC_ACQUIRE);
	while (!thread);
	device_await_sleep(thread);
}

static void sleepers_are_woken(void **state)
{
	enum { SLEEPERS = 4 };
	struct poller pollers[SLEEPERS];
	char *memory = device_pages(1);
	int fd = expect_fd(state);

	expect_registered(fd, memory, page, 1);
	for (int i = 0; i < SLEEPERS; i++)
		poller_start(&pollers[i], fd);
	hit(memory);
	for (int i = 0; i < SLEEPERS; i++) {
		pthread_join(pollers[i].pthread, NULL);
		assert_int_equal(pollers[i].revents, POLLIN);
	}
	munmap(memory, page);
}

/* Counts the signals that are queued now, and takes them. */
static int signals(int number, int *code, int *fd)
{
	struct timespec none = { 0 };
	siginfo_t info;
	sigset_t set;
	int count = 0;

	sigemptyset(&set);
	sigaddset(&set, number);
	while (sigtimedwait(&set, &info, &none) == number) {
		*code = info.si_code;
		*fd = info.si_fd;
		count++;
	}
	return count;
}

/* Queued signals, one for each: only when nothing turned into something. */
static void signal_chosen(void **state)
{
	char *memory = device_pages(2);
	int fd = expect_fd(state), code = 0, from = 0;

	assert_int_equal(fcntl(fd, F_SETOWN, getpid()), 0);
	assert_int_equal(fcntl(fd, F_SETSIG, SIGNAL), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK), 0);
	expect_registered(fd, memory, page, 1);
	expect_registered(fd, memory + page, page, 2);
	assert_int_equal(signals(SIGNAL, &code, &from), 0);
	for (int i = 0; i < 3; i++) {
		hit(memory);
		hit(memory);
		hit(memory + page);
		assert_int_equal(signals(SIGNAL, &code, &from), 1);
		assert_int_equal(code, POLL_IN);
		assert_int_equal(from, fd);
		drain(fd);
	}
	/* No more when it is turned off. */
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	hit(memory);
	assert_int_equal(signals(SIGNAL, &code, &from), 0);
	munmap(memory, 2 * page);
}

static void plain_sigio(void **state)
{
	char *memory = device_pages(1);
	int fd = expect_fd(state), code, from;

	assert_int_equal(fcntl(fd, F_SETOWN, getpid()), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK), 0);
	expect_registered(fd, memory, page, 1);
	hit(memory);
	assert_int_equal(signals(SIGIO, &code, &from), 1);
	munmap(memory, page);
}

/* Closed while it is asked for signals, by a duplicate too. */
static void closed_with_signals_on(void **state)
{
	char *memory = device_pages(1);
	int code, from;

	(void)state;
	for (int i = 0; i < 20; i++) {
		int fd = device_open(O_NONBLOCK), other = dup(fd);

		fcntl(fd, F_SETOWN, getpid());
		fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK);
		expect_registered(fd, memory, page, 1);
		close(fd);
		hit(memory);
		assert_int_equal(signals(SIGIO, &code, &from), 1);
		close(other);
		hit(memory);
		assert_int_equal(signals(SIGIO, &code, &from), 0);
	}
	munmap(memory, page);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, expect_opened, expect_closed)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(poll_says_what_read_does),
		TEST(select_too),
		TEST(epoll_by_level),
		TEST(epoll_by_edge),
		TEST(sleepers_are_woken),
		TEST(signal_chosen),
		TEST(plain_sigio),
		cmocka_unit_test(closed_with_signals_on),
	};
	sigset_t blocked;

	run_limit(600);
	device_need();
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGIO);
	sigaddset(&blocked, SIGNAL);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
