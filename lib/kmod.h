/* SPDX-License-Identifier: MIT */
/*
 * kmod.h - what the files of the kmod backend share.
 *
 * The kernel module does the work: it matches ranges, writes the state words
 * and the generation, and logs events, all in pages that this process reads.
 * So the inline checks are one load each; nothing here is on their path, and
 * there is no thread.
 *
 * A forked child reads zeros in these pages, however it was made, and so knows
 * that it is one.  It takes no lock, whose holder may not exist, and only
 * frees.
 */
#ifndef UMMU_KMOD_H
#define UMMU_KMOD_H

#include <pthread.h>
#include <sys/queue.h>

#include "backend.h"
#include "kmod-device.h"
#include "kmod-log.h"
#include "kmod-slots.h"

/**
 * struct kmod_watch - one watch
 * @handle:  what the caller holds; constant.  Its state word is the kernel's
 * @slot:    the kernel's number for it; constant
 * @cookie:  the caller's; constant
 * @pending: it is in the monitor's queue
 * @event:   its event, while @pending
 * @waiting: of the monitor's queue
 */
struct kmod_watch {
	struct ummu_watch handle;
	uint32_t slot;
	uint64_t cookie;
	bool pending;
	struct ummu_event event;
	TAILQ_ENTRY(kmod_watch) waiting;
};

/**
 * struct kmod_monitor - a monitor: a descriptor of its own
 * @device:   the descriptor and its mapping
 * @lock:     all below, for writing; also held from the call that makes a watch
 *            until the watch is in @slots, and from the call that ends one
 *            until it is not, so that who reads the log finds it there.
 *            Nothing is allocated, freed or explained under it: base/lock.h
 * @log:      how far the kernel's log was read
 * @slots:    every watch that is not freed
 * @pending:  watches whose event was taken out of a full log and not read yet;
 *            older than what is in the log
 * @told:     what the module knows to be read of the log
 * @live, @read_count: counters; relaxed atomics, written under @lock
 */
struct kmod_monitor {
	struct ummu_monitor base;
	struct kmod_device device;
	pthread_mutex_t lock;
	struct kmod_log log;
	struct kmod_slots slots;
	TAILQ_HEAD(, kmod_watch) pending;
	uint64_t told;
	uint64_t live;
	uint64_t read_count;
};

/* kmod-events.c; the caller holds the lock, and explains what it returns. */

/**
 * ummu_kmod_call - a call on watches; empties the log if it is full
 * @entries: array of @count, as UMMUNOTIFY_WATCH and the others want it
 *
 * How many were done, or -errno.
 */
int ummu_kmod_call(struct kmod_monitor *monitor, unsigned long request,
		   void *entries, uint32_t count);

/** ummu_kmod_forget - drop the event of a watch that ends. */
void ummu_kmod_forget(struct kmod_monitor *monitor, struct kmod_watch *watch);

/** ummu_kmod_polled - somebody polls from here on. */
void ummu_kmod_polled(struct kmod_monitor *monitor);

/** ummu_kmod_read - up to @max events; returns how many. */
int ummu_kmod_read(struct kmod_monitor *monitor, struct ummu_event *events,
		   size_t max);

#endif
