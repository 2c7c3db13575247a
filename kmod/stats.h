/* SPDX-License-Identifier: GPL-2.0-only */
/* stats.h - counters of what the module does; one instruction each. */
#ifndef UMMUNOTIFY_STATS_H
#define UMMUNOTIFY_STATS_H

#include <linux/percpu.h>

/**
 * struct ummunotify_stats - since the module was loaded
 * @spaces_made: address spaces that began to be watched
 * @spaces_ended: and that are no longer
 * @files_made: descriptors opened
 * @files_ended: and closed
 * @watches_made: watches and regions
 * @watches_ended: by a call, a close or a death
 * @invalidations: that the kernel told of
 * @hits: watches that were hit
 * @born_hit: of these, because of an invalidation in flight
 * @wakeups: of sleepers
 */
struct ummunotify_stats {
	u64 spaces_made;
	u64 spaces_ended;
	u64 files_made;
	u64 files_ended;
	u64 watches_made;
	u64 watches_ended;
	u64 invalidations;
	u64 hits;
	u64 born_hit;
	u64 wakeups;
};

DECLARE_PER_CPU(struct ummunotify_stats, ummunotify_stats);

#define ummunotify_count(name) this_cpu_inc(ummunotify_stats.name)
#define ummunotify_count_by(name, by) this_cpu_add(ummunotify_stats.name, by)

void ummunotify_stats_init(void);
void ummunotify_stats_exit(void);

#endif
