/* SPDX-License-Identifier: MIT */
/* uffd.c - the userfaultfd backend: the calls of one monitor. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>

#include "../base/containerof.h"
#include "explain.h"
#include "uffd.h"

static struct uffd_monitor *of(const struct ummu_monitor *monitor)
{
	return container_of(monitor, struct uffd_monitor, base);
}

static bool in_child(const struct uffd_monitor *monitor)
{
	/* Acquire pairs with the release store in set_up(). */
	return __atomic_load_n(&monitor->process->incarnation,
			       __ATOMIC_ACQUIRE) != monitor->incarnation;
}

static int uffd_status(const struct ummu_monitor *base)
{
	const struct uffd_monitor *monitor = of(base);

	if (in_child(monitor))
		return ummu_explain(-ECHILD, UMMU_EXPLAIN_CHILD);
	if (ummu_uffd_has_failed(monitor))
		return ummu_explain(
			-EBADF,
			"somebody closed this library's userfaultfd (a closefrom() call?): every watch is invalid; open another monitor");
	return 0;
}

static int uffd_open(struct ummu_monitor **base_p)
{
	struct uffd_monitor *monitor = calloc(1, sizeof(*monitor));
	struct uffd_guard guard;
	int error;

	if (!monitor)
		return ummu_explain(-ENOMEM, "no memory for a monitor");
	error = ummu_uffd_open(&monitor->process);
	if (error)
		goto free_monitor;
	error = ummu_watch_queue_init(&monitor->queue);
	if (error)
		goto free_monitor;
	ummu_uffd_lock(monitor->process, &guard);
	monitor->incarnation = monitor->process->incarnation;
	monitor->losses = monitor->process->losses;
	LIST_INSERT_HEAD(&monitor->process->queues, &monitor->queue, of_process);
	ummu_uffd_unlock(monitor->process, &guard);
	monitor->base.generation = monitor->queue.generation;
	monitor->base.event_fd = -1;
	*base_p = &monitor->base;
	return 0;

free_monitor:
	free(monitor);
	return error;
}

/*
 * End every watch; the caller frees the memory later.  The lock is dropped
 * after each watch, so that no unmap waits for all of them.  The list does not
 * change meanwhile, as nobody else uses a monitor that is being closed.
 */
static void end_watches(struct uffd_monitor *monitor)
{
	struct uffd_process *process = monitor->process;
	struct uffd_guard guard;
	struct watch *watch;

	LIST_FOREACH(watch, &monitor->queue.watches, member)
	ummu_uffd_end_watch(process, watch);
	ummu_uffd_lock(process, &guard);
	LIST_REMOVE(&monitor->queue, of_process);
	ummu_uffd_unlock(process, &guard);
}

static void uffd_close(struct ummu_monitor *base)
{
	struct uffd_monitor *monitor = of(base);

	if (!in_child(monitor))
		end_watches(monitor);
	ummu_watch_queue_destroy(&monitor->queue);
	free(monitor);
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

static int explain_settled(const struct uffd_monitor *monitor,
			   enum uffd_settled settled)
{
	switch (settled) {
	case UFFD_SETTLED:
		return 0;
	case UFFD_FORBIDDEN:
		return ummu_explain(
			-EPERM,
			"this thread may not ask its userfaultfd (a seccomp filter of its own?): it has to use memory uncached");
	case UFFD_FAILED:
		return uffd_status(&monitor->base);
	default:
		return ummu_explain(
			-EAGAIN,
			"invalidations keep coming: use the memory uncached this time");
	}
}

static int uffd_watch(struct ummu_monitor *base, uint64_t start, uint64_t last,
		      uint64_t cookie, struct ummu_watch **handle_p)
{
	struct uffd_monitor *monitor = of(base);
	struct watch *watch;
	int error = uffd_status(base);

	/* An operation in flight over these addresses would spend the watch. */
	if (!error)
		error = explain_settled(monitor,
					ummu_uffd_settle(monitor->process));
	if (error)
		return error;
	watch = new_watch(monitor);
	if (!watch)
		return ummu_explain(-ENOMEM, "no memory for a watch");
	watch->range.start = start;
	watch->range.last = last;
	watch->cookie = cookie;
	watch->handle.settle = base;
	error = ummu_uffd_start_watch(monitor, watch);
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

	/* A child has a tree of its own, which never held this watch. */
	if (!in_child(monitor))
		ummu_uffd_end_watch(monitor->process, watch);
	free_watch(monitor, watch);
}

static int uffd_release(struct ummu_monitor *base, uint64_t start, uint64_t last)
{
	struct uffd_monitor *monitor = of(base);
	struct uffd_process *process = monitor->process;
	const struct uffd_range range = { start, last };
	struct uffd_guard guard;
	struct uffd_tools tools;
	int error = uffd_status(base);

	if (error)
		return error;
	ummu_uffd_lock(process, &guard);
	tools = (struct uffd_tools){
		ummu_descriptor_number(&process->uffd),
		ummu_descriptor_number(&process->pagemap),
		ummu_descriptor_number(&process->maps),
	};
	ummu_uffd_unlock(process, &guard);
	/* What cannot be unregistered is idle again only from later on. */
	ummu_uffd_leave_idle(process, &tools, &range, ummu_uffd_now(), true);
	ummu_uffd_lock(process, &guard);
	while (process->is_leaving)
		ummu_uffd_wait(process);
	ummu_uffd_unlock(process, &guard);
	return 0;
}

/* Give the monitor a bell, unless another thread has done so meanwhile. */
static int make_bell(struct uffd_monitor *monitor)
{
	struct uffd_process *process = monitor->process;
	struct ummu_bell bell;
	struct uffd_guard guard;
	int error = ummu_bell_make(&bell);

	if (error)
		return error;
	ummu_uffd_lock(process, &guard);
	if (!ummu_bell_is_made(&monitor->queue.bell)) {
		monitor->queue.bell = bell;
		monitor->queue.bell_serial = ++process->bells;
		bell = UMMU_NO_BELL;
	}
	ummu_uffd_unlock(process, &guard);
	ummu_bell_destroy(&bell);
	return 0;
}

/*
 * Can every thread ring the bell that stores an event?  The reader can if its
 * table of descriptors has the bell.  The caller holds the lock.
 */
static bool is_heard(const struct uffd_monitor *monitor)
{
	const struct uffd_process *process = monitor->process;

	return (process->state == UFFD_IDLE && !process->starting) ||
	       process->table_shared ||
	       monitor->queue.bell_serial <= process->reader_bells;
}

enum bell_state { BELL_MISSING, BELL_UNHEARD, BELL_READY };

static enum bell_state look_at_bell(struct uffd_monitor *monitor, bool fresh,
				    int *fd)
{
	struct watch_queue *queue = &monitor->queue;
	enum bell_state state = BELL_MISSING;
	struct uffd_guard guard;

	ummu_uffd_lock(monitor->process, &guard);
	*fd = queue->bell.poll.fd;
	if (ummu_bell_is_made(&queue->bell))
		state = is_heard(monitor) ? BELL_READY : BELL_UNHEARD;
	/* An event stored before every thread could ring has rung nothing. */
	if (fresh && state == BELL_READY && !TAILQ_EMPTY(&queue->pending))
		ummu_bell_ring(&queue->bell);
	ummu_uffd_unlock(monitor->process, &guard);
	return state;
}

static int uffd_event_fd(struct ummu_monitor *base)
{
	struct uffd_monitor *monitor = of(base);
	int error = 0;
	int fd;

	if (in_child(monitor))
		return ummu_explain(-ECHILD, UMMU_EXPLAIN_CHILD);
	for (bool fresh = false; !error; fresh = true) {
		switch (look_at_bell(monitor, fresh, &fd)) {
		case BELL_READY:
			return fd;
		case BELL_MISSING:
			error = make_bell(monitor);
			break;
		case BELL_UNHEARD:
			error = ummu_uffd_reader_start(monitor->process, true);
			break;
		}
	}
	return error;
}

static bool uffd_settle(const struct ummu_monitor *base)
{
	const struct uffd_monitor *monitor = of(base);

	return !in_child(monitor) &&
	       ummu_uffd_settle(monitor->process) == UFFD_SETTLED;
}

static uint64_t uffd_generation(const struct ummu_monitor *base)
{
	struct uffd_process *process = of(base)->process;
	struct uffd_guard guard;

	/*
	 * While it is odd, a munmap may have returned, as its event was read,
	 * and the event may not be stored yet.  Acquire, as in SETTLE.
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
		/* Before 0 is returned, store what has completed. */
		ummu_uffd_settle(monitor->process);
	}
}

/*
 * Only a reader finds out.  If none has run yet, start one; it ends at its next
 * tick unless something is watched by then.
 */
static bool shares_table(struct uffd_process *process)
{
	struct uffd_guard guard;
	bool known, shared;

	for (bool asked = false;; asked = true) {
		ummu_uffd_lock(process, &guard);
		known = process->table_known;
		shared = process->table_shared;
		ummu_uffd_unlock(process, &guard);
		if (known || asked)
			return shared;
		ummu_uffd_reader_start(process, false);
	}
}

static void uffd_caps(const struct ummu_monitor *base, struct ummu_caps *caps)
{
	struct uffd_process *process = of(base)->process;
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
	/* A child's memory of the process says nothing. */
	if (!in_child(of(base)) && process->any_file)
		caps->flags |= UMMU_CAPS_ANY_FILE;
	if (!in_child(of(base)) && shares_table(process))
		caps->flags |= UMMU_CAPS_SHARED_TABLE;
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
	stats->registered = process->ledger.count;
	ummu_uffd_unlock(process, &guard);
	stats->kernel_events = relaxed(&process->kernel_events);
	stats->drained_by_lookup = relaxed(&process->drained_by_lookup);
	stats->probes_in_flight = relaxed(&process->probes_in_flight);
	stats->unsettled = relaxed(&process->unsettled);
}

const struct ummu_backend ummu_backend_uffd = {
	.name = "uffd",
	.open = uffd_open,
	.close = uffd_close,
	.status = uffd_status,
	.watch = uffd_watch,
	.unwatch = uffd_unwatch,
	.release = uffd_release,
	.event_fd = uffd_event_fd,
	.settle = uffd_settle,
	.generation = uffd_generation,
	.read = uffd_read,
	.caps = uffd_caps,
	.stats = uffd_stats,
};
