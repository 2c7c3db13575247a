/* SPDX-License-Identifier: MIT */
/* uffd.c - the userfaultfd backend: what one monitor has of the shared state. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>

#include "../base/containerof.h"
#include "explain.h"
#include "uffd.h"

/**
 * struct uffd_monitor - a monitor
 * @process:     the shared state
 * @incarnation: of @process when this was opened; a forked child sees another
 * @queue:       watches and events; under the process's lock
 */
struct uffd_monitor {
	struct ummu_monitor base;
	struct uffd_process *process;
	uint64_t incarnation;
	struct watch_queue queue;
};

static struct uffd_monitor *of(const struct ummu_monitor *monitor)
{
	return container_of(monitor, struct uffd_monitor, base);
}

static bool in_child(const struct uffd_monitor *monitor)
{
	/* Acquire pairs with the store that ends opening. */
	return __atomic_load_n(&monitor->process->incarnation,
			       __ATOMIC_ACQUIRE) != monitor->incarnation;
}

static int uffd_status(const struct ummu_monitor *base)
{
	const struct uffd_monitor *monitor = of(base);

	if (in_child(monitor))
		return ummu_explain(-ECHILD, UMMU_EXPLAIN_CHILD);
	if (__atomic_load_n(&monitor->process->failed, __ATOMIC_ACQUIRE))
		return ummu_explain(
			-EBADF,
			"somebody closed this library's userfaultfd: every watch is invalid");
	return 0;
}

static int uffd_open(struct ummu_monitor **base_p)
{
	struct uffd_monitor *monitor = calloc(1, sizeof(*monitor));
	int error;

	if (!monitor)
		return ummu_explain(-ENOMEM, "no memory for a monitor");
	error = ummu_uffd_process_get(&monitor->process);
	if (error)
		goto free_monitor;
	monitor->incarnation = __atomic_load_n(&monitor->process->incarnation,
					       __ATOMIC_ACQUIRE);
	error = ummu_watch_queue_init(&monitor->queue);
	if (error)
		goto free_monitor;
	monitor->base.generation = monitor->queue.generation;
	monitor->base.event_fd = monitor->queue.event_fd;
	*base_p = &monitor->base;
	return 0;

free_monitor:
	free(monitor);
	return error;
}

/*
 * End every watch; the memory is freed later.  The lock is dropped in between
 * so that nobody's unmap waits for all of them; the list does not change, as
 * a monitor that is being closed is used by nobody else.
 */
static void end_watches(struct uffd_monitor *monitor)
{
	struct uffd_process *process = monitor->process;
	struct uffd_guard guard;
	struct watch *watch;

	LIST_FOREACH(watch, &monitor->queue.watches, member)
	{
		ummu_uffd_lock(process, &guard);
		if (!watch->spent) {
			ummu_interval_remove(&process->watches, &watch->range);
			ummu_uffd_uncover(process, watch);
		}
		ummu_uffd_unlock(process, &guard);
	}
}

static void uffd_close(struct ummu_monitor *base)
{
	struct uffd_monitor *monitor = of(base);

	if (!in_child(monitor))
		end_watches(monitor);
	ummu_watch_queue_destroy(&monitor->queue);
	free(monitor);
}

/*
 * model: WATCH.  Armed and registered in one critical section: an event of
 * this range cannot be read in between, and one that is read later finds the
 * watch in the tree.  An older event of the same addresses may then spend the
 * new watch: a retry for the caller, never a lost invalidation.
 */
static int arm_and_cover(struct uffd_monitor *monitor, struct watch *watch)
{
	struct uffd_process *process = monitor->process;
	int error;

	if (ummu_uffd_in_grace(process, watch->range.start, watch->range.last))
		return ummu_explain(
			-EAGAIN,
			"the range was given back with madvise() a moment ago: use it uncached this time");
	if (!ummu_watch_arm(&process->watches, &monitor->queue, watch))
		return -ENOBUFS;
	error = ummu_uffd_cover(process, watch);
	if (error)
		ummu_watch_disarm(&process->watches, watch);
	return error;
}

static int add_words(struct uffd_monitor *monitor)
{
	struct watch_chunk *chunk = ummu_watch_chunk_new();
	struct uffd_guard members, lock;

	if (!chunk)
		return ummu_explain(-ENOMEM, "no memory for state words");
	ummu_uffd_lock_members(monitor->process, &members);
	ummu_uffd_lock(monitor->process, &lock);
	ummu_watch_chunk_add(&monitor->queue, chunk);
	ummu_uffd_unlock(monitor->process, &lock);
	ummu_uffd_unlock_members(monitor->process, &members);
	return 0;
}

static int start_watch(struct uffd_monitor *monitor, struct watch *watch)
{
	struct uffd_guard guard;
	int error;

	for (;;) {
		ummu_uffd_lock(monitor->process, &guard);
		error = arm_and_cover(monitor, watch);
		ummu_uffd_unlock(monitor->process, &guard);
		if (error != -ENOBUFS)
			return error;
		error = add_words(monitor);
		if (error)
			return error;
	}
}

static struct watch *new_watch(struct uffd_monitor *monitor)
{
	struct watch *watch = calloc(1, sizeof(*watch));
	struct uffd_guard guard;

	if (!watch)
		return NULL;
	ummu_uffd_lock_members(monitor->process, &guard);
	LIST_INSERT_HEAD(&monitor->queue.watches, watch, member);
	ummu_uffd_unlock_members(monitor->process, &guard);
	return watch;
}

static void free_watch(struct uffd_monitor *monitor, struct watch *watch)
{
	struct uffd_guard guard;

	ummu_uffd_lock_members(monitor->process, &guard);
	LIST_REMOVE(watch, member);
	ummu_uffd_unlock_members(monitor->process, &guard);
	free(watch);
}

static int uffd_watch(struct ummu_monitor *base, uint64_t start, uint64_t last,
		      uint64_t cookie, struct ummu_watch **handle_p)
{
	struct uffd_monitor *monitor = of(base);
	struct watch *watch;
	int error = uffd_status(base);

	if (error)
		return error;
	/* What is in flight over these addresses now would only spend it. */
	if (!ummu_uffd_settle(monitor->process))
		return ummu_explain(
			-EAGAIN,
			"invalidations keep coming: use the memory uncached this time");
	watch = new_watch(monitor);
	if (!watch)
		return ummu_explain(-ENOMEM, "no memory for a watch");
	watch->range.start = start;
	watch->range.last = last;
	watch->cookie = cookie;
	watch->handle.settle = base;
	error = start_watch(monitor, watch);
	if (error) {
		free_watch(monitor, watch);
		return error;
	}
	*handle_p = &watch->handle;
	return 0;
}

static void uffd_unwatch(struct ummu_monitor *base, struct ummu_watch *handle)
{
	struct watch *watch = container_of(handle, struct watch, handle);
	struct uffd_monitor *monitor = of(base);
	struct uffd_process *process = monitor->process;
	struct uffd_guard guard;

	/* A child's locks are its own; the tree there is not this one. */
	if (!in_child(monitor)) {
		ummu_uffd_lock(process, &guard);
		ummu_watch_disarm(&process->watches, watch);
		ummu_uffd_uncover(process, watch);
		ummu_uffd_unlock(process, &guard);
	}
	free_watch(monitor, watch);
}

static bool uffd_settle(const struct ummu_monitor *base)
{
	const struct uffd_monitor *monitor = of(base);

	return !in_child(monitor) && ummu_uffd_settle(monitor->process);
}

static uint64_t uffd_generation(const struct ummu_monitor *base)
{
	struct uffd_process *process = of(base)->process;
	struct uffd_guard guard;

	/*
	 * Odd: a message was perhaps read, its munmap has perhaps returned,
	 * and the store is still to come.  Acquire, as in SETTLE.
	 */
	if (__atomic_load_n(&process->sequence, __ATOMIC_ACQUIRE) & 1) {
		ummu_uffd_lock(process, &guard);
		ummu_uffd_unlock(process, &guard);
	}
	return __atomic_load_n(base->generation, __ATOMIC_ACQUIRE);
}

static int uffd_read(struct ummu_monitor *base, struct ummu_event *events,
		     size_t max)
{
	struct uffd_monitor *monitor = of(base);
	struct uffd_guard guard;
	int taken;

	if (in_child(monitor))
		return ummu_explain(-ECHILD, UMMU_EXPLAIN_CHILD);
	for (bool settled = false;; settled = true) {
		ummu_uffd_lock(monitor->process, &guard);
		taken = ummu_watch_take(&monitor->queue, events, max);
		ummu_uffd_unlock(monitor->process, &guard);
		if (taken || settled)
			return taken;
		/* Before it says 0: what has completed is to be in it. */
		ummu_uffd_settle(monitor->process);
	}
}

static void uffd_caps(const struct ummu_monitor *base, struct ummu_caps *caps)
{
	static const uint8_t claims[UMMU_OP_COUNT] = {
		[UMMU_OP_MUNMAP] = UMMU_CLAIM_CAUGHT,
		[UMMU_OP_MAP_FIXED] = UMMU_CLAIM_CAUGHT,
		[UMMU_OP_MREMAP_MOVE] = UMMU_CLAIM_CAUGHT,
		[UMMU_OP_MREMAP_SHRINK] = UMMU_CLAIM_CAUGHT,
		[UMMU_OP_MREMAP_DONTUNMAP] = UMMU_CLAIM_CAUGHT,
		[UMMU_OP_MREMAP_ONTO] = UMMU_CLAIM_CAUGHT,
		[UMMU_OP_BRK] = UMMU_CLAIM_CAUGHT,
		[UMMU_OP_MADV_DONTNEED] = UMMU_CLAIM_EARLY,
		[UMMU_OP_MADV_DONTNEED_LOCKED] = UMMU_CLAIM_EARLY,
		[UMMU_OP_MADV_REMOVE] = UMMU_CLAIM_EARLY,
		[UMMU_OP_MADV_FREE] = UMMU_CLAIM_EARLY,
		[UMMU_OP_PROCESS_MADVISE] = UMMU_CLAIM_EARLY,
		/* A pinned page is not moved, so there is nothing to catch. */
		[UMMU_OP_COLLAPSE] = UMMU_CLAIM_CAUGHT,
	};

	caps->grace_ns = UFFD_GRACE_NS;
	caps->flags = of(base)->process->any_file ? UMMU_CAPS_ANY_FILE : 0;
	for (unsigned int i = 0; i < UMMU_OP_COUNT; i++)
		caps->claims[i] = claims[i];
}

static uint64_t relaxed(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static void uffd_stats(const struct ummu_monitor *base,
		       struct ummu_monitor_stats *stats)
{
	struct uffd_monitor *monitor = of(base);
	struct uffd_process *process = monitor->process;
	struct uffd_guard guard;

	ummu_uffd_lock(process, &guard);
	stats->watches = monitor->queue.live;
	stats->invalidations = monitor->queue.hit;
	stats->events_read = monitor->queue.read;
	ummu_uffd_unlock(process, &guard);
	stats->kernel_events = relaxed(&process->kernel_events);
	stats->drained_by_lookup = relaxed(&process->drained_by_lookup);
	stats->probes_in_flight = relaxed(&process->probes_in_flight);
	stats->unsettled = relaxed(&process->unsettled);
	stats->widened = relaxed(&process->widened);
}

const struct ummu_backend ummu_backend_uffd = {
	.name = "uffd",
	.open = uffd_open,
	.close = uffd_close,
	.status = uffd_status,
	.watch = uffd_watch,
	.unwatch = uffd_unwatch,
	.settle = uffd_settle,
	.generation = uffd_generation,
	.read = uffd_read,
	.caps = uffd_caps,
	.stats = uffd_stats,
};
