/* SPDX-License-Identifier: MIT */
/*
 * fake-backend.h - a monitor backend that does what a test tells it to.
 *
 * An invalidation is a call of the test.  It is either stored at once, or left
 * in flight: then it has completed (its munmap has returned), but is stored
 * only when somebody asks the monitor to settle, as with userfaultfd.
 */
#ifndef FAKE_BACKEND_H
#define FAKE_BACKEND_H

#include <pthread.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "lib/backend.h"

#define FAKE_FLIGHT 64

struct fake_watch {
	struct ummu_watch handle;
	uint64_t word;
	uint64_t start, last, cookie;
	bool pending; /* its event was not read */
	struct ummu_event event;
	LIST_ENTRY(fake_watch) member;
	TAILQ_ENTRY(fake_watch) waiting;
};

struct fake_range {
	uint64_t start, last;
	uint32_t reason;
};

/**
 * struct fake_monitor - a monitor on this backend
 * @owner:        the process that opened it
 * @failed:       status answers -EBADF
 * @refuse_error: what the next @refuse watch calls answer (-1: all of them)
 * @unsettled:    how many settle calls will answer "do not know" (-1: all)
 * @on_watch:     called by watch and by unwatch, with no lock held
 * @on_settle:    called by settle, with no lock held
 * @on_watched:   called by watch when it has made one, with no lock held
 * @on_reading:   called by read before it looks for events, with no lock held
 * @on_read:      called by read when it has taken events, with no lock held
 * @on_release:   called by release; the range it was given last is @released
 * @fd_error:     what ->event_fd() answers
 * @mute:         read finds no events
 * @exact:        caps say UMMU_CAPS_EXACT
 * @live:         watches that were not unwatched
 */
struct fake_monitor {
	struct ummu_monitor base;
	pid_t owner;
	pthread_mutex_t lock;
	uint64_t generation;
	bool failed;
	int refuse_error, refuse;
	int unsettled;
	bool mute;
	bool exact;
	void (*on_watch)(void *arg);
	void (*on_settle)(void *arg);
	void (*on_watched)(void *arg);
	void (*on_reading)(void *arg);
	void (*on_read)(void *arg);
	void (*on_release)(void *arg);
	struct fake_range released;
	int fd_error;
	void *arg;
	unsigned int live;
	LIST_HEAD(, fake_watch) watches;
	TAILQ_HEAD(, fake_watch) events;
	struct fake_range flight[FAKE_FLIGHT];
	unsigned int in_flight;
};

/** @one_load: like a kernel module: no settle, and nothing is in flight. */
struct fake_monitor *fake_open(bool one_load);

/** Closes it; aborts if a watch was left. */
void fake_close(struct fake_monitor *fake);

/** The range was invalidated, and that is stored already. */
void fake_invalidate(struct fake_monitor *fake, const void *addr, size_t length,
		     enum ummu_reason reason);

/** The range was invalidated; somebody has to find out.  At once if one_load. */
void fake_invalidate_in_flight(struct fake_monitor *fake, const void *addr,
			       size_t length, enum ummu_reason reason);

#endif
