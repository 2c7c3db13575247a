/* SPDX-License-Identifier: MIT */
/*
 * race-arms.c - clients of the bare device that register a page in an unmap.
 *
 * Each sees the announcement of the unmap and then does what a client does
 * that knows nothing of it: it watches the page, anew or again, pins it, and
 * believes in the pin as long as the device does not say otherwise.
 */
#include "race-arms.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define COOKIE 0x756d6d75
#define EVENTS 8

static void pin(struct race_arming *arming)
{
	arming->buffer = race_pin_add(&arming->pin, arming->addr, page);
}

static void look(struct race_arming *arming, bool believed,
		 struct race_seen *seen)
{
	*seen = (struct race_seen){
		.pinned = arming->buffer >= 0,
		.believed = believed && arming->buffer >= 0,
	};
	if (!seen->pinned)
		return;
	seen->number = race_pin_number(&arming->pin, arming->buffer,
				       arming->addr);
	race_pin_drop(&arming->pin, arming->buffer);
	arming->buffer = -1;
}

/* ------------------------------------------------------ the calls of today */

static int open_today(struct race_arming *arming)
{
	return today_open(&arming->today, 0, 0);
}

static void close_today(struct race_arming *arming)
{
	today_close(&arming->today);
}

static void drain_today(struct race_arming *arming)
{
	struct ummunotify_log_entry entry;

	while (today_next(&arming->today, &entry))
		;
}

static int watch(struct race_arming *arming)
{
	return today_watch(&arming->today, arming->addr, page, &arming->watch);
}

static int nothing(struct race_arming *arming)
{
	(void)arming;
	return 0;
}

static int watch_and_pin(struct race_arming *arming)
{
	int error = watch(arming);

	if (!error)
		pin(arming);
	return error;
}

static int rearm_and_pin(struct race_arming *arming)
{
	int error;

	drain_today(arming);
	error = today_rearm(&arming->today, &arming->watch);
	if (!error)
		pin(arming);
	return error;
}

static int look_and_unwatch(struct race_arming *arming, struct race_seen *seen)
{
	look(arming, today_valid(&arming->today, &arming->watch), seen);
	drain_today(arming);
	return today_unwatch(&arming->today, &arming->watch);
}

const struct race_arm race_arm_watch = {
	.name = "watch",
	.open = open_today,
	.close = close_today,
	.before = nothing,
	.during = watch_and_pin,
	.after = look_and_unwatch,
};

const struct race_arm race_arm_rearm = {
	.name = "rearm",
	.open = open_today,
	.close = close_today,
	.before = watch,
	.during = rearm_and_pin,
	.after = look_and_unwatch,
};

/* ------------------------------------------------------- the calls of 2010 */

static int open_2010(struct race_arming *arming)
{
	arming->fd = device_open(O_NONBLOCK);
	if (arming->fd < 0)
		return arming->fd;
	arming->counter = device_counter(arming->fd);
	if (!arming->counter) {
		close(arming->fd);
		return -ENOMEM;
	}
	arming->last = 0;
	return 0;
}

static void close_2010(struct race_arming *arming)
{
	munmap((void *)(uintptr_t)arming->counter, page);
	close(arming->fd);
}

static bool in_step(const struct race_arming *arming)
{
	return __atomic_load_n(arming->counter, __ATOMIC_ACQUIRE) ==
	       arming->last;
}

/* One read; what it says of regions is that they are to be pinned anew. */
static int read_2010(struct race_arming *arming)
{
	struct ummunotify_event events[EVENTS];
	int count = device_read(arming->fd, events, EVENTS);

	for (int i = 0; i < count; i++)
		if (events[i].type == UMMUNOTIFY_EVENT_TYPE_LAST)
			arming->last = events[i].user_cookie_counter;
	return count < 0 ? count : 0;
}

/* Nothing is in flight: one read says all there is, and it must say so. */
static int catch_up(struct race_arming *arming)
{
	int error;

	if (in_step(arming))
		return 0;
	error = read_2010(arming);
	if (error == -EAGAIN)
		printf("the counter has moved, and there is nothing to read\n");
	if (error)
		return error;
	return in_step(arming) ? 0 : -EPROTO;
}

static int register_region(struct race_arming *arming)
{
	return device_register(arming->fd, arming->addr, page, COOKIE);
}

static int register_and_pin(struct race_arming *arming)
{
	int error = register_region(arming);

	if (!error)
		pin(arming);
	return error;
}

static int read_and_pin(struct race_arming *arming)
{
	int error = read_2010(arming);

	if (!error)
		pin(arming);
	return error;
}

static int look_and_unregister(struct race_arming *arming,
			       struct race_seen *seen)
{
	int error;

	look(arming, in_step(arming), seen);
	error = device_unregister(arming->fd, COOKIE);
	return error ? error : catch_up(arming);
}

const struct race_arm race_arm_register = {
	.name = "register",
	.open = open_2010,
	.close = close_2010,
	.before = nothing,
	.during = register_and_pin,
	.after = look_and_unregister,
};

const struct race_arm race_arm_drain = {
	.name = "drain",
	.open = open_2010,
	.close = close_2010,
	.before = register_region,
	.during = read_and_pin,
	.after = look_and_unregister,
};
