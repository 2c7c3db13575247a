/* SPDX-License-Identifier: MIT */
/* abi-2010-read.c - what read() returns, for every size and state. */
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
#include "tests/run.h"

#define EVENT sizeof(struct ummunotify_event)

/* Regions of a page each, with cookies from 0; all of them hit. */
static char *hit_regions(int fd, size_t count)
{
	char *memory = device_pages(count);

	for (size_t i = 0; i < count; i++)
		expect_registered(fd, memory + i * page, page, i);
	munmap(memory, count * page);
	return memory;
}

static ssize_t plain_read(int fd, void *buffer, size_t size)
{
	ssize_t length = read(fd, buffer, size);

	return length < 0 ? -errno : length;
}

static void nothing_to_say(void **state)
{
	struct ummunotify_event event;
	char *memory = device_pages(1);
	int fd = expect_fd(state);

	expect_nothing(fd);
	expect_registered(fd, memory, page, 0);
	expect_nothing(fd);
	munmap(memory, page);
	expect_hit(fd, 0, memory, memory + page, 1);
	/* Again and again, as a client that reads while it handles events. */
	for (int i = 0; i < 10; i++)
		assert_int_equal(device_read(fd, &event, 1), -EAGAIN);
	assert_int_equal(plain_read(fd, &event, 0), -EAGAIN);
	assert_int_equal(plain_read(fd, &event, 31), -EAGAIN);
}

static void no_room_for_an_event(void **state)
{
	struct ummunotify_event untouched, event;
	int fd = expect_fd(state);
	char *memory = hit_regions(fd, 1);

	memset(&untouched, 0x77, EVENT);
	event = untouched;
	for (size_t size = 0; size < EVENT; size++) {
		assert_int_equal(plain_read(fd, &event, size), 0);
		assert_memory_equal(&event, &untouched, EVENT);
	}
	assert_int_equal(plain_read(fd, (void *)page, 31), 0);
	expect_hit(fd, 0, memory, memory + page, 1);
}

static void whole_events_only(void **state)
{
	static const size_t more[] = { 0, 1, 16, 31 };
	int fd = expect_fd(state);

	for (size_t count = 1; count <= 4; count++) {
		for (int i = 0; i < 4; i++) {
			/* One byte behind what may be written. */
			char buffer[6 * EVENT + 1], untouched = 0x66;
			size_t size = count * EVENT + more[i];
			size_t left = 3;
			ssize_t length;

			hit_regions(fd, 3);
			memset(buffer, untouched, sizeof(buffer));
			length = plain_read(fd, buffer, size);
			/* Of three events and LAST, as many as fit. */
			assert_int_equal(length, count * EVENT);
			for (size_t at = count * EVENT; at < sizeof(buffer);
			     at++)
				assert_int_equal(buffer[at], untouched);
			left -= count < 3 ? count : 3;
			assert_true(count == 4 || device_readable(fd));
			if (count < 4)
				assert_int_equal(plain_read(fd, buffer,
							    6 * EVENT),
						 (left + 1) * EVENT);
			expect_nothing(fd);
			for (uint64_t cookie = 0; cookie < 3; cookie++)
				assert_int_equal(device_unregister(fd, cookie),
						 0);
		}
	}
}

/* LAST is for an emptied list, and with room. */
static void last_ends_the_list(void **state)
{
	struct ummunotify_event events[8];
	int fd = expect_fd(state);

	hit_regions(fd, 3);
	assert_int_equal(device_read(fd, events, 2), 2);
	for (int i = 0; i < 2; i++)
		assert_int_equal(events[i].type, UMMUNOTIFY_EVENT_TYPE_INVAL);
	assert_int_equal(device_read(fd, events, 1), 1);
	assert_int_equal(events[0].type, UMMUNOTIFY_EVENT_TYPE_INVAL);
	expect_only_last(fd, 1);
}

/* A region is hit between a read without room for LAST and the next. */
static void hit_before_last(void **state)
{
	struct ummunotify_event events[4];
	char *memory = device_pages(1);
	int fd = expect_fd(state);

	expect_registered(fd, memory, page, 5);
	madvise(memory, page, MADV_DONTNEED);
	assert_int_equal(device_read(fd, events, 1), 1);
	expect_inval(&events[0], 5, memory, memory + page, true);
	memset(memory, 1, page);
	madvise(memory, page, MADV_DONTNEED);
	assert_int_equal(device_read(fd, events, 4), 2);
	expect_inval(&events[0], 5, memory, memory + page, true);
	expect_last(&events[1], 2);
	expect_nothing(fd);
	munmap(memory, page);
}

/* Each once, in however many reads. */
static void many_events(void **state)
{
	const size_t count = 5000, room = 301;
	struct ummunotify_event *events = calloc(room, EVENT);
	bool *seen = calloc(count, sizeof(*seen));
	size_t sum = 0, reads = 0;
	int fd = expect_fd(state);
	const volatile uint64_t *counter = device_counter(fd);
	char *memory = hit_regions(fd, count);
	bool last = false;

	while (!last) {
		int length = device_read(fd, events, room);

		assert_true(length > 0);
		reads++;
		for (int i = 0; i < length; i++) {
			uint64_t cookie = events[i].user_cookie_counter;

			if (events[i].type == UMMUNOTIFY_EVENT_TYPE_LAST) {
				assert_int_equal(i, length - 1);
				expect_last(&events[i], *counter);
				last = true;
				break;
			}
			assert_true(cookie < count && !seen[cookie]);
			expect_inval(&events[i], cookie, memory + cookie * page,
				     memory + (cookie + 1) * page, true);
			seen[cookie] = true;
			sum++;
		}
	}
	assert_int_equal(sum, count);
	print_message("%zu events in %zu reads, counter %llu\n", sum, reads,
		      (unsigned long long)*counter);
	expect_nothing(fd);
	free(events);
	free(seen);
}

/**
 * struct reader - a thread in a blocking read()
 * @thread: its number (atomic), once it is about to read
 * @result: events, or -errno
 */
struct reader {
	pthread_t pthread;
	int fd;
	pid_t thread;
	bool returned;
	int result;
	struct ummunotify_event events[4];
};

static void *reader_run(void *argument)
{
	struct reader *reader = argument;

	__atomic_store_n(&reader->thread, (pid_t)syscall(SYS_gettid),
			 __ATOMIC_RELEASE);
	reader->result = device_read(reader->fd, reader->events, 4);
	__atomic_store_n(&reader->returned, true, __ATOMIC_RELEASE);
	return NULL;
}

/* Returns when it sleeps in read(). */
static void reader_start(struct reader *reader)
{
	pid_t thread;

	*reader = (struct reader){ .fd = device_open(0) };
	assert_true(reader->fd >= 0);
	assert_int_equal(pthread_create(&reader->pthread, NULL, reader_run,
					reader),
			 0);
	do
		thread = __atomic_load_n(&reader->thread, __ATOMIC_ACQUIRE);
	while (!thread);
	device_await_sleep(thread);
}

static bool reader_returned(struct reader *reader)
{
	return __atomic_load_n(&reader->returned, __ATOMIC_ACQUIRE);
}

/*
 * A read in the middle of munmap() may see the event before the page is gone, and
 * so have the page pinned again: then there is another event after it, and LAST.
 */
static void expect_unmap_was_told(struct reader *reader, char *memory)
{
	uint64_t counter = 1;

	pthread_join(reader->pthread, NULL);
	if (reader->result == 1) {
		expect_inval(&reader->events[0], 6, memory, memory + page, true);
		reader->result = device_read(reader->fd, reader->events, 4);
		counter = 2;
	}
	assert_int_equal(reader->result, 2);
	expect_inval(&reader->events[0], 6, memory, memory + page, true);
	expect_last(&reader->events[1], counter);
	close(reader->fd);
}

static void blocks_and_is_woken(void **state)
{
	struct reader reader;
	char *memory = device_pages(1);

	(void)state;
	reader_start(&reader);
	/* That there is a region now is nothing to be told. */
	expect_registered(reader.fd, memory, page, 6);
	usleep(20000);
	assert_false(reader_returned(&reader));
	munmap(memory, page);
	expect_unmap_was_told(&reader, memory);
}

static int handled;

static void handle(int number)
{
	(void)number;
	__atomic_fetch_add(&handled, 1, __ATOMIC_RELAXED);
}

static void interrupted(void **state)
{
	struct sigaction action = { .sa_handler = handle };
	struct reader reader;

	(void)state;
	handled = 0;
	sigaction(SIGUSR1, &action, NULL);
	reader_start(&reader);
	pthread_kill(reader.pthread, SIGUSR1);
	pthread_join(reader.pthread, NULL);
	assert_int_equal(reader.result, -EINTR);
	assert_int_equal(handled, 1);
	close(reader.fd);
}

static void interrupted_and_restarted(void **state)
{
	struct sigaction action = { .sa_handler = handle,
				    .sa_flags = SA_RESTART };
	struct reader reader;
	char *memory = device_pages(1);

	(void)state;
	handled = 0;
	sigaction(SIGUSR1, &action, NULL);
	reader_start(&reader);
	expect_registered(reader.fd, memory, page, 6);
	pthread_kill(reader.pthread, SIGUSR1);
	while (!__atomic_load_n(&handled, __ATOMIC_RELAXED))
		usleep(1000);
	usleep(20000);
	assert_false(reader_returned(&reader));
	munmap(memory, page);
	expect_unmap_was_told(&reader, memory);
}

/* An event that was dropped leaves a LAST, and that wakes too. */
static void woken_by_what_was_unregistered(void **state)
{
	struct ummunotify_event event;
	int fd = expect_fd(state);

	hit_regions(fd, 1);
	assert_int_equal(device_unregister(fd, 0), 0);
	fcntl(fd, F_SETFL, 0);
	assert_int_equal(device_read(fd, &event, 1), 1);
	expect_last(&event, 1);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	expect_nothing(fd);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, expect_opened, expect_closed)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nothing_to_say),
		TEST(no_room_for_an_event),
		TEST(whole_events_only),
		TEST(last_ends_the_list),
		TEST(hit_before_last),
		TEST(many_events),
		cmocka_unit_test(blocks_and_is_woken),
		cmocka_unit_test(interrupted),
		cmocka_unit_test(interrupted_and_restarted),
		TEST(woken_by_what_was_unregistered),
	};

	run_limit(600);
	device_need();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
