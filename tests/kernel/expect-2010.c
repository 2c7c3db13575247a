/* SPDX-License-Identifier: MIT */
/* expect-2010.c - what tests of the calls of 2010 expect to read. */
#define _GNU_SOURCE
#include "expect-2010.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

int expect_opened(void **state)
{
	int *fd = malloc(sizeof(*fd));

	*state = fd;
	*fd = device_open(O_NONBLOCK);
	return *fd < 0 ? -1 : 0;
}

int expect_closed(void **state)
{
	int error = close(expect_fd(state));

	free(*state);
	return error;
}

void expect_registered(int fd, const volatile void *start, size_t length,
		       uint64_t cookie)
{
	assert_int_equal(device_register(fd, start, length, cookie), 0);
}

void expect_nothing(int fd)
{
	struct ummunotify_event event;

	assert_false(device_readable(fd));
	assert_int_equal(device_read(fd, &event, 1), -EAGAIN);
}

void expect_inval(const struct ummunotify_event *event, uint64_t cookie,
		  const volatile void *start, const volatile void *end,
		  bool hint)
{
	assert_int_equal(event->type, UMMUNOTIFY_EVENT_TYPE_INVAL);
	assert_int_equal(event->user_cookie_counter, cookie);
	assert_int_equal(event->flags, hint ? UMMUNOTIFY_EVENT_FLAG_HINT : 0);
	assert_int_equal(event->hint_start, (uintptr_t)start);
	assert_int_equal(event->hint_end, (uintptr_t)end);
}

void expect_last(const struct ummunotify_event *event, uint64_t counter)
{
	assert_int_equal(event->type, UMMUNOTIFY_EVENT_TYPE_LAST);
	assert_int_equal(event->user_cookie_counter, counter);
}

void expect_hit(int fd, uint64_t cookie, const volatile void *start,
		const volatile void *end, uint64_t counter)
{
	struct ummunotify_event events[3];

	assert_true(device_readable(fd));
	assert_int_equal(device_read(fd, events, 3), 2);
	expect_inval(&events[0], cookie, start, end, true);
	expect_last(&events[1], counter);
	expect_nothing(fd);
}

void expect_only_last(int fd, uint64_t counter)
{
	struct ummunotify_event events[2];

	assert_true(device_readable(fd));
	assert_int_equal(device_read(fd, events, 2), 1);
	expect_last(&events[0], counter);
	expect_nothing(fd);
}
