/* SPDX-License-Identifier: MIT */
/* today.h - the calls of today of /dev/ummunotify, for its tests. */
#ifndef TODAY_H
#define TODAY_H

#include "device.h"

/* What returns a number returns 0, a count or -errno. */

/**
 * struct today - a descriptor that was set up, and its mapping
 * @setup: what the module answered
 * @map:   all of the mapping
 * @read:  how many events were read from the log; the next calls say so
 * @entry: where the next event is, in the mapping
 */
struct today {
	int fd;
	struct ummunotify_setup setup;
	const volatile char *map;
	uint64_t read;
	uint64_t entry;
};

/** today_setup - UMMUNOTIFY_SETUP with size and magic filled in. */
int today_setup(int fd, struct ummunotify_setup *setup);

/** today_open - @classes and @watches as in struct ummunotify_setup. */
int today_open(struct today *today, uint64_t classes, uint32_t watches);
void today_close(struct today *today);

uint64_t today_generation(const struct today *today);
uint64_t today_logged(const struct today *today);
uint64_t today_state(const struct today *today, uint32_t slot);

/** today_valid - the inline check: does the state word hold what it was? */
bool today_valid(const struct today *today,
		 const struct ummunotify_watch *watch);

/* The calls; @count entries. */
int today_watches(struct today *today, struct ummunotify_watch *watches,
		  uint32_t count);
int today_unwatches(struct today *today, struct ummunotify_watch_id *ids,
		    uint32_t count);
int today_rearms(struct today *today, struct ummunotify_watch_id *ids,
		 uint32_t count);
int today_drained(struct today *today, uint64_t drained);

/* One entry each: 0 or -errno, with the state and the slot in @watch. */
int today_watch(struct today *today, const volatile void *start, size_t length,
		struct ummunotify_watch *watch);
int today_unwatch(struct today *today, const struct ummunotify_watch *watch);
int today_rearm(struct today *today, struct ummunotify_watch *watch);

/** today_next - reads an event from the log; 0: there is none. */
int today_next(struct today *today, struct ummunotify_log_entry *entry);

#endif
