/* SPDX-License-Identifier: MIT */
/*
 * foreign-watch.c - watches each page of memory in both languages, and looks
 * whether a page has changed before its watch said so.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "foreign.h"
#include "frames.h"
#include "today.h"

#define COOKIE 1
#define EVENTS 4
#define TRIES 1000 /* of a millisecond */

/**
 * struct foreign_watch - what is watched
 * @before:  the frame of each page, when it was watched
 * @now:     room for those of now
 * @watches: one a page
 * @changed: pages that were not what they are now, at one time
 * @late:    of those, valid still when that was seen
 * @fd, @counter, @counted: the calls of 2010, which watch all of it as one
 * @untold:  the counter had not moved when a page had
 */
struct foreign_watch {
	const struct foreign_scene *scene;
	uint64_t *before, *now;
	struct today today;
	struct ummunotify_watch *watches;
	bool *changed, *late;
	int fd;
	const volatile uint64_t *counter;
	uint64_t counted;
	bool untold;
};

static void check(const char *what, long result)
{
	if (result >= 0)
		return;
	fprintf(stderr, "%s: %s\n", what, strerror((int)-result));
	exit(1);
}

static void *array(size_t count, size_t size)
{
	void *memory = calloc(count, size);

	check("calloc", memory ? 0 : -ENOMEM);
	return memory;
}

static void watch_today(struct foreign_watch *watch)
{
	const struct foreign_scene *scene = watch->scene;
	uint32_t done = 0, count = (uint32_t)scene->pages;
	int more;

	check("SETUP", today_open(&watch->today, 0, 0));
	for (size_t i = 0; i < count; i++) {
		watch->watches[i].start = (uintptr_t)(scene->addr + i * page);
		watch->watches[i].end = watch->watches[i].start + page;
	}
	while (done < count) {
		more = today_watches(&watch->today, watch->watches + done,
				     count - done);
		check("WATCH", more);
		done += (uint32_t)more;
	}
}

static void watch_2010(struct foreign_watch *watch)
{
	watch->fd = device_open(O_NONBLOCK);
	check("open", watch->fd);
	watch->counter = device_counter(watch->fd);
	check("mmap", watch->counter ? 0 : -errno);
	check("REGISTER", device_register(watch->fd, watch->scene->addr,
					  foreign_length(watch->scene), COOKIE));
	watch->counted = *watch->counter;
}

/** foreign_watch_start - from now on; exits on errors. */
struct foreign_watch *foreign_watch_start(const struct foreign_scene *scene)
{
	struct foreign_watch *watch = array(1, sizeof(*watch));

	watch->scene = scene;
	watch->before = array(scene->pages, sizeof(*watch->before));
	watch->now = array(scene->pages, sizeof(*watch->now));
	watch->watches = array(scene->pages, sizeof(*watch->watches));
	watch->changed = array(scene->pages, sizeof(*watch->changed));
	watch->late = array(scene->pages, sizeof(*watch->late));
	watch_today(watch);
	watch_2010(watch);
	frames_read(scene->addr, scene->pages, watch->before);
	return watch;
}

static bool counter_moved(const struct foreign_watch *watch)
{
	return __atomic_load_n(watch->counter, __ATOMIC_ACQUIRE) !=
	       watch->counted;
}

/** foreign_watch_look - how many pages have changed by now. */
unsigned int foreign_watch_look(struct foreign_watch *watch)
{
	size_t pages = watch->scene->pages;
	unsigned int changed = 0;

	frames_read(watch->scene->addr, pages, watch->now);
	for (size_t i = 0; i < pages; i++) {
		if (!watch->changed[i] && watch->now[i] != watch->before[i]) {
			watch->changed[i] = true;
			watch->late[i] = today_valid(&watch->today,
						     &watch->watches[i]);
			watch->untold |= !counter_moved(watch);
		}
		changed += watch->changed[i];
	}
	return changed;
}

/*
 * Is there an event for the region, and then LAST?  The latter comes later if the
 * kernel is at work here at this moment: then there is another event first.
 */
static bool told_2010(struct foreign_watch *watch)
{
	struct ummunotify_event events[EVENTS];

	for (int tries = 0; tries < TRIES; tries++) {
		int count = device_read(watch->fd, events, EVENTS);

		if ((count != 1 && count != 2) ||
		    events[0].type != UMMUNOTIFY_EVENT_TYPE_INVAL ||
		    events[0].user_cookie_counter != COOKIE)
			return false;
		if (count == 2)
			return events[1].type == UMMUNOTIFY_EVENT_TYPE_LAST;
		usleep(1000);
	}
	return false;
}

/** foreign_watch_end - looks once more, and says what was seen. */
void foreign_watch_end(struct foreign_watch *watch, struct foreign_seen *seen)
{
	bool hit;

	*seen = (struct foreign_seen){ .changed = foreign_watch_look(watch) };
	for (size_t i = 0; i < watch->scene->pages; i++) {
		hit = !today_valid(&watch->today, &watch->watches[i]);
		seen->hit += hit;
		seen->late += watch->late[i];
		seen->missed += watch->changed[i] && !hit;
		seen->spurious += hit && !watch->changed[i];
	}
	seen->untold = seen->changed && (watch->untold || !told_2010(watch));

	munmap((void *)(uintptr_t)watch->counter, page);
	close(watch->fd);
	today_close(&watch->today);
	free(watch->late);
	free(watch->changed);
	free(watch->watches);
	free(watch->now);
	free(watch->before);
	free(watch);
}
