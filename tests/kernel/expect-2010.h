/* SPDX-License-Identifier: MIT */
/* expect-2010.h - what tests of the calls of 2010 expect to read. */
#ifndef EXPECT_2010_H
#define EXPECT_2010_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "device.h"

/* A test's state: a descriptor, nonblocking. */
int expect_opened(void **state);
int expect_closed(void **state);

static inline int expect_fd(void **state)
{
	return *(int *)*state;
}

/** expect_registered - the call succeeds. */
void expect_registered(int fd, const volatile void *start, size_t length,
		       uint64_t cookie);

/** expect_nothing - not readable, and EAGAIN. */
void expect_nothing(int fd);

/** expect_hit - one read: this region was hit once, and LAST. */
void expect_hit(int fd, uint64_t cookie, const volatile void *start,
		const volatile void *end, uint64_t counter);

/** expect_inval - this event is of a region hit once (@hint) or more often. */
void expect_inval(const struct ummunotify_event *event, uint64_t cookie,
		  const volatile void *start, const volatile void *end,
		  bool hint);

/** expect_last - this event is LAST. */
void expect_last(const struct ummunotify_event *event, uint64_t counter);

/** expect_only_last - one read: LAST, and no more. */
void expect_only_last(int fd, uint64_t counter);

#endif
