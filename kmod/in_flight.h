/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * in_flight.h - the invalidations that have started and not ended yet.
 *
 * A watch that is armed, or whose event is drained, while one of these overlaps
 * it may be followed by a pin of the page that is about to go: such a watch is
 * hit at once.  Windows nest and overlap, so this is a table and not a flag.
 *
 * Everything here is under the lock of the space.
 */
#ifndef UMMUNOTIFY_IN_FLIGHT_H
#define UMMUNOTIFY_IN_FLIGHT_H

#include <linux/bitops.h>
#include <linux/minmax.h>

#define UMMUNOTIFY_WINDOWS 16

/**
 * struct ummunotify_window - an invalidation
 * @start: first byte
 * @last: last byte
 * @classes: UMMUNOTIFY_CLASS_... as a bit; all of them if it is not known
 */
struct ummunotify_window {
	unsigned long start;
	unsigned long last;
	unsigned int classes;
};

/**
 * struct ummunotify_in_flight - the table
 * @count: windows in it
 * @overflow: how many had no room; they count as everything
 * @windows: in no order
 */
struct ummunotify_in_flight {
	unsigned int count;
	unsigned int overflow;
	struct ummunotify_window windows[UMMUNOTIFY_WINDOWS];
};

static inline bool
ummunotify_in_flight_none(const struct ummunotify_in_flight *table)
{
	return likely(!(table->count | table->overflow));
}

/* The parts of a window one by one: they stay in registers. */
static inline void ummunotify_in_flight_add(struct ummunotify_in_flight *table,
					    unsigned long start,
					    unsigned long last,
					    unsigned int classes)
{
	struct ummunotify_window *window = &table->windows[table->count];

	if (unlikely(table->count == UMMUNOTIFY_WINDOWS)) {
		table->overflow++;
		return;
	}
	table->count++;
	window->start = start;
	window->last = last;
	window->classes = classes;
}

/*
 * Of equal windows any may be taken out, for they are the same to everybody.
 * One that is not there had no room.
 */
static inline void
ummunotify_in_flight_remove(struct ummunotify_in_flight *table,
			    unsigned long start, unsigned long last,
			    unsigned int classes)
{
	unsigned int i = table->count;

	/* From the last one, for that is it mostly. */
	while (i--) {
		struct ummunotify_window *at = &table->windows[i];

		if (at->start == start && at->last == last &&
		    at->classes == classes) {
			if (unlikely(i != --table->count))
				*at = table->windows[table->count];
			return;
		}
	}
	if (table->overflow)
		table->overflow--;
}

/*
 * Is something of these classes in flight over [start, last]?  Says what: the
 * part of it that is known.
 */
static inline bool
ummunotify_in_flight_over(const struct ummunotify_in_flight *table,
			  unsigned long start, unsigned long last,
			  unsigned int classes, struct ummunotify_window *found)
{
	unsigned int i;

	for (i = 0; i < table->count; i++) {
		const struct ummunotify_window *at = &table->windows[i];

		if (at->start <= last && start <= at->last &&
		    at->classes & classes) {
			*found = *at;
			return true;
		}
	}
	if (!table->overflow)
		return false;
	*found = (struct ummunotify_window){ .start = start,
					     .last = last,
					     .classes = UMMUNOTIFY_CLASS_ALL };
	return true;
}

#endif
