/* SPDX-License-Identifier: MIT */
/*
 * truth.h - the monitor of this process, and who may look into the cache when.
 */
#ifndef UMMU_OPENMPI_TRUTH_H
#define UMMU_OPENMPI_TRUTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ummunotify/monitor.h>

/** ummu_ompi_open - open the monitor; 0 or -errno, and then nothing is open. */
int ummu_ompi_open(void);
void ummu_ompi_close(void);

/** ummu_ompi_here - is it open, and this not a child of fork?  One load. */
bool ummu_ompi_here(void);

/** ummu_ompi_backend - its backend's name. */
const char *ummu_ompi_backend(void);

/** ummu_ompi_wants_hooks - do hooks in libc see what it cannot? */
bool ummu_ompi_wants_hooks(void);

/**
 * enum ummu_ompi_look - what a call of the cache may do
 * UMMU_OMPI_TRUST:  use what is cached: whatever had gone when the call began
 *                   was taken out
 * UMMU_OMPI_AVOID:  not use it, for that could not be found out
 * UMMU_OMPI_STRANGER: the same; a child of fork, or all is over: no lock is held
 */
enum ummu_ompi_look {
	UMMU_OMPI_TRUST,
	UMMU_OMPI_AVOID,
	UMMU_OMPI_STRANGER,
};

/**
 * struct ummu_ompi_call - a call of the cache that is under way
 * @look:   what it may do
 * @cancel: whether its thread could be cancelled before
 */
struct ummu_ompi_call {
	enum ummu_ompi_look look;
	int cancel;
};

/**
 * ummu_ompi_begin_lookup, ummu_ompi_end_lookup - around each lookup
 *
 * In between nobody takes anything out of the cache by itself, and the thread
 * is not cancelled: a BTL writes to a device file, and a thread that ended there
 * would leave the lock behind.
 */
struct ummu_ompi_call ummu_ompi_begin_lookup(void);
void ummu_ompi_end_lookup(struct ummu_ompi_call call);

/**
 * ummu_ompi_begin_use - around calls of the cache that look nothing up
 *
 * As ummu_ompi_begin_lookup(), without the question whether anything has gone.
 */
struct ummu_ompi_call ummu_ompi_begin_use(void);

/**
 * ummu_ompi_begin_change, ummu_ompi_end_change - while the set of caches changes
 *
 * Nobody is between the calls above then.
 */
void ummu_ompi_begin_change(void);
void ummu_ompi_end_change(void);

/** ummu_ompi_catch_up - take out what has gone by now. */
void ummu_ompi_catch_up(void);

/**
 * ummu_ompi_watch, ummu_ompi_unwatch - as in monitor.h, on this monitor
 *
 * Within a lookup or use.  Nothing is watched in a child of fork: -ECHILD.
 */
int ummu_ompi_watch(void *base, size_t size, struct ummu_watch **watch_p);
void ummu_ompi_unwatch(struct ummu_watch *watch);

/**
 * ummu_ompi_tell - tell the caches fed by Open MPI's hooks that a range has gone
 *
 * Those of libfabric and UCX, as far as Open MPI feeds them.  Not in a child of
 * fork, where threads that do not exist may hold their locks.
 */
void ummu_ompi_tell(uint64_t start, uint64_t end);

/**
 * ummu_ompi_telling - does this thread tell of this very range right now?
 *
 * Others may go meanwhile, freed by who is told or by a signal handler.
 */
bool ummu_ompi_telling(uint64_t start, uint64_t end);

/**
 * struct ummu_ompi_counters - for people; relaxed atomics
 * @lookups:  of the cache
 * @drains:   of them, those that found something to take out
 * @gone:     watches hit
 * @avoided:  lookups that could not find out what had gone
 * @watched:  registrations that are or were watched
 * @repeated: registrations made again, for pages left while they were made
 * @uncached: registrations that could not be watched, and served one transfer
 */
struct ummu_ompi_counters {
	uint64_t lookups;
	uint64_t drains;
	uint64_t gone;
	uint64_t avoided;
	uint64_t watched;
	uint64_t repeated;
	uint64_t uncached;
};

extern struct ummu_ompi_counters ummu_ompi_counters;

static inline void ummu_ompi_count(uint64_t *counter)
{
	/* Relaxed: a number for people, which orders nothing. */
	__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

#endif
