/* SPDX-License-Identifier: MIT */
/* page-backend.c - a monitor whose words lie in pages like the kernel module's. */
#define _GNU_SOURCE
#include "page-backend.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "../../base/containerof.h"
#include "../../base/interval.h"
#include "../../base/wipe.h"
#include "../../include/uapi/linux/ummunotify.h"
#include "../../lib/backend.h"

/**
 * struct page_watch - one watch; @slot is that of its word
 * @spent:   out of the tree
 * @waiting: in the monitor's events while @pending; or in its free ones
 */
struct page_watch {
	struct ummu_watch handle;
	struct ummu_interval range;
	uint64_t cookie;
	bool spent, pending;
	TAILQ_ENTRY(page_watch) waiting;
};

/**
 * struct page_monitor - a monitor; @lock is for all but the words
 * @map:    struct ummunotify_shared in a page, then the state words
 * @number: the latest that a state word has held
 */
struct page_monitor {
	struct ummu_monitor base;
	pthread_mutex_t lock;
	unsigned char *map;
	size_t map_bytes;
	struct ummu_interval_tree tree;
	struct page_watch *watches;
	TAILQ_HEAD(, page_watch) free, events;
	uint64_t number;
	uint64_t live;
};

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static struct page_monitor *of(const struct ummu_monitor *monitor)
{
	return container_of(monitor, struct page_monitor, base);
}

static struct ummunotify_shared *shared_of(struct page_monitor *monitor)
{
	return (struct ummunotify_shared *)monitor->map;
}

static uint64_t *word_of(struct page_watch *watch)
{
	return (uint64_t *)(uintptr_t)watch->handle.state;
}

static void page_close(struct ummu_monitor *base)
{
	struct page_monitor *monitor = of(base);

	ummu_wipe_free(monitor->map, monitor->map_bytes);
	free(monitor->watches);
	free(monitor);
}

static int page_status(const struct ummu_monitor *base)
{
	return __atomic_load_n(base->generation, __ATOMIC_RELAXED) ? 0 :
								     -ECHILD;
}

static int page_watch(struct ummu_monitor *base, uint64_t start, uint64_t last,
		      uint64_t cookie, struct ummu_watch **handle_p)
{
	struct page_monitor *monitor = of(base);
	struct page_watch *watch;

	pthread_mutex_lock(&monitor->lock);
	watch = TAILQ_FIRST(&monitor->free);
	if (watch) {
		TAILQ_REMOVE(&monitor->free, watch, waiting);
		watch->range.start = start;
		watch->range.last = last;
		watch->cookie = cookie;
		watch->spent = watch->pending = false;
		watch->handle.expected = ++monitor->number;
		__atomic_store_n(word_of(watch), monitor->number,
				 __ATOMIC_RELEASE);
		ummu_interval_insert(&monitor->tree, &watch->range);
		monitor->live++;
	}
	pthread_mutex_unlock(&monitor->lock);
	if (!watch)
		return -ENOSPC;
	*handle_p = &watch->handle;
	return 0;
}

static void page_unwatch(struct ummu_monitor *base, struct ummu_watch *handle)
{
	struct page_watch *watch = container_of(handle, struct page_watch,
						handle);
	struct page_monitor *monitor = of(base);

	pthread_mutex_lock(&monitor->lock);
	if (!watch->spent)
		ummu_interval_remove(&monitor->tree, &watch->range);
	if (watch->pending)
		TAILQ_REMOVE(&monitor->events, watch, waiting);
	__atomic_store_n(word_of(watch), 0, __ATOMIC_RELEASE);
	TAILQ_INSERT_HEAD(&monitor->free, watch, waiting);
	monitor->live--;
	pthread_mutex_unlock(&monitor->lock);
}

static int page_read(struct ummu_monitor *base, struct ummu_event *events,
		     size_t max)
{
	struct page_monitor *monitor = of(base);
	struct page_watch *watch;
	int count = 0;

	pthread_mutex_lock(&monitor->lock);
	while ((size_t)count < max && (watch = TAILQ_FIRST(&monitor->events))) {
		TAILQ_REMOVE(&monitor->events, watch, waiting);
		watch->pending = false;
		events[count++] = (struct ummu_event){
			.cookie = watch->cookie,
			.hint_start = watch->range.start,
			.hint_end = watch->range.last + 1,
			.reason = UMMU_REASON_UNMAP,
		};
	}
	pthread_mutex_unlock(&monitor->lock);
	return count;
}

static void page_caps(const struct ummu_monitor *base, struct ummu_caps *caps)
{
	(void)base;
	caps->flags = UMMU_CAPS_EXACT | UMMU_CAPS_ONE_LOAD | UMMU_CAPS_ANY_FILE;
}

static void page_stats(const struct ummu_monitor *base,
		       struct ummu_monitor_stats *stats)
{
	stats->watches = of(base)->live;
}

static const struct ummu_backend page_backend = {
	.name = "page",
	.only_named = true,
	.close = page_close,
	.status = page_status,
	.watch = page_watch,
	.unwatch = page_unwatch,
	.read = page_read,
	.caps = page_caps,
	.stats = page_stats,
};

int page_monitor_open(size_t watches, struct ummu_monitor **monitor_p)
{
	struct page_monitor *monitor = calloc(1, sizeof(*monitor));
	size_t mask = page_size() - 1;
	const uint64_t *words;

	if (!monitor)
		return -ENOMEM;
	monitor->map_bytes = page_size() +
			     ((watches * sizeof(uint64_t) + mask) & ~mask);
	monitor->map = ummu_wipe_alloc(monitor->map_bytes);
	monitor->watches = calloc(watches, sizeof(*monitor->watches));
	if (!monitor->map || !monitor->watches) {
		page_close(&monitor->base);
		return -ENOMEM;
	}
	/* All of its memory now: it is not what is measured. */
	memset(monitor->map, 0, monitor->map_bytes);
	pthread_mutex_init(&monitor->lock, NULL);
	TAILQ_INIT(&monitor->free);
	TAILQ_INIT(&monitor->events);
	words = (const uint64_t *)(monitor->map + page_size());
	for (size_t i = 0; i < watches; i++) {
		monitor->watches[i].handle.state = &words[i];
		TAILQ_INSERT_TAIL(&monitor->free, &monitor->watches[i], waiting);
	}
	shared_of(monitor)->generation = 1;
	monitor->base.generation = (const uint64_t *)&shared_of(monitor)
					   ->generation;
	monitor->base.backend = &page_backend;
	monitor->base.event_fd = -1;
	*monitor_p = &monitor->base;
	return 0;
}

void page_invalidate(struct ummu_monitor *base, const void *addr, size_t length)
{
	struct page_monitor *monitor = of(base);
	uint64_t start = (uintptr_t)addr, last = start + length - 1;
	struct ummu_interval *range;
	uint64_t hits = 0;

	pthread_mutex_lock(&monitor->lock);
	while ((range = ummu_interval_first(&monitor->tree, start, last))) {
		struct page_watch *watch = container_of(range,
							struct page_watch,
							range);

		ummu_interval_remove(&monitor->tree, range);
		watch->spent = watch->pending = true;
		TAILQ_INSERT_TAIL(&monitor->events, watch, waiting);
		/* Release: before the generation, as in the module. */
		__atomic_store_n(word_of(watch), 0, __ATOMIC_RELEASE);
		hits++;
	}
	if (hits)
		__atomic_fetch_add(&shared_of(monitor)->generation, hits,
				   __ATOMIC_RELEASE);
	pthread_mutex_unlock(&monitor->lock);
}
