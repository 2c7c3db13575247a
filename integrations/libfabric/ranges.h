/* SPDX-License-Identifier: MIT */
/*
 * ranges.h - the ranges that libfabric's caches hold registrations for, and
 * whether each may still be used.
 *
 * libfabric tells little: it pins first and subscribes afterwards, does not
 * say which cache asks, and before 2.1 not that an entry left.  So a range is
 * counted and timed here.  The promise is that valid() says true only for
 * entries whose pinning began after their range was watched, and of whose
 * range no page has left since:
 *
 * - An entry gets into a cache only when subscribe() returns 0.  It does when
 *   the range, or one around it, is watched since before this thread's last
 *   call of this file returned: pinning came after that.  Otherwise the range
 *   is watched from now on, this registration is used once, and the next one
 *   of the same range is kept.
 * - Once a page has left, valid() is false until every entry of the range has
 *   left every cache: with one holder when that one was told so, as libfabric
 *   then drops it; with more when notify has returned.  The range is watched
 *   anew then, and by the first of these ways before libfabric pins it again.
 *
 * THREAD SAFETY: subscribe and valid from any thread, purge from one.  One
 * lock guards all; libfabric's are taken before it.  It is not held across
 * notify or kick, nor while a watch is made or ended, which allocates.  No
 * thread is cancelled in these calls.
 *
 * FORK: in a child valid() is false, subscribe() says -ECHILD, and closing
 * frees memory.
 */
#ifndef UMMU_LIBFABRIC_RANGES_H
#define UMMU_LIBFABRIC_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ummunotify/monitor.h>

struct ummu_ranges; /* opaque */

/**
 * struct ummu_ranges_opts - how to keep ranges
 * @max:    most ranges, at least 8
 * @trust:  keep a registration although nobody watched while it was pinned
 * @notify: makes every entry that overlaps a range leave every cache; called
 *          by ummu_ranges_purge() with no lock held
 * @kick:   asks for ummu_ranges_purge() soon, from the thread that it is for;
 *          called with no lock of ours held, but perhaps with libfabric's: it
 *          must not block
 */
struct ummu_ranges_opts {
	size_t max;
	bool trust;
	void (*notify)(void *arg, const void *addr, size_t length);
	void (*kick)(void *arg);
	void *arg;
};

/**
 * struct ummu_ranges_counts - for people
 * @kept:       subscriptions that were granted
 * @first:      refused: not watched before it was pinned
 * @refused:    refused: cannot be watched, or changed meanwhile
 * @valid:      answers "valid"
 * @invalid:    answers "not valid"
 * @notified:   ranges told to the caches
 * @evicted:    ranges forgotten to make room
 * @ranges:     there now
 */
struct ummu_ranges_counts {
	uint64_t kept;
	uint64_t first;
	uint64_t refused;
	uint64_t valid;
	uint64_t invalid;
	uint64_t notified;
	uint64_t evicted;
	uint64_t ranges;
};

/**
 * ummu_ranges_open - start with no ranges
 * @monitor: for the ranges alone (-EBUSY); outlives them
 *
 * Errors: -EINVAL (@opts->max), -ENOMEM, or of ummu_monitor_claim().
 */
int ummu_ranges_open(struct ummu_monitor *monitor,
		     const struct ummu_ranges_opts *opts,
		     struct ummu_ranges **ranges_p);

/** ummu_ranges_close - unwatch and free all; no call may be under way. */
void ummu_ranges_close(struct ummu_ranges *ranges);

/**
 * ummu_ranges_subscribe - may a registration made just now be kept?
 *
 * 0: yes, and valid() is to be asked before each use.  Otherwise it is for this
 * use only: -EBUSY (was not watched, or is not gone from all caches),
 * -EAGAIN (changed meanwhile), -ENOSPC (too many ranges), -ECHILD, -EINVAL, or
 * what ummu_reader_watch() says.
 */
int ummu_ranges_subscribe(struct ummu_ranges *ranges, const void *addr,
			  size_t length);

/** ummu_ranges_valid - may this entry be used?  If not, it must leave. */
bool ummu_ranges_valid(struct ummu_ranges *ranges, const void *addr,
		       size_t length);

/** ummu_ranges_purge - tell the caches what is gone; make room. */
void ummu_ranges_purge(struct ummu_ranges *ranges);

void ummu_ranges_count(struct ummu_ranges *ranges,
		       struct ummu_ranges_counts *counts);

/** ummu_ranges_in_child - is this a child of fork of who opened them?  One load. */
bool ummu_ranges_in_child(const struct ummu_ranges *ranges);

#endif
