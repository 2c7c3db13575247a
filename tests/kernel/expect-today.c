/* SPDX-License-Identifier: MIT */
/* expect-today.c - what tests of the calls of today expect to find. */
#define _GNU_SOURCE
#include "expect-today.h"

#include <stdlib.h>

int expect_today_opened(void **state)
{
	struct today *today = malloc(sizeof(*today));

	*state = today;
	return today_open(today, 0, 0);
}

int expect_today_closed(void **state)
{
	today_close(*state);
	free(*state);
	return 0;
}

struct ummunotify_watch
expect_watched(struct today *today, const volatile void *start, size_t length)
{
	struct ummunotify_watch watch;

	assert_int_equal(today_watch(today, start, length, &watch), 0);
	assert_int_not_equal(watch.state, 0);
	assert_true(today_valid(today, &watch));
	return watch;
}

void expect_logged(struct today *today, const struct ummunotify_watch *watch,
		   const volatile void *start, const volatile void *end)
{
	struct ummunotify_log_entry entry;

	assert_false(today_valid(today, watch));
	assert_int_equal(today_next(today, &entry), 1);
	assert_int_equal(entry.state, watch->state);
	assert_int_equal(entry.slot, watch->slot);
	assert_int_equal(entry.hint_start, (uintptr_t)start);
	assert_int_equal(entry.hint_end, (uintptr_t)end);
	assert_true(!entry.event_class ||
		    entry.event_class & today->setup.classes);
}

void expect_none_logged(struct today *today)
{
	assert_int_equal(today_logged(today), today->read);
}
