/* SPDX-License-Identifier: MIT */
/*
 * kmod-events.c - take events out of the kernel's log, and say so.
 *
 * The module keeps room in its log for the event of every armed watch, and has
 * to be told what was read to have that room back.  Every call that makes or
 * ends a watch tells it; to tell it alone costs a system call, which only those
 * pay who poll the descriptor.
 *
 * No wakeup is lost.  The descriptor is readable while more was logged than
 * told, and the module wakes pollers when that becomes so.
 *   - What is told was handed to a reader, or dropped with its watch, for
 *     tellable() keeps one event back while some wait in the queue.  So
 *     while an event waits, in the log or in the queue, the descriptor is
 *     readable.
 *   - A reader that was given fewer events than it has room for has left
 *     nothing behind: it has told all it has read, and found after that that no
 *     more was logged.  An event after that look finds as much told as logged,
 *     and so wakes whoever polls, edge-triggered or not.
 */
#define _GNU_SOURCE
#include "kmod.h"

#include <errno.h>

static enum ummu_reason reason_of(uint32_t event_class)
{
	switch (event_class) {
	case UMMUNOTIFY_CLASS_UNMAP:
		return UMMU_REASON_UNMAP;
	case UMMUNOTIFY_CLASS_CLEAR:
		return UMMU_REASON_CLEAR;
	default:
		return UMMU_REASON_OTHER;
	}
}

/*
 * The next event in the log and its watch, or NULL.  Events of watches that
 * have ended are dropped: their slot is empty, or has another watch with
 * another state, for no state is given out twice.
 */
static struct kmod_watch *next_logged(struct kmod_monitor *monitor,
				      struct ummu_event *event)
{
	const struct ummunotify_log_entry *entry;
	struct kmod_watch *watch;

	while ((entry = ummu_kmod_log_next(&monitor->log))) {
		watch = ummu_kmod_slots_get(&monitor->slots, entry->slot);
		if (!watch || watch->handle.expected != entry->state)
			continue;
		*event = (struct ummu_event){
			.cookie = watch->cookie,
			.hint_start = entry->hint_start,
			.hint_end = entry->hint_end,
			.reason = reason_of(entry->event_class),
		};
		return watch;
	}
	return NULL;
}

/* What may be told: see above. */
static uint64_t tellable(const struct kmod_monitor *monitor)
{
	return monitor->log.read - !TAILQ_EMPTY(&monitor->pending);
}

/* The log is full: empty it.  False if there is no more to tell by that. */
static bool make_room(struct kmod_monitor *monitor, uint64_t told)
{
	struct kmod_watch *watch;
	struct ummu_event event;

	while ((watch = next_logged(monitor, &event))) {
		watch->event = event;
		watch->pending = true;
		TAILQ_INSERT_TAIL(&monitor->pending, watch, waiting);
	}
	return tellable(monitor) > told;
}

static int tell(struct kmod_monitor *monitor, unsigned long request,
		void *argument, uint64_t drained)
{
	int result = ummu_kmod_device_call(&monitor->device, request, argument);

	if (result >= 0)
		monitor->told = drained;
	return result;
}

int ummu_kmod_call(struct kmod_monitor *monitor, unsigned long request,
		   void *entries, uint32_t count)
{
	struct ummunotify_batch batch = {
		.entries = (uintptr_t)entries,
		.count = count,
	};
	int result;

	do {
		batch.drained = tellable(monitor);
		result = tell(monitor, request, &batch, batch.drained);
	} while (result == -EAGAIN && make_room(monitor, batch.drained));
	return result;
}

void ummu_kmod_forget(struct kmod_monitor *monitor, struct kmod_watch *watch)
{
	if (!watch->pending)
		return;
	TAILQ_REMOVE(&monitor->pending, watch, waiting);
	watch->pending = false;
}

static size_t take(struct kmod_monitor *monitor, struct ummu_event *events,
		   size_t max)
{
	struct kmod_watch *watch;
	size_t taken = 0;

	while (taken < max && (watch = TAILQ_FIRST(&monitor->pending))) {
		events[taken++] = watch->event;
		ummu_kmod_forget(monitor, watch);
	}
	while (taken < max && next_logged(monitor, &events[taken]))
		taken++;
	return taken;
}

static bool is_empty(const struct kmod_monitor *monitor)
{
	return TAILQ_EMPTY(&monitor->pending) &&
	       monitor->log.read >= ummu_kmod_log_total(&monitor->log);
}

/* Everything was read: have pollers sleep again. */
static void quieten(struct kmod_monitor *monitor)
{
	uint64_t read = monitor->log.read;

	/*
	 * Relaxed: who asks for the descriptor only now has not got the lock
	 * yet, and will do this.
	 */
	if (read != monitor->told &&
	    __atomic_load_n(&monitor->base.polled, __ATOMIC_RELAXED))
		tell(monitor, UMMUNOTIFY_DRAINED, &read, read);
}

void ummu_kmod_polled(struct kmod_monitor *monitor)
{
	if (is_empty(monitor))
		quieten(monitor);
}

int ummu_kmod_read(struct kmod_monitor *monitor, struct ummu_event *events,
		   size_t max)
{
	size_t taken = 0;

	if (max > INT32_MAX)
		max = INT32_MAX;
	/*
	 * What is logged while this takes events, before they are told, wakes
	 * nobody: whoever waits for an edge learns of it here or never.
	 */
	do {
		taken += take(monitor, events + taken, max - taken);
		if (is_empty(monitor))
			quieten(monitor);
	} while (taken < max && !is_empty(monitor));
	__atomic_store_n(&monitor->read_count, monitor->read_count + taken,
			 __ATOMIC_RELAXED);
	return (int)taken;
}
