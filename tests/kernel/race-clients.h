/* SPDX-License-Identifier: MIT */
/*
 * race-clients.h - caches of pinned slots of memory, in each language.
 *
 * A slot is an address that threads win from each other.  Who has it maps it,
 * asks the client, which pins it if it is not pinned, and unmaps it.
 */
#ifndef RACE_CLIENTS_H
#define RACE_CLIENTS_H

#include <stddef.h>
#include <stdint.h>

#include "race-pin.h"
#include "today.h"

#define RACE_SLOTS 2
#define RACE_PAGES 4 /* of a slot */

struct ummu_monitor;
struct ummu_rcache;
struct ummu_region;

/**
 * struct race_entry - one slot, for the clients without the library
 * @lock:   of the other members
 * @buffer: its pin, or -1
 * @frames: of its first and last page, when it was pinned
 * @good:   2010: no event has told of it since (atomic)
 */
struct race_entry {
	pthread_mutex_t lock;
	int buffer;
	uint64_t frames[2];
	struct ummunotify_watch watch;
	bool good;
};

/**
 * struct race_cache - what clients work with
 * @today:  the calls of today
 * @lock:   of what is read from the device
 * @drained: events read so far (atomic)
 * @beside: a monitor for hammers, as @monitor is the cache's alone
 * @fd, @counter, @last: the calls of 2010; @last is atomic
 */
struct race_cache {
	struct race_pin pin;
	struct race_entry entries[RACE_SLOTS];
	pthread_mutex_t lock;
	struct today today;
	uint64_t drained;
	int fd;
	const volatile uint64_t *counter;
	uint64_t last;
	struct ummu_monitor *monitor, *beside;
	struct ummu_rcache *rcache;
};

/**
 * struct race_held - what a lookup found
 * @hit:    it was pinned already
 * @region: the library's
 */
struct race_held {
	bool hit;
	int buffer;
	uint64_t frames[2];
	struct ummu_region *region;
};

/**
 * struct race_client - a client
 * @lookup: -EAGAIN if it can't say; what it holds is good until @done
 * @hammer: watches @pages pages and ends the watches; @thread is of who asks
 */
struct race_client {
	const char *name;
	int (*open)(struct race_cache *cache);
	void (*close)(struct race_cache *cache);
	int (*lookup)(struct race_cache *cache, unsigned int slot, char *addr,
		      struct race_held *held);
	void (*done)(struct race_cache *cache, struct race_held *held);
	int (*hammer)(struct race_cache *cache, unsigned int thread, char *addr,
		      size_t pages);
};

extern const struct race_client race_client_library;
extern const struct race_client race_client_today;
extern const struct race_client race_client_2010;

/** race_frames - of the first and the last page of a slot. */
void race_frames(const char *addr, uint64_t frames[2]);

#endif
