/* SPDX-License-Identifier: MIT */
/*
 * uffd.h - the one userfaultfd of this process, which all its monitors share.
 *
 * A mapping belongs to one userfaultfd, so there is one a process.  It is
 * opened with the first monitor and then kept until the process ends, with the
 * thread that reads it: a forked child holds a copy of the descriptor, so that
 * closing it here would leave mappings registered and every later munmap of
 * them waiting for a reader for ever.
 *
 * How it stays exact, in the words of model/: the kernel raises a count before
 * an address range is free and lowers it when the unmapping thread runs again
 * after its event was read.  PROBE asks for that count.  DRAIN reads events
 * and stores what they mean, both between two steps of ->sequence.  SETTLE is
 * a quiet PROBE with the sequence even and the same on both sides of it: every
 * event whose operation began to free memory before the PROBE has then been
 * read (else the count would be up) and stored (else the sequence would be odd
 * or have moved).
 */
#ifndef UMMU_UFFD_H
#define UMMU_UFFD_H

#include <pthread.h>
#include <signal.h>

#include "watchset.h"

/** Ranges given back with madvise() that are remembered at one time. */
#define UFFD_GRACE_RANGES 32

/** How long such a range is not watched again, in nanoseconds. */
#define UFFD_GRACE_NS 10000000ULL

/** Mappings that were registered whole, remembered to save a look-up. */
#define UFFD_RECENT_EXTENTS 4

/** A range of addresses, inclusive. */
struct uffd_extent {
	uint64_t start, last;
};

/** A range given back, and when it may be watched again (CLOCK_MONOTONIC). */
struct uffd_grace {
	struct uffd_extent range;
	uint64_t until;
};

/**
 * struct uffd_process - the shared state; in memory that a fork wipes
 * @incarnation: 0 until opened and in a forked child; then a number that no
 *               earlier incarnation had.  Written last when opening (release)
 * @sequence:    odd while a drain is under way; written under @lock
 * @failed:      the descriptor is not ours any more; set once, under @lock
 * @fd:          the userfaultfd, O_NONBLOCK; constant once open
 * @epoll_fd:    what the reader waits for: @fd is readable; constant once open
 * @pagemap_fd:  /proc/self/pagemap, -1 without /proc; constant once open
 * @inode:       of @fd, which tells it from another userfaultfd (5.12);
 *               constant once open
 * @any_file:    the kernel watches file mappings too (WP_ASYNC); constant
 * @opening:     held while the first monitor opens all this
 * @members:     the lists of watches and chunks that a forked child frees.  A
 *               fork waits for it and not for @lock: an unmap in somebody's
 *               fork handler waits for a drain.  For the same reason nobody
 *               takes it while holding @lock; the other order is fine
 * @lock:        everything below, and sequence and failed for writing.  Held
 *               with all signals blocked, as a handler that unmaps memory
 *               would wait for the holder.  Nothing is allocated or freed
 *               under it, for the same reason
 * @watches:     every live watch of every monitor
 * @splits_left: how many mappings may be split before they are counted again
 * @widen_left:  watches to widen before mappings are counted again
 * @recent:      mappings registered whole; @recent_next is overwritten next
 * @grace:       ranges given back; @grace_all is for those that did not fit
 * @grace_last:  the latest time in them
 *
 * The counters are relaxed atomics.
 */
struct uffd_process {
	uint64_t incarnation;
	uint64_t sequence;
	bool failed;
	bool any_file;
	int fd;
	int epoll_fd;
	int pagemap_fd;
	uint64_t inode;
	pthread_mutex_t opening;
	pthread_mutex_t members;

	pthread_mutex_t lock;
	struct ummu_interval_tree watches;
	long splits_left;
	long widen_left;
	struct uffd_extent recent[UFFD_RECENT_EXTENTS];
	unsigned int recent_next;
	struct uffd_grace grace[UFFD_GRACE_RANGES];
	uint64_t grace_all;
	uint64_t grace_last;

	uint64_t kernel_events;
	uint64_t drained_by_lookup;
	uint64_t probes_in_flight;
	uint64_t unsettled;
	uint64_t widened;
};

/** What a holder of a lock has to put back. */
struct uffd_guard {
	sigset_t signals;
	int cancel_state;
};

/* uffd-process.c: opening it, locking it, the reader thread. */

/** ummu_uffd_process_get - the shared state, opened if need be; or -errno. */
int ummu_uffd_process_get(struct uffd_process **process_p);
void ummu_uffd_lock(struct uffd_process *process, struct uffd_guard *guard);
void ummu_uffd_unlock(struct uffd_process *process,
		      const struct uffd_guard *guard);
void ummu_uffd_lock_members(struct uffd_process *process,
			    struct uffd_guard *guard);
void ummu_uffd_unlock_members(struct uffd_process *process,
			      const struct uffd_guard *guard);

/* uffd-drain.c: PROBE, DRAIN and SETTLE. */

enum uffd_probe {
	UFFD_QUIET,
	UFFD_IN_FLIGHT,
	UFFD_LOST, /* not our descriptor any more */
};

enum uffd_probe ummu_uffd_probe(int fd);

/** ummu_uffd_drain - read and store what is there, under the lock; how many. */
int ummu_uffd_drain(struct uffd_process *process);

/** ummu_uffd_give_up - fail: nobody will read events any more; under the lock. */
void ummu_uffd_give_up(struct uffd_process *process);

/** ummu_uffd_settle - without the lock; false if it took too long or has failed. */
bool ummu_uffd_settle(struct uffd_process *process);

/** ummu_uffd_in_grace - was the range given back a moment ago?  Under the lock. */
bool ummu_uffd_in_grace(const struct uffd_process *process, uint64_t start,
			uint64_t last);

/* uffd-range.c: telling the kernel which ranges to report. */

/** ummu_uffd_cover - have [range] of an armed watch reported; under the lock. */
int ummu_uffd_cover(struct uffd_process *process, struct watch *watch);

/** ummu_uffd_uncover - it was disarmed: give up what no other watch needs. */
void ummu_uffd_uncover(struct uffd_process *process, struct watch *watch);

/* uffd-selftest.c */

/** ummu_uffd_selftest - does this kernel order its steps as PROBE needs? */
int ummu_uffd_selftest(int fd);

#endif
