/* SPDX-License-Identifier: MIT */
/*
 * race-client-2010.c - a cache on the calls of 2010: a counter, then read().
 *
 * As long as the counter is that of the last LAST that was read, no region was
 * hit since.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "race-clients.h"

#define TRIES 8
#define READS 1000
#define EVENTS 16
#define HAMMERED 0x10000 /* cookies from here on are the hammer's */

static int open_2010(struct race_cache *cache)
{
	int error;

	cache->fd = device_open(O_NONBLOCK);
	if (cache->fd < 0)
		return cache->fd;
	cache->counter = device_counter(cache->fd);
	if (!cache->counter) {
		error = -errno;
		close(cache->fd);
		return error;
	}
	cache->last = 0;
	return 0;
}

static void close_2010(struct race_cache *cache)
{
	for (unsigned int i = 0; i < RACE_SLOTS; i++)
		if (cache->entries[i].buffer >= 0)
			race_pin_drop(&cache->pin, cache->entries[i].buffer);
	munmap((void *)(uintptr_t)cache->counter, page);
	close(cache->fd);
}

/* What is told of by events up to @last was noted before @last was. */
static bool in_step(const struct race_cache *cache)
{
	return __atomic_load_n(&cache->last, __ATOMIC_ACQUIRE) ==
	       __atomic_load_n(cache->counter, __ATOMIC_ACQUIRE);
}

static int note(struct race_cache *cache, const struct ummunotify_event *event)
{
	uint64_t cookie = event->user_cookie_counter;

	if (event->type == UMMUNOTIFY_EVENT_TYPE_LAST)
		__atomic_store_n(&cache->last, cookie, __ATOMIC_RELEASE);
	else if (cookie < RACE_SLOTS)
		__atomic_store_n(&cache->entries[cookie].good, false,
				 __ATOMIC_RELEASE);
	else
		return -EPROTO; /* the hammer's pages never go away */
	return 0;
}

/* While the counter is ahead of LAST, there must be something to read. */
static int read_once(struct race_cache *cache)
{
	struct ummunotify_event events[EVENTS];
	int error = 0, count;

	pthread_mutex_lock(&cache->lock);
	if (in_step(cache))
		goto unlock;
	count = device_read(cache->fd, events, EVENTS);
	error = count == -EAGAIN ? -ENODATA : count < 0 ? count : 0;
	for (int i = 0; i < count && !error; i++)
		error = note(cache, &events[i]);
unlock:
	pthread_mutex_unlock(&cache->lock);
	return error;
}

static int catch_up(struct race_cache *cache)
{
	int error;

	for (unsigned int i = 0; i < READS; i++) {
		if (in_step(cache))
			return 0;
		error = read_once(cache);
		if (error)
			return error;
	}
	return -EAGAIN;
}

static bool is_good(const struct race_entry *entry)
{
	return entry->buffer >= 0 &&
	       __atomic_load_n(&entry->good, __ATOMIC_ACQUIRE);
}

static int add_region(struct race_cache *cache, struct race_entry *entry,
		      char *addr)
{
	int error;

	if (entry->watch.start)
		return 0; /* it stays registered for ever */
	error = device_register(cache->fd, addr, RACE_PAGES * page,
				(uint64_t)(entry - cache->entries));
	if (!error)
		entry->watch.start = (uintptr_t)addr;
	return error;
}

static int pin(struct race_cache *cache, struct race_entry *entry, char *addr)
{
	int error = add_region(cache, entry, addr);

	for (unsigned int i = 0; i < TRIES && !error; i++) {
		if (entry->buffer >= 0)
			race_pin_drop(&cache->pin, entry->buffer);
		__atomic_store_n(&entry->good, true, __ATOMIC_RELEASE);
		entry->buffer = race_pin_add(&cache->pin, addr,
					     RACE_PAGES * page);
		if (entry->buffer < 0)
			return entry->buffer;
		race_frames(addr, entry->frames);
		error = catch_up(cache);
		if (!error && is_good(entry))
			return 0;
	}
	return error ? error : -EAGAIN;
}

static int lookup(struct race_cache *cache, unsigned int slot, char *addr,
		  struct race_held *held)
{
	struct race_entry *entry = &cache->entries[slot];
	int error = catch_up(cache);

	if (error)
		return error;
	pthread_mutex_lock(&entry->lock);
	held->hit = is_good(entry);
	if (!held->hit)
		error = pin(cache, entry, addr);
	held->buffer = entry->buffer;
	held->frames[0] = entry->frames[0];
	held->frames[1] = entry->frames[1];
	pthread_mutex_unlock(&entry->lock);
	return error;
}

static void done(struct race_cache *cache, struct race_held *held)
{
	(void)cache;
	(void)held;
}

static int hammer(struct race_cache *cache, unsigned int thread, char *addr,
		  size_t pages)
{
	uint64_t cookie = HAMMERED * (uint64_t)(thread + 1);
	int error = 0;
	size_t i;

	for (i = 0; i < pages && !error; i++)
		error = device_register(cache->fd, addr + i * page, page,
					cookie + i);
	for (i = 0; i < pages && !error; i++)
		error = device_unregister(cache->fd, cookie + i);
	return error;
}

const struct race_client race_client_2010 = {
	.name = "2010",
	.open = open_2010,
	.close = close_2010,
	.lookup = lookup,
	.done = done,
	.hammer = hammer,
};
