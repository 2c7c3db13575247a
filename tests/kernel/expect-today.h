/* SPDX-License-Identifier: MIT */
/* expect-today.h - what tests of the calls of today expect to find. */
#ifndef EXPECT_TODAY_H
#define EXPECT_TODAY_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "today.h"

/* A test's state: a struct today, of the default classes and limit. */
int expect_today_opened(void **state);
int expect_today_closed(void **state);

/** expect_watched - the call succeeds; the watch is valid. */
struct ummunotify_watch
expect_watched(struct today *today, const volatile void *start, size_t length);

/** expect_logged - the next event is of this watch, which is not valid. */
void expect_logged(struct today *today, const struct ummunotify_watch *watch,
		   const volatile void *start, const volatile void *end);

/** expect_none_logged - there is no event to read. */
void expect_none_logged(struct today *today);

#endif
