/* SPDX-License-Identifier: MIT */
/* monitor-fixture.h - a monitor on real memory, and what to expect of it. */
#ifndef MONITOR_FIXTURE_H
#define MONITOR_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ummunotify/monitor.h>

/** The size of a page; set by monitor_set_up(). */
extern size_t page;

/** Setup and teardown of cmocka: the state is a monitor, of the best backend. */
int monitor_set_up(void **state);
int monitor_set_up_uffd(void **state);
int monitor_tear_down(void **state);

struct ummu_monitor *monitor_open(const char *backend);
struct ummu_monitor_stats monitor_stats(const struct ummu_monitor *monitor);

/** monitor_map - private memory, present. */
char *monitor_map(size_t count);

/** monitor_watch - a watch, which must be granted. */
struct ummu_watch *monitor_watch(struct ummu_monitor *monitor, const char *addr,
				 size_t length, uint64_t cookie);

/** monitor_refuses - the watch is refused with @error, for a reason told. */
void monitor_refuses(struct ummu_monitor *monitor, const void *addr,
		     size_t length, int error);

/** monitor_readable - does poll() say that events wait? */
bool monitor_readable(const struct ummu_monitor *monitor);

void monitor_expect_event(struct ummu_monitor *monitor, uint64_t cookie,
			  const char *start, const char *end, uint32_t reason);
void monitor_expect_silence(struct ummu_monitor *monitor);

#endif
