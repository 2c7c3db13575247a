/* SPDX-License-Identifier: MIT */
/* fake-backend.c - a monitor backend that does what a test tells it to. */
#define _GNU_SOURCE
#include "fake-backend.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/containerof.h"

static struct fake_monitor *fake_of(const struct ummu_monitor *monitor)
{
	return container_of(monitor, struct fake_monitor, base);
}

static bool in_child(const struct fake_monitor *fake)
{
	return getpid() != fake->owner;
}

static int fake_new(struct ummu_monitor **monitor_p)
{
	struct fake_monitor *fake = calloc(1, sizeof(*fake));

	if (!fake)
		return -ENOMEM;
	fake->owner = getpid();
	pthread_mutex_init(&fake->lock, NULL);
	fake->generation = 1;
	fake->base.generation = &fake->generation;
	fake->base.event_fd = -1;
	LIST_INIT(&fake->watches);
	TAILQ_INIT(&fake->events);
	*monitor_p = &fake->base;
	return 0;
}

static void fake_delete(struct ummu_monitor *monitor)
{
	struct fake_monitor *fake = fake_of(monitor);
	struct fake_watch *watch;

	while ((watch = LIST_FIRST(&fake->watches))) {
		LIST_REMOVE(watch, member);
		free(watch);
	}
	free(fake);
}

static int fake_status(const struct ummu_monitor *monitor)
{
	const struct fake_monitor *fake = fake_of(monitor);

	if (in_child(fake))
		return -ECHILD;
	return __atomic_load_n(&fake->failed, __ATOMIC_ACQUIRE) ? -EBADF : 0;
}

static void hit(struct fake_monitor *fake, struct fake_watch *watch,
		const struct fake_range *range)
{
	if (!watch->word || watch->last < range->start ||
	    watch->start > range->last)
		return;
	watch->event = (struct ummu_event){
		.cookie = watch->cookie,
		.hint_start = watch->start,
		.hint_end = watch->last + 1,
		.reason = range->reason,
	};
	watch->pending = true;
	TAILQ_INSERT_TAIL(&fake->events, watch, waiting);
	/* Release: pairs with the inline check. */
	__atomic_store_n(&watch->word, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&fake->generation, fake->generation + 1,
			 __ATOMIC_RELEASE);
}

static void store(struct fake_monitor *fake, const struct fake_range *range)
{
	struct fake_watch *watch;

	for (watch = LIST_FIRST(&fake->watches); watch;
	     watch = LIST_NEXT(watch, member))
		hit(fake, watch, range);
}

static void store_flight(struct fake_monitor *fake)
{
	for (unsigned int i = 0; i < fake->in_flight; i++)
		store(fake, &fake->flight[i]);
	fake->in_flight = 0;
}

/* Does this call of the next @*budget (-1: of all) show the effect? */
static bool spend(int *budget)
{
	if (*budget > 0)
		return (*budget)--;
	return *budget < 0;
}

static int fake_watch(struct ummu_monitor *monitor, uint64_t start,
		      uint64_t last, uint64_t cookie,
		      struct ummu_watch **watch_p)
{
	struct fake_monitor *fake = fake_of(monitor);
	struct fake_watch *watch;

	if (in_child(fake))
		return -ECHILD;
	if (fake->on_watch)
		fake->on_watch(fake->arg);
	watch = calloc(1, sizeof(*watch));
	if (!watch)
		return -ENOMEM;
	pthread_mutex_lock(&fake->lock);
	if (spend(&fake->refuse)) {
		pthread_mutex_unlock(&fake->lock);
		free(watch);
		return fake->refuse_error;
	}
	/* What is in flight hits the watches there were when it happened. */
	store_flight(fake);
	watch->start = start;
	watch->last = last;
	watch->cookie = cookie;
	watch->word = 7;
	watch->handle.state = &watch->word;
	watch->handle.expected = 7;
	watch->handle.settle = monitor->backend->settle ? monitor : NULL;
	LIST_INSERT_HEAD(&fake->watches, watch, member);
	fake->live++;
	*watch_p = &watch->handle;
	pthread_mutex_unlock(&fake->lock);
	if (fake->on_watched)
		fake->on_watched(fake->arg);
	return 0;
}

static void fake_unwatch(struct ummu_monitor *monitor, struct ummu_watch *handle)
{
	struct fake_monitor *fake = fake_of(monitor);
	struct fake_watch *watch = container_of(handle, struct fake_watch,
						handle);

	if (fake->on_watch)
		fake->on_watch(fake->arg);
	pthread_mutex_lock(&fake->lock);
	if (watch->pending)
		TAILQ_REMOVE(&fake->events, watch, waiting);
	LIST_REMOVE(watch, member);
	fake->live--;
	pthread_mutex_unlock(&fake->lock);
	free(watch);
}

static int fake_release(struct ummu_monitor *monitor, uint64_t start,
			uint64_t last)
{
	struct fake_monitor *fake = fake_of(monitor);

	if (in_child(fake))
		return -ECHILD;
	pthread_mutex_lock(&fake->lock);
	fake->released = (struct fake_range){ .start = start, .last = last };
	pthread_mutex_unlock(&fake->lock);
	if (fake->on_release)
		fake->on_release(fake->arg);
	return fake->failed ? -EBADF : 0;
}

static int fake_event_fd(struct ummu_monitor *monitor)
{
	return fake_of(monitor)->fd_error;
}

static bool fake_settle(const struct ummu_monitor *monitor)
{
	struct fake_monitor *fake = fake_of(monitor);
	bool settled;

	if (in_child(fake))
		return false;
	if (fake->on_settle)
		fake->on_settle(fake->arg);
	pthread_mutex_lock(&fake->lock);
	settled = !spend(&fake->unsettled);
	if (settled)
		store_flight(fake);
	pthread_mutex_unlock(&fake->lock);
	return settled;
}

static uint64_t fake_generation(const struct ummu_monitor *monitor)
{
	struct fake_monitor *fake = fake_of(monitor);
	uint64_t generation;

	if (in_child(fake))
		return 0;
	pthread_mutex_lock(&fake->lock);
	if (!fake->unsettled)
		store_flight(fake);
	generation = fake->generation;
	pthread_mutex_unlock(&fake->lock);
	return generation;
}

static int fake_read(struct ummu_monitor *monitor, struct ummu_event *events,
		     size_t max)
{
	struct fake_monitor *fake = fake_of(monitor);
	struct fake_watch *watch;
	int count = 0;

	if (in_child(fake))
		return -ECHILD;
	if (fake->on_reading)
		fake->on_reading(fake->arg);
	pthread_mutex_lock(&fake->lock);
	if (!fake->unsettled)
		store_flight(fake);
	while (!fake->mute && (size_t)count < max &&
	       (watch = TAILQ_FIRST(&fake->events))) {
		TAILQ_REMOVE(&fake->events, watch, waiting);
		watch->pending = false;
		events[count++] = watch->event;
	}
	pthread_mutex_unlock(&fake->lock);
	if (count && fake->on_read)
		fake->on_read(fake->arg);
	return count;
}

static void fake_caps(const struct ummu_monitor *monitor, struct ummu_caps *caps)
{
	if (fake_of(monitor)->exact)
		caps->flags = UMMU_CAPS_EXACT;
	caps->claims[UMMU_OP_MUNMAP] = UMMU_CLAIM_CAUGHT;
}

static void fake_stats(const struct ummu_monitor *monitor,
		       struct ummu_monitor_stats *stats)
{
	stats->watches = fake_of(monitor)->live;
}

static const struct ummu_backend settling = {
	.name = "fake",
	.only_named = true,
	.open = fake_new,
	.close = fake_delete,
	.status = fake_status,
	.watch = fake_watch,
	.unwatch = fake_unwatch,
	.release = fake_release,
	.event_fd = fake_event_fd,
	.settle = fake_settle,
	.generation = fake_generation,
	.read = fake_read,
	.caps = fake_caps,
	.stats = fake_stats,
};

static const struct ummu_backend one_load_only = {
	.name = "fake-one-load",
	.only_named = true,
	.open = fake_new,
	.close = fake_delete,
	.status = fake_status,
	.watch = fake_watch,
	.unwatch = fake_unwatch,
	.read = fake_read,
	.caps = fake_caps,
	.stats = fake_stats,
};

struct fake_monitor *fake_open(bool one_load)
{
	struct ummu_monitor *monitor;

	if (ummu_monitor_open_on(one_load ? &one_load_only : &settling,
				 &monitor))
		abort();
	return fake_of(monitor);
}

void fake_close(struct fake_monitor *fake)
{
	if (!in_child(fake) && fake->live) {
		fprintf(stderr, "%u watches were left\n", fake->live);
		abort();
	}
	ummu_monitor_close(&fake->base);
}

static struct fake_range range_of(const void *addr, size_t length,
				  enum ummu_reason reason)
{
	return (struct fake_range){
		.start = (uintptr_t)addr,
		.last = (uintptr_t)addr + length - 1,
		.reason = reason,
	};
}

void fake_invalidate(struct fake_monitor *fake, const void *addr, size_t length,
		     enum ummu_reason reason)
{
	struct fake_range range = range_of(addr, length, reason);

	pthread_mutex_lock(&fake->lock);
	store(fake, &range);
	pthread_mutex_unlock(&fake->lock);
}

void fake_invalidate_in_flight(struct fake_monitor *fake, const void *addr,
			       size_t length, enum ummu_reason reason)
{
	struct fake_range range = range_of(addr, length, reason);

	pthread_mutex_lock(&fake->lock);
	if (!fake->base.backend->settle) {
		store(fake, &range);
	} else {
		if (fake->in_flight == FAKE_FLIGHT)
			store_flight(fake);
		fake->flight[fake->in_flight++] = range;
	}
	pthread_mutex_unlock(&fake->lock);
}
