/* SPDX-License-Identifier: MIT */
/* race-arms.h - the ways to watch a page, and pin it, while it is unmapped. */
#ifndef RACE_ARMS_H
#define RACE_ARMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "race-pin.h"
#include "today.h"

struct ummu_monitor;
struct ummu_rcache;
struct ummu_region;

/**
 * struct race_arming - one client of the device, and its page
 * @buffer:  its pin, or -1
 * @mapped:  for the library: the number last written into the page
 * @early:   for the library: pinned the page that was about to leave
 * @fd, @counter, @last: of the language of 2010; the counter that the last
 *           LAST told of
 */
struct race_arming {
	const struct race_arm *arm;
	struct race_pin pin;
	char *addr;
	int buffer;
	struct today today;
	struct ummunotify_watch watch;
	int fd;
	const volatile uint64_t *counter;
	uint64_t last;
	struct ummu_monitor *monitor;
	struct ummu_rcache *rcache;
	struct ummu_region *region;
	uint64_t mapped;
	bool early;
};

/**
 * struct race_seen - what became of a registration, when the unmap is over
 * @pinned:   the pin succeeded
 * @believed: the client takes it for good
 * @number:   what the pinned page holds
 */
struct race_seen {
	bool pinned;
	bool believed;
	uint64_t number;
};

/**
 * struct race_arm - a way
 * @before: the page is mapped, and nothing is known of its unmap
 * @during: the unmap has begun: watch it, pin it
 * @after:  the unmap is over, and another page is mapped; undoes it all.  Each
 *          returns 0 or -errno
 */
struct race_arm {
	const char *name;
	int (*open)(struct race_arming *arming);
	void (*close)(struct race_arming *arming);
	int (*before)(struct race_arming *arming);
	int (*during)(struct race_arming *arming);
	int (*after)(struct race_arming *arming, struct race_seen *seen);
};

extern const struct race_arm race_arm_watch;
extern const struct race_arm race_arm_rearm;
extern const struct race_arm race_arm_register;
extern const struct race_arm race_arm_drain;
extern const struct race_arm race_arm_library;

#endif
