/* SPDX-License-Identifier: MIT */
/*
 * backend.h - what a source of notifications implements.
 *
 * The checks that run on every hit make no call through this table: they load
 * the state word or the generation word that the backend published in the
 * handle.  A backend whose words the kernel writes (a shared page of the
 * module, a BPF map) leaves ->settle NULL, and then that load is all.  Only a
 * backend whose state can lag behind the kernel sets ->settle.
 */
#ifndef UMMU_BACKEND_H
#define UMMU_BACKEND_H

#include <ummunotify/monitor.h>

/** struct ummu_reader - the token of who has claimed a monitor; a part of it */
struct ummu_reader {
	struct ummu_monitor *monitor;
};

/**
 * struct ummu_monitor - the part of a monitor that every backend has
 * @backend:    its calls
 * @generation: the generation word; the backend's memory
 * @event_fd:   for poll(); the backend's; not used by one that has ->event_fd()
 * @use:        how many watches there are and how many calls of others than
 *              the reader are under way, and whether there is a reader
 *              (atomic; monitor.c)
 * @reader:     the token of the reader, while there is one
 * @polled:     1 once somebody has asked for the descriptor (atomic)
 * @watched, @refused: counters for statistics (relaxed atomics)
 *
 * A backend embeds this as the first member of its own struct.
 */
struct ummu_monitor {
	const struct ummu_backend *backend;
	const uint64_t *generation;
	int event_fd;
	int polled;
	uint64_t use;
	struct ummu_reader reader;
	uint64_t watched;
	uint64_t refused;
};

/**
 * struct ummu_backend - one source of notifications
 * @name:       for people and for UMMU_MONITOR
 * @only_named: never chosen as "the best one here"
 * @open:       allocate a monitor with ->generation set, and ->event_fd unless
 *              the backend makes its descriptor by @event_fd
 * @close:      end every watch, free everything; also runs in a forked child
 * @status:     0, -ECHILD or -EBADF; no cancellation point, see below
 * @watch:      [start, last] is whole pages and not empty; -errno as in
 *              monitor.h, after ummu_explain().  The handle's ->settle is the
 *              monitor if this backend has @settle, else NULL; its ->proof is
 *              the caller's to set
 * @unwatch:    also runs in a forked child, where it only frees
 * @release:    give back what the kernel was asked for on behalf of watches that
 *              have ended, in [start, last], which is whole pages and not empty;
 *              0 or -errno after ummu_explain().  No lock of the caller is
 *              held.  NULL: nothing outlives a watch
 * @settle:     store what every invalidation that has completed by now did;
 *              false if that cannot be known in bounded time; no cancellation
 *              point.  NULL: the words are always up to date
 * @generation: a load, exact for operations that have returned; no cancellation
 *              point; NULL: a plain load of ->generation is
 * @event_fd:   the descriptor for poll(), made at the first call; -errno after
 *              ummu_explain().  NULL: monitor->event_fd
 * @polled:     somebody asks for the descriptor for the first time: from here on it
 *              has to be quiet when there are no events.  NULL: it always is
 * @read:       events, oldest first; never blocks
 * @caps, @stats: fill in; size and the counters above are dealt with already
 *
 * All of them may change errno, and all but those of every hit (@status,
 * @settle, @generation) may reach cancellation points: monitor.c keeps the one
 * and holds off the other, see base/call.h.
 */
struct ummu_backend {
	const char *name;
	bool only_named;
	int (*open)(struct ummu_monitor **monitor_p);
	void (*close)(struct ummu_monitor *monitor);
	int (*status)(const struct ummu_monitor *monitor);
	int (*watch)(struct ummu_monitor *monitor, uint64_t start,
		     uint64_t last, uint64_t cookie,
		     struct ummu_watch **watch_p);
	void (*unwatch)(struct ummu_monitor *monitor, struct ummu_watch *watch);
	int (*release)(struct ummu_monitor *monitor, uint64_t start,
		       uint64_t last);
	bool (*settle)(const struct ummu_monitor *monitor);
	uint64_t (*generation)(const struct ummu_monitor *monitor);
	int (*event_fd)(struct ummu_monitor *monitor);
	void (*polled)(struct ummu_monitor *monitor);
	int (*read)(struct ummu_monitor *monitor, struct ummu_event *events,
		    size_t max);
	void (*caps)(const struct ummu_monitor *monitor, struct ummu_caps *caps);
	void (*stats)(const struct ummu_monitor *monitor,
		      struct ummu_monitor_stats *stats);
};

extern const struct ummu_backend ummu_backend_kmod;
extern const struct ummu_backend ummu_backend_uffd;
extern const struct ummu_backend ummu_backend_none;

/** ummu_monitor_open_on - open on a given backend; for tests with a fake. */
int ummu_monitor_open_on(const struct ummu_backend *backend,
			 struct ummu_monitor **monitor_p);

#endif
