/* SPDX-License-Identifier: MIT */
/* today.c - the calls of today of /dev/ummunotify, for its tests. */
#define _GNU_SOURCE
#include "today.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static int answer(int returned)
{
	return returned < 0 ? -errno : returned;
}

int today_setup(int fd, struct ummunotify_setup *setup)
{
	setup->size = sizeof(*setup);
	setup->magic = UMMUNOTIFY_SETUP_MAGIC;
	return answer(ioctl(fd, UMMUNOTIFY_SETUP, setup));
}

int today_open(struct today *today, uint64_t classes, uint32_t watches)
{
	void *map;
	int error;

	*today = (struct today){
		.setup = { .classes = classes, .watches = watches },
	};
	today->fd = device_open(0);
	if (today->fd < 0)
		return today->fd;
	error = today_setup(today->fd, &today->setup);
	if (error)
		goto close;
	map = mmap(NULL, today->setup.map_length, PROT_READ, MAP_SHARED,
		   today->fd, 0);
	if (map == MAP_FAILED) {
		error = -errno;
		goto close;
	}
	today->map = map;
	today->entry = today->setup.log_offset;
	return 0;
close:
	close(today->fd);
	return error;
}

void today_close(struct today *today)
{
	munmap((void *)(uintptr_t)today->map, today->setup.map_length);
	close(today->fd);
}

static uint64_t word(const struct today *today, uint64_t offset)
{
	const volatile char *at = today->map + offset;

	return __atomic_load_n((const volatile uint64_t *)at, __ATOMIC_ACQUIRE);
}

uint64_t today_generation(const struct today *today)
{
	return word(today, offsetof(struct ummunotify_shared, generation));
}

uint64_t today_logged(const struct today *today)
{
	return word(today, offsetof(struct ummunotify_shared, logged));
}

uint64_t today_state(const struct today *today, uint32_t slot)
{
	return word(today, today->setup.states_offset + slot * sizeof(uint64_t));
}

bool today_valid(const struct today *today, const struct ummunotify_watch *watch)
{
	return today_state(today, watch->slot) == watch->state;
}

static int call(struct today *today, unsigned long number, void *entries,
		uint32_t count)
{
	struct ummunotify_batch batch = {
		.entries = (uintptr_t)entries,
		.drained = today->read,
		.count = count,
	};

	return answer(ioctl(today->fd, number, &batch));
}

int today_watches(struct today *today, struct ummunotify_watch *watches,
		  uint32_t count)
{
	return call(today, UMMUNOTIFY_WATCH, watches, count);
}

int today_unwatches(struct today *today, struct ummunotify_watch_id *ids,
		    uint32_t count)
{
	return call(today, UMMUNOTIFY_UNWATCH, ids, count);
}

int today_rearms(struct today *today, struct ummunotify_watch_id *ids,
		 uint32_t count)
{
	return call(today, UMMUNOTIFY_REARM, ids, count);
}

int today_drained(struct today *today, uint64_t drained)
{
	return answer(ioctl(today->fd, UMMUNOTIFY_DRAINED, &drained));
}

/* For a batch of one, done is 1. */
static int one(int done)
{
	return done == 1 ? 0 : done ? done : -ENODATA;
}

int today_watch(struct today *today, const volatile void *start, size_t length,
		struct ummunotify_watch *watch)
{
	*watch = (struct ummunotify_watch){
		.start = (uintptr_t)start,
		.end = (uintptr_t)start + length,
	};
	return one(today_watches(today, watch, 1));
}

static struct ummunotify_watch_id id_of(const struct ummunotify_watch *watch)
{
	return (struct ummunotify_watch_id){
		.state = watch->state,
		.slot = watch->slot,
	};
}

int today_unwatch(struct today *today, const struct ummunotify_watch *watch)
{
	struct ummunotify_watch_id id = id_of(watch);

	return one(today_unwatches(today, &id, 1));
}

int today_rearm(struct today *today, struct ummunotify_watch *watch)
{
	struct ummunotify_watch_id id = id_of(watch);
	int error = one(today_rearms(today, &id, 1));

	if (!error)
		watch->state = id.state;
	return error;
}

/* Behind the last entry of a page is where the next page is. */
int today_next(struct today *today, struct ummunotify_log_entry *entry)
{
	const volatile struct ummunotify_log_entry *at;

	if (today_logged(today) == today->read)
		return 0;
	if (today->read && today->read % UMMUNOTIFY_LOG_ENTRIES == 0)
		today->entry = word(today, today->entry);
	at = (const volatile void *)(today->map + today->entry);
	*entry = *at;
	today->entry += sizeof(*entry);
	today->read++;
	return 1;
}
