/* SPDX-License-Identifier: MIT */
/* lifecycle-close.c - closed by anybody, at any moment. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "expect-2010.h"
#include "expect-today.h"
#include "handover.h"
#include "tests/child.h"

#define DURATION 3.0 /* seconds of a race */

/* Another process is the last to close it, while its owner goes on. */
static void by_another_process(void **state)
{
	char *memory = device_pages(16);
	int sockets[2];
	pid_t child;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets), 0);
	child = fork();
	if (!child) {
		int fd;

		close(sockets[0]);
		while ((fd = handover_receive(sockets[1])) >= 0)
			close(fd);
		_exit(0);
	}
	close(sockets[1]);
	for (int round = 0; round < 300; round++) {
		int fd = device_open(O_NONBLOCK);

		for (uint64_t i = 0; i < 16; i++)
			expect_registered(fd, memory + i * page, page, i);
		assert_true(handover_send(sockets[0], fd));
		close(fd);
		/* Invalidations race the close over there. */
		madvise(memory, 16 * page, MADV_DONTNEED);
		memset(memory, 1, 16 * page);
	}
	close(sockets[0]);
	expect_child(child);
	assert_int_equal(device_statistic("files"), 0);
	assert_int_equal(device_statistic("watches"), 0);
	munmap(memory, 16 * page);
}

struct reader {
	pthread_t pthread;
	int fd, result;
	pid_t thread;
	struct ummunotify_event events[3];
};

static void *reader_run(void *argument)
{
	struct reader *reader = argument;

	__atomic_store_n(&reader->thread, (pid_t)syscall(SYS_gettid),
			 __ATOMIC_RELEASE);
	reader->result = device_read(reader->fd, reader->events, 3);
	return NULL;
}

static void reader_start(struct reader *reader, int fd)
{
	pid_t thread;

	*reader = (struct reader){ .fd = fd };
	pthread_create(&reader->pthread, NULL, reader_run, reader);
	do
		thread = __atomic_load_n(&reader->thread, __ATOMIC_ACQUIRE);
	while (!thread);
	device_await_sleep(thread);
}

/* The reader keeps it open for as long as it reads. */
static void under_a_reader(void **state)
{
	char *memory = device_pages(1);
	struct reader reader;
	int fd = device_open(0);

	(void)state;
	expect_registered(fd, memory, page, 1);
	reader_start(&reader, fd);
	close(fd);
	assert_int_equal(device_statistic("files"), 1);
	munmap(memory, page);
	pthread_join(reader.pthread, NULL);
	assert_int_equal(reader.result, 2);
	expect_inval(&reader.events[0], 1, memory, memory + page, true);
	assert_true(device_await_statistic("files", 0));
}

static void do_nothing(int number)
{
	(void)number;
}

static void under_a_reader_that_gives_up(void **state)
{
	struct sigaction action = { .sa_handler = do_nothing };
	struct reader reader;
	int fd = device_open(0);

	(void)state;
	sigaction(SIGUSR1, &action, NULL);
	reader_start(&reader, fd);
	close(fd);
	pthread_kill(reader.pthread, SIGUSR1);
	pthread_join(reader.pthread, NULL);
	assert_int_equal(reader.result, -EINTR);
	assert_true(device_await_statistic("files", 0));
}

/* Threads of a race: all but the first see @stop. */
static bool stop;
static int shared_fd;

static bool stopped(void)
{
	return __atomic_load_n(&stop, __ATOMIC_RELAXED);
}

static void *keep_unmapping(void *unused)
{
	(void)unused;
	while (!stopped()) {
		char *memory = device_pages(8);
		int fd = __atomic_load_n(&shared_fd, __ATOMIC_RELAXED);

		device_register(fd, memory, 8 * page, (uintptr_t)memory);
		munmap(memory, 8 * page);
		device_unregister(fd, (uintptr_t)memory);
	}
	return NULL;
}

static void *keep_reading(void *unused)
{
	struct ummunotify_event events[5];

	(void)unused;
	while (!stopped())
		device_read(__atomic_load_n(&shared_fd, __ATOMIC_RELAXED),
			    events, 5);
	return NULL;
}

static void *keep_mapping(void *unused)
{
	(void)unused;
	while (!stopped()) {
		int fd = __atomic_load_n(&shared_fd, __ATOMIC_RELAXED);
		const volatile uint64_t *counter = device_counter(fd);

		if (!counter)
			continue;
		(void)*counter;
		munmap((void *)(uintptr_t)counter, page);
	}
	return NULL;
}

/* The number is closed and another's at once, while all others use it. */
static void under_everybody(void **state)
{
	static void *(*const runs[])(void *) = { keep_unmapping, keep_reading,
						 keep_mapping };
	double end = run_seconds() + DURATION;
	pthread_t threads[3];
	int opened = 0;

	(void)state;
	shared_fd = device_open(O_NONBLOCK);
	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, runs[i], NULL);
	while (run_seconds() < end) {
		int fd = device_open(O_NONBLOCK);

		assert_true(fd >= 0);
		/* Never a moment without a file behind the number. */
		dup3(fd, shared_fd, O_CLOEXEC);
		close(fd);
		opened++;
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	close(shared_fd);
	print_message("%d descriptors in %.0f s\n", opened, DURATION);
	assert_true(device_await_statistic("files", 0));
	assert_true(device_await_statistic("watches", 0));
	assert_true(device_await_statistic("spaces", 0));
}

/* Many descriptors, closed in another order than opened. */
static void many_descriptors(void **state)
{
	enum { MANY = 500 };
	static int fds[MANY];
	char *memory = device_pages(MANY);

	(void)state;
	for (size_t i = 0; i < MANY; i++) {
		fds[i] = device_open(O_NONBLOCK);
		assert_true(fds[i] >= 0);
		expect_registered(fds[i], memory + i * page, 1, i);
	}
	assert_int_equal(device_statistic("files"), MANY);
	assert_int_equal(device_statistic("spaces"), 1);
	for (size_t i = 0; i < MANY; i += 2)
		close(fds[i]);
	munmap(memory, MANY * page);
	for (size_t i = 1; i < MANY; i += 2) {
		expect_hit(fds[i], i, memory + i * page, memory + i * page + 1,
			   1);
		close(fds[i]);
	}
	assert_int_equal(device_statistic("watches"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_another_process),
		cmocka_unit_test(under_a_reader),
		cmocka_unit_test(under_a_reader_that_gives_up),
		cmocka_unit_test(under_everybody),
		cmocka_unit_test(many_descriptors),
	};

	run_limit(900);
	device_need();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
