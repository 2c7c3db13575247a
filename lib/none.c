/* SPDX-License-Identifier: MIT */
/* none.c - the backend that watches nothing, for who asks for no monitor. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "../base/containerof.h"
#include "../base/lock.h"
#include "../base/wipe.h"
#include "backend.h"
#include "bell.h"
#include "explain.h"

/**
 * struct none_monitor - a monitor
 * @lock: protects @bell
 * @bell: made when it is asked for, and never rung
 */
struct none_monitor {
	struct ummu_monitor base;
	pthread_mutex_t lock;
	struct ummu_bell bell;
};

static struct none_monitor *of(struct ummu_monitor *monitor)
{
	return container_of(monitor, struct none_monitor, base);
}

/* It is 1, and 0 in a forked child, as a fork wipes its page. */
static uint64_t *alive_word(const struct ummu_monitor *monitor)
{
	return (uint64_t *)(uintptr_t)monitor->generation;
}

static int none_open(struct ummu_monitor **monitor_p)
{
	struct none_monitor *monitor = calloc(1, sizeof(*monitor));
	int error;

	if (!monitor)
		return ummu_explain(-ENOMEM, "no memory for a monitor");
	monitor->base.generation = ummu_wipe_alloc(
		(size_t)sysconf(_SC_PAGESIZE));
	if (!monitor->base.generation) {
		error = ummu_explain(-errno, "no page for a monitor: %m");
		free(monitor);
		return error;
	}
	*alive_word(&monitor->base) = 1;
	monitor->base.event_fd = -1;
	monitor->bell = UMMU_NO_BELL;
	pthread_mutex_init(&monitor->lock, NULL);
	*monitor_p = &monitor->base;
	return 0;
}

static void none_close(struct ummu_monitor *monitor)
{
	ummu_bell_destroy(&of(monitor)->bell);
	ummu_wipe_free(alive_word(monitor), (size_t)sysconf(_SC_PAGESIZE));
	free(of(monitor));
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

/* Makes a bell that never rings, for programs that poll whatever they have. */
static int none_event_fd(struct ummu_monitor *monitor)
{
	struct none_monitor *ours = of(monitor);
	struct ummu_bell bell = UMMU_NO_BELL;
	int error = none_status(monitor);
	int fd;

	while (!error) {
		ummu_mutex_lock(&ours->lock);
		if (!ummu_bell_is_made(&ours->bell)) {
			ours->bell = bell;
			bell = UMMU_NO_BELL;
		}
		fd = ours->bell.poll.fd;
		ummu_mutex_unlock(&ours->lock);
		if (fd >= 0) {
			ummu_bell_destroy(&bell); /* if another was faster */
			return fd;
		}
		error = ummu_bell_make(&bell);
	}
	return error;
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
	.event_fd = none_event_fd,
	.read = none_read,
	.caps = none_caps,
	.stats = none_stats,
};
