/* SPDX-License-Identifier: MIT */
/* monitor-fixture.c - a monitor on real memory, and what to expect of it. */
#define _GNU_SOURCE
#include "monitor-fixture.h"

#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

size_t page;

struct ummu_monitor *monitor_open(const char *backend)
{
	struct ummu_monitor_opts opts = { .size = sizeof(opts),
					  .backend = backend };
	struct ummu_monitor *monitor = NULL;

	if (ummu_monitor_open(&opts, &monitor))
		fail_msg("%s", ummu_monitor_explain());
	return monitor;
}

int monitor_set_up(void **state)
{
	page = (size_t)sysconf(_SC_PAGESIZE);
	*state = monitor_open(NULL);
	return 0;
}

int monitor_set_up_uffd(void **state)
{
	page = (size_t)sysconf(_SC_PAGESIZE);
	*state = monitor_open("uffd");
	return 0;
}

int monitor_tear_down(void **state)
{
	ummu_monitor_close(*state);
	return 0;
}

char *monitor_map(size_t count)
{
	char *memory = mmap(NULL, count * page, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(memory, MAP_FAILED);
	memset(memory, 1, count * page);
	return memory;
}

struct ummu_watch *monitor_watch(struct ummu_monitor *monitor, const char *addr,
				 size_t length, uint64_t cookie)
{
	struct ummu_watch *handle = NULL;

	if (ummu_monitor_watch(monitor, addr, length, cookie, &handle))
		fail_msg("%s", ummu_monitor_explain());
	assert_non_null(handle);
	assert_true(ummu_watch_valid(handle));
	assert_false(ummu_watch_spent(handle));
	return handle;
}

/* The watch is refused with @error, for a reason that is told. */
void monitor_refuses(struct ummu_monitor *monitor, const void *addr,
		     size_t length, int error)
{
	struct ummu_watch *untouched = (struct ummu_watch *)&page;
	struct ummu_watch *handle = untouched;

	assert_int_equal(ummu_monitor_watch(monitor, addr, length, 0, &handle),
			 error);
	assert_ptr_equal(handle, untouched);
	assert_true(strlen(ummu_monitor_explain()) > 10);
}

struct ummu_monitor_stats monitor_stats(const struct ummu_monitor *monitor)
{
	struct ummu_monitor_stats stats = { .size = sizeof(stats) };

	assert_int_equal(ummu_monitor_stats(monitor, &stats), 0);
	return stats;
}

bool monitor_readable(const struct ummu_monitor *monitor)
{
	struct pollfd poller = { .fd = ummu_monitor_fd(monitor),
				 .events = POLLIN };

	assert_in_range(poll(&poller, 1, 0), 0, 1);
	return poller.revents & POLLIN;
}

void monitor_expect_event(struct ummu_monitor *monitor, uint64_t cookie,
			  const char *start, const char *end, uint32_t reason)
{
	struct ummu_event event;

	assert_int_equal(ummu_monitor_read(monitor, &event, 1), 1);
	assert_int_equal(event.cookie, cookie);
	assert_int_equal(event.hint_start, (uintptr_t)start);
	assert_int_equal(event.hint_end, (uintptr_t)end);
	assert_int_equal(event.reason, reason);
	assert_int_equal(event.reserved, 0);
}

void monitor_expect_silence(struct ummu_monitor *monitor)
{
	struct ummu_event event;

	assert_int_equal(ummu_monitor_read(monitor, &event, 1), 0);
	assert_false(monitor_readable(monitor));
}
