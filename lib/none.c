/* SPDX-License-Identifier: MIT */
/* none.c - the backend that watches nothing, for programs told to go without. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../base/wipe.h"
#include "backend.h"
#include "explain.h"

/* Reads as 0 in a forked child, which so learns that it is one. */
static uint64_t *alive_word(const struct ummu_monitor *monitor)
{
	return (uint64_t *)(uintptr_t)monitor->generation;
}

static int none_open(struct ummu_monitor **monitor_p)
{
	struct ummu_monitor *monitor = calloc(1, sizeof(*monitor));
	int error;

	if (!monitor)
		return ummu_explain(-ENOMEM, "no memory for a monitor");
	monitor->generation = ummu_wipe_alloc((size_t)sysconf(_SC_PAGESIZE));
	if (!monitor->generation) {
		error = ummu_explain(-errno, "no page for a monitor: %m");
		goto free_monitor;
	}
	*alive_word(monitor) = 1;
	monitor->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (monitor->event_fd < 0) {
		error = ummu_explain(-errno, "eventfd: %m");
		goto free_page;
	}
	*monitor_p = monitor;
	return 0;

free_page:
	ummu_wipe_free(alive_word(monitor), (size_t)sysconf(_SC_PAGESIZE));
free_monitor:
	free(monitor);
	return error;
}

static void none_close(struct ummu_monitor *monitor)
{
	close(monitor->event_fd);
	ummu_wipe_free(alive_word(monitor), (size_t)sysconf(_SC_PAGESIZE));
	free(monitor);
}

static int none_status(const struct ummu_monitor *monitor)
{
	if (*monitor->generation)
		return 0;
	return ummu_explain(-ECHILD, UMMU_EXPLAIN_CHILD);
}

static int none_watch(struct ummu_monitor *monitor, uint64_t start,
		      uint64_t last, uint64_t cookie,
		      struct ummu_watch **watch_p)
{
	(void)start, (void)last, (void)cookie, (void)watch_p;
	if (none_status(monitor))
		return -ECHILD;
	return ummu_explain(
		-EOPNOTSUPP,
		"the backend \"none\" watches nothing: unset UMMU_MONITOR, or open another backend");
}

static void none_unwatch(struct ummu_monitor *monitor, struct ummu_watch *watch)
{
	(void)monitor, (void)watch;
}

static int none_read(struct ummu_monitor *monitor, struct ummu_event *events,
		     size_t max)
{
	(void)events, (void)max;
	return none_status(monitor);
}

static void none_caps(const struct ummu_monitor *monitor, struct ummu_caps *caps)
{
	(void)monitor, (void)caps; /* claims nothing */
}

static void none_stats(const struct ummu_monitor *monitor,
		       struct ummu_monitor_stats *stats)
{
	(void)monitor, (void)stats;
}

const struct ummu_backend ummu_backend_none = {
	.name = "none",
	.only_named = true,
	.open = none_open,
	.close = none_close,
	.status = none_status,
	.watch = none_watch,
	.unwatch = none_unwatch,
	.read = none_read,
	.caps = none_caps,
	.stats = none_stats,
};
