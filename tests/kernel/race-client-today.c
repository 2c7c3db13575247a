/* SPDX-License-Identifier: MIT */
/* race-client-today.c - a cache on the calls of today: one load a lookup. */
#include <errno.h>

#include "race-clients.h"

#define TRIES 8
#define BATCH 64

static int open_today(struct race_cache *cache)
{
	return today_open(&cache->today, 0, 0);
}

static void close_today(struct race_cache *cache)
{
	for (unsigned int i = 0; i < RACE_SLOTS; i++)
		if (cache->entries[i].buffer >= 0)
			race_pin_drop(&cache->pin, cache->entries[i].buffer);
	today_close(&cache->today);
}

/* The log keeps room for every watch; nobody here needs what it says. */
static void drain(struct race_cache *cache)
{
	struct ummunotify_log_entry entry;

	pthread_mutex_lock(&cache->lock);
	while (today_next(&cache->today, &entry))
		;
	__atomic_store_n(&cache->drained, cache->today.read, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&cache->lock);
}

/* Each thread calls with its own copy of what was read. */
static struct today for_call(struct race_cache *cache)
{
	return (struct today){
		.fd = cache->today.fd,
		.setup = cache->today.setup,
		.map = cache->today.map,
		.read = __atomic_load_n(&cache->drained, __ATOMIC_RELAXED),
	};
}

static int arm(struct race_cache *cache, struct race_entry *entry, char *addr)
{
	struct today today;

	drain(cache);
	today = for_call(cache);
	if (entry->watch.state)
		return today_rearm(&today, &entry->watch);
	return today_watch(&today, addr, RACE_PAGES * page, &entry->watch);
}

static bool is_pinned(struct race_cache *cache, struct race_entry *entry)
{
	return entry->buffer >= 0 && today_valid(&cache->today, &entry->watch);
}

/* Watch, then pin, then look whether the watch has held. */
static int pin(struct race_cache *cache, struct race_entry *entry, char *addr)
{
	int error;

	for (unsigned int i = 0; i < TRIES; i++) {
		if (entry->buffer >= 0)
			race_pin_drop(&cache->pin, entry->buffer);
		entry->buffer = -1;
		error = arm(cache, entry, addr);
		if (error)
			return error;
		entry->buffer = race_pin_add(&cache->pin, addr,
					     RACE_PAGES * page);
		if (entry->buffer < 0)
			return entry->buffer;
		race_frames(addr, entry->frames);
		if (is_pinned(cache, entry))
			return 0;
	}
	return -EAGAIN;
}

static int lookup(struct race_cache *cache, unsigned int slot, char *addr,
		  struct race_held *held)
{
	struct race_entry *entry = &cache->entries[slot];
	int error = 0;

	pthread_mutex_lock(&entry->lock);
	held->hit = is_pinned(cache, entry);
	if (!held->hit)
		error = pin(cache, entry, addr);
	held->buffer = entry->buffer;
	held->frames[0] = entry->frames[0];
	held->frames[1] = entry->frames[1];
	pthread_mutex_unlock(&entry->lock);
	return error;
}

/* Who has won the slot is the only one who looks it up. */
static void done(struct race_cache *cache, struct race_held *held)
{
	(void)cache;
	(void)held;
}

static int end(struct today *today, const struct ummunotify_watch *watches,
	       uint32_t count)
{
	struct ummunotify_watch_id ids[BATCH];
	int ended;

	for (uint32_t i = 0; i < count; i++)
		ids[i] = (struct ummunotify_watch_id){
			.state = watches[i].state,
			.slot = watches[i].slot,
		};
	ended = today_unwatches(today, ids, count);
	if (ended < 0)
		return ended;
	return ended == (int)count ? 0 : -EPROTO;
}

/* One thread a page at a time, the next as many as fit in a call. */
static int hammer(struct race_cache *cache, unsigned int thread, char *addr,
		  size_t pages)
{
	uint32_t batch = thread % 2 ? BATCH : 1;
	struct ummunotify_watch watches[BATCH];
	struct today today = for_call(cache);
	int error = 0;
	uint32_t i;

	for (; pages >= batch && !error; pages -= batch) {
		for (i = 0; i < batch; i++, addr += page)
			watches[i] = (struct ummunotify_watch){
				.start = (uintptr_t)addr,
				.end = (uintptr_t)addr + page,
			};
		error = today_watches(&today, watches, batch);
		if (error == -EAGAIN)
			break; /* a user drains the log at its next miss */
		if (error < 0)
			return error;
		error = end(&today, watches, (uint32_t)error);
	}
	return error == -EAGAIN ? 0 : error;
}

const struct race_client race_client_today = {
	.name = "today",
	.open = open_today,
	.close = close_today,
	.lookup = lookup,
	.done = done,
	.hammer = hammer,
};
