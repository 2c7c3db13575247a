/* SPDX-License-Identifier: MIT */
/* kmod.c - the backend on the kernel module. */
#define _GNU_SOURCE
#include "kmod.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../base/containerof.h"
#include "../base/lock.h"
#include "explain.h"

/* Watches that closing ends with one call. */
#define BATCH 128

/* The table of watches has no room for the slot of a new one. */
#define NO_ROOM 1

static struct kmod_monitor *of(const struct ummu_monitor *monitor)
{
	return container_of(monitor, struct kmod_monitor, base);
}

/* The module starts the generation at 1; a child reads 0. */
static bool in_child(const struct kmod_monitor *monitor)
{
	return !__atomic_load_n(monitor->base.generation, __ATOMIC_RELAXED);
}

static int kmod_status(const struct ummu_monitor *base)
{
	const struct kmod_monitor *monitor = of(base);

	if (in_child(monitor))
		return ummu_explain(-ECHILD, UMMU_EXPLAIN_CHILD);
	return ummu_kmod_device_status(&monitor->device);
}

/* With room for the first watches, which need not make it then. */
static struct kmod_monitor *new_monitor(void)
{
	struct kmod_monitor *monitor = calloc(1, sizeof(*monitor));

	if (!monitor)
		return NULL;
	monitor->slots.table = ummu_kmod_table_new(0);
	if (!monitor->slots.table) {
		free(monitor);
		return NULL;
	}
	return monitor;
}

static int kmod_open(struct ummu_monitor **base_p)
{
	struct kmod_monitor *monitor = new_monitor();
	const struct ummunotify_shared *shared;
	int error;

	if (!monitor)
		return ummu_explain(-ENOMEM, "no memory for a monitor");
	error = ummu_kmod_device_open(&monitor->device);
	if (error) {
		ummu_kmod_slots_destroy(&monitor->slots);
		free(monitor);
		return error;
	}
	pthread_mutex_init(&monitor->lock, NULL);
	ummu_kmod_log_init(&monitor->log, monitor->device.map,
			   monitor->device.setup.log_offset);
	TAILQ_INIT(&monitor->pending);
	shared = monitor->device.map;
	monitor->base.generation = (const uint64_t *)&shared->generation;
	monitor->base.event_fd = monitor->device.fd;
	*base_p = &monitor->base;
	return 0;
}

static void free_watches(struct kmod_monitor *monitor)
{
	uint32_t count = ummu_kmod_slots_count(&monitor->slots);

	for (uint32_t slot = 0; slot < count; slot++)
		free(ummu_kmod_slots_get(&monitor->slots, slot));
	ummu_kmod_slots_destroy(&monitor->slots);
}

/* The descriptor and the mapping may live on in a child. */
static void end_watches(struct kmod_monitor *monitor)
{
	uint32_t count = ummu_kmod_slots_count(&monitor->slots);
	struct ummunotify_watch_id ids[BATCH];
	uint32_t filled = 0;

	for (uint32_t slot = 0; slot < count; slot++) {
		const struct kmod_watch
			*watch = ummu_kmod_slots_get(&monitor->slots, slot);

		if (watch)
			ids[filled++] = (struct ummunotify_watch_id){
				.state = watch->handle.expected,
				.slot = slot,
			};
		if (filled == BATCH || (filled && slot == count - 1)) {
			ummu_kmod_call(monitor, UMMUNOTIFY_UNWATCH, ids, filled);
			filled = 0;
		}
	}
}

static void kmod_close(struct ummu_monitor *base)
{
	struct kmod_monitor *monitor = of(base);

	if (!in_child(monitor)) {
		end_watches(monitor);
		pthread_mutex_destroy(&monitor->lock);
	}
	free_watches(monitor);
	ummu_kmod_device_close(&monitor->device);
	free(monitor);
}

/* No lock is held: to put it into words may allocate. */
static int explain_watch(const struct kmod_monitor *monitor, int error,
			 const struct ummunotify_watch *range)
{
	switch (error) {
	case -EBADF:
		return ummu_kmod_device_status(&monitor->device);
	case -EINVAL:
		return ummu_explain(error,
				    "%#llx-%#llx is not within the addresses of a process",
				    (unsigned long long)range->start,
				    (unsigned long long)range->end - 1);
	case -ENOSPC:
		return ummu_explain(
			error,
			"the kernel module's limit is reached: raise %s in /sys/module/ummunotify/parameters",
			__atomic_load_n(&monitor->live, __ATOMIC_RELAXED) >=
					monitor->device.setup.watches ?
				"watches_per_file, for monitors opened after that," :
				"watches_per_process or watches_per_user");
	case -EAGAIN:
		return ummu_explain(
			error,
			"the log of events is full: read them with ummu_monitor_read()");
	case -ENOMEM:
		return ummu_explain(
			error,
			"the kernel has no memory for a watch (see the limit of the memory cgroup)");
	default:
		return ummu_explain(error, "UMMUNOTIFY_WATCH: %s",
				    strerror(-error));
	}
}

static void count_live(struct kmod_monitor *monitor, int change)
{
	__atomic_fetch_add(&monitor->live, (uint64_t)(int64_t)change,
			   __ATOMIC_RELAXED);
}

static void end_watch(struct kmod_monitor *monitor, struct kmod_watch *watch)
{
	struct ummunotify_watch_id id = { .state = watch->handle.expected,
					  .slot = watch->slot };

	ummu_kmod_call(monitor, UMMUNOTIFY_UNWATCH, &id, 1);
}

/*
 * The caller holds the lock.  Returns 0, a negative errno that is not explained,
 * or NO_ROOM for the slot in range->slot; then the kernel has forgotten the
 * watch, and an event that it has logged meanwhile finds no watch there.
 */
static int start_watch(struct kmod_monitor *monitor, struct kmod_watch *watch,
		       struct ummunotify_watch *range)
{
	const uint64_t
		*states = (const void *)((const char *)monitor->device.map +
					 monitor->device.setup.states_offset);
	int result = ummu_kmod_call(monitor, UMMUNOTIFY_WATCH, range, 1);

	if (result < 0)
		return result;
	watch->slot = range->slot;
	watch->handle.state = &states[range->slot];
	watch->handle.expected = range->state;
	if (!ummu_kmod_slots_put(&monitor->slots, watch->slot, watch)) {
		end_watch(monitor, watch);
		return NO_ROOM;
	}
	count_live(monitor, 1);
	return 0;
}

static int no_memory(void)
{
	return ummu_explain(-ENOMEM, "no memory for a watch");
}

/* Make room for a slot.  No lock is held. */
static int add_room(struct kmod_monitor *monitor, uint32_t slot)
{
	struct kmod_table *table = ummu_kmod_table_new(slot);

	if (!table)
		return no_memory();
	ummu_mutex_lock(&monitor->lock);
	table = ummu_kmod_slots_replace(&monitor->slots, table);
	ummu_mutex_unlock(&monitor->lock);
	free(table);
	return 0;
}

/*
 * The kernel says which slot it is only when the watch is there, and the table
 * cannot grow under the lock; so where the slot has no room, make room for it
 * and try again.  Each time the table doubles at least, so this ends.
 */
static int start_watch_with_room(struct kmod_monitor *monitor,
				 struct kmod_watch *watch,
				 const struct ummunotify_watch *wanted)
{
	struct ummunotify_watch range;
	int result, error;

	for (;;) {
		range = *wanted;
		ummu_mutex_lock(&monitor->lock);
		result = start_watch(monitor, watch, &range);
		ummu_mutex_unlock(&monitor->lock);
		if (result < 0)
			return explain_watch(monitor, result, wanted);
		if (result != NO_ROOM)
			return 0;
		error = add_room(monitor, range.slot);
		if (error)
			return error;
	}
}

static int kmod_watch(struct ummu_monitor *base, uint64_t start, uint64_t last,
		      uint64_t cookie, struct ummu_watch **handle_p)
{
	const struct ummunotify_watch range = { .start = start,
						.end = last + 1 };
	struct kmod_monitor *monitor = of(base);
	struct kmod_watch *watch;
	int error = kmod_status(base);

	if (error)
		return error;
	watch = calloc(1, sizeof(*watch));
	if (!watch)
		return no_memory();
	watch->cookie = cookie;
	error = start_watch_with_room(monitor, watch, &range);
	if (error) {
		free(watch);
		return error;
	}
	*handle_p = &watch->handle;
	return 0;
}

static void kmod_unwatch(struct ummu_monitor *base, struct ummu_watch *handle)
{
	struct kmod_watch *watch = container_of(handle, struct kmod_watch,
						handle);
	struct kmod_monitor *monitor = of(base);

	if (in_child(monitor)) {
		ummu_kmod_slots_take(&monitor->slots, watch->slot);
	} else {
		ummu_mutex_lock(&monitor->lock);
		ummu_kmod_forget(monitor, watch);
		/* Before the kernel can give the slot to another watch. */
		ummu_kmod_slots_take(&monitor->slots, watch->slot);
		end_watch(monitor, watch);
		count_live(monitor, -1);
		ummu_mutex_unlock(&monitor->lock);
	}
	free(watch);
}

static void kmod_polled(struct ummu_monitor *base)
{
	struct kmod_monitor *monitor = of(base);

	if (in_child(monitor))
		return;
	ummu_mutex_lock(&monitor->lock);
	ummu_kmod_polled(monitor);
	ummu_mutex_unlock(&monitor->lock);
}

static int kmod_read(struct ummu_monitor *base, struct ummu_event *events,
		     size_t max)
{
	struct kmod_monitor *monitor = of(base);
	int taken;

	if (in_child(monitor))
		return ummu_explain(-ECHILD, UMMU_EXPLAIN_CHILD);
	ummu_mutex_lock(&monitor->lock);
	taken = ummu_kmod_read(monitor, events, max);
	ummu_mutex_unlock(&monitor->lock);
	return taken;
}

/*
 * The kernel tells of every page that leaves, whoever takes it away: all of
 * these reach a memory's secondary users by the same call.  MADV_FREE is caught
 * when the page goes, which may be later than the call or never.
 */
static void kmod_caps(const struct ummu_monitor *base, struct ummu_caps *caps)
{
	(void)base;
	caps->flags = UMMU_CAPS_EXACT | UMMU_CAPS_ONE_LOAD | UMMU_CAPS_ANY_FILE;
	for (unsigned int i = 0; i < UMMU_OP_COUNT; i++)
		caps->claims[i] = UMMU_CLAIM_CAUGHT;
}

static void kmod_stats(const struct ummu_monitor *base,
		       struct ummu_monitor_stats *stats)
{
	const struct kmod_monitor *monitor = of(base);

	stats->watches = __atomic_load_n(&monitor->live, __ATOMIC_RELAXED);
	stats->invalidations = ummu_kmod_log_total(&monitor->log);
	stats->events_read = __atomic_load_n(&monitor->read_count,
					     __ATOMIC_RELAXED);
}

const struct ummu_backend ummu_backend_kmod = {
	.name = "kmod",
	.open = kmod_open,
	.close = kmod_close,
	.status = kmod_status,
	.watch = kmod_watch,
	.unwatch = kmod_unwatch,
	.polled = kmod_polled,
	.read = kmod_read,
	.caps = kmod_caps,
	.stats = kmod_stats,
};
