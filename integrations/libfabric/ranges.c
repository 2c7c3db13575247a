/* SPDX-License-Identifier: MIT */
/*
 * ranges.c - the ranges that libfabric's caches hold registrations for, and
 * whether each may still be used.  ranges.h says why it works.
 */
#define _GNU_SOURCE
#include "integrations/libfabric/ranges.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/containerof.h"
#include "base/interval.h"
#include "base/lock.h"
#include "base/wipe.h"

#define EVENTS 64     /* fetched at one time */
#define NEIGHBOURS 16 /* looked at for one that covers a range */

/**
 * struct range - whole pages, and who holds registrations of them
 * @pages:   in the tree; entries with the same pages share a range
 * @watch:   NULL where nothing is watched
 * @cookie:  of the watch: the range's number, and which of its watches it is
 * @armed:   the tick at which it was watched
 * @holders: entries that may be in a cache; never fewer than there are
 * @purging: its entries are being told to leave
 * @arming:  a thread makes a watch for it; then it has no holders, and nobody
 *           else makes one, purges it or forgets it
 * @used:    in the order of use, or a member of the free ones
 *
 * Guarded by the lock of struct ummu_ranges.
 */
struct range {
	struct ummu_interval pages;
	struct ummu_watch *watch;
	uint64_t cookie;
	uint64_t armed;
	unsigned int holders;
	bool purging;
	bool arming;
	TAILQ_ENTRY(range) used;
};

TAILQ_HEAD(range_list, range);

/**
 * struct ummu_ranges - all of them
 * @reader: of @monitor
 * @alive:  1; reads 0 in a child of fork, where @lock may be held for ever
 * @lock:   guards all that follows, and the ranges.  Watches are made and ended
 *          without it, as both allocate, and nobody is called back with it held
 * @tree:   of ranges in use
 * @recent: the same, least recently used first
 * @table:  opts.max ranges, by the number in their cookies
 */
struct ummu_ranges {
	struct ummu_monitor *monitor;
	struct ummu_reader *reader;
	struct ummu_ranges_opts opts;
	uint64_t page;
	int *alive;
	pthread_mutex_t lock;
	struct ummu_interval_tree tree;
	struct range_list recent;
	struct range_list unused;
	struct range *table;
	struct ummu_ranges_counts counts;
};

/*
 * Ticks of one clock for the process, which counts watches.  A thread remembers
 * the tick at which it was here last: what it pins now it began to pin later.
 */
static uint64_t ticks;

/*
 * The model is for speed, and more: the usual one may allocate at a thread's
 * first access, and libfabric calls with its locks held.
 */
static __thread uint64_t here_last __attribute__((tls_model("initial-exec")));

static uint64_t now(void)
{
	/* Acquire: a tick seen is a watch that exists. */
	return __atomic_load_n(&ticks, __ATOMIC_ACQUIRE);
}

static uint64_t tick(void)
{
	/* Release: pairs with now(); comes after the watch. */
	return __atomic_add_fetch(&ticks, 1, __ATOMIC_RELEASE);
}

static bool in_child(const struct ummu_ranges *ranges)
{
	/*
	 * Relaxed: the one writer is ummu_ranges_open(), before anybody else
	 * has the ranges.  In a child the kernel has wiped it.
	 */
	return !__atomic_load_n(ranges->alive, __ATOMIC_RELAXED);
}

static bool whole_pages(const struct ummu_ranges *ranges, const void *addr,
			size_t length, uint64_t *start, uint64_t *last)
{
	uint64_t first = (uintptr_t)addr, final = first + (length - 1);

	if (!length || final < first)
		return false;
	*start = first & ~(ranges->page - 1);
	*last = final | (ranges->page - 1);
	return true;
}

static struct range *range_of(struct ummu_interval *pages)
{
	return pages ? container_of(pages, struct range, pages) : NULL;
}

static struct range *find(const struct ummu_ranges *ranges, uint64_t start,
			  uint64_t last)
{
	struct ummu_interval *pages;

	pages = ummu_interval_first(&ranges->tree, start, last);
	while (pages && (pages->start != start || pages->last != last))
		pages = ummu_interval_next(pages, start, last);
	return range_of(pages);
}

static struct range *add(struct ummu_ranges *ranges, uint64_t start,
			 uint64_t last)
{
	struct range *range = TAILQ_FIRST(&ranges->unused);

	if (!range)
		return NULL;
	TAILQ_REMOVE(&ranges->unused, range, used);
	range->pages.start = start;
	range->pages.last = last;
	ummu_interval_insert(&ranges->tree, &range->pages);
	TAILQ_INSERT_TAIL(&ranges->recent, range, used);
	ranges->counts.ranges++;
	return range;
}

static void touch(struct ummu_ranges *ranges, struct range *range)
{
	TAILQ_REMOVE(&ranges->recent, range, used);
	TAILQ_INSERT_TAIL(&ranges->recent, range, used);
}

/*
 * A thread that is cancelled would leave the lock behind, ours or libfabric's,
 * which is held around these calls.  Returns what end_call() takes.
 */
static int begin_call(void)
{
	int before;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
	return before;
}

static void end_call(int before)
{
	pthread_setcancelstate(before, NULL);
}

/* The caller holds the lock, and ends the watch when it has let go of it. */
static struct ummu_watch *take_watch(struct range *range)
{
	struct ummu_watch *watch = range->watch;

	range->watch = NULL;
	return watch;
}

/*
 * From here on it is known what happens to the range, which has no holders.
 * The caller holds the lock, which is dropped meanwhile.  An event of the new
 * watch that is fetched before the lock is taken again has no range: without
 * holders nobody has to be told.
 */
static int arm(struct ummu_ranges *ranges, struct range *range)
{
	const uint64_t start = range->pages.start;
	const uint64_t length = range->pages.last - start + 1;
	struct ummu_watch *old = take_watch(range), *watch;
	uint64_t cookie;
	int error;

	range->arming = true;
	range->cookie += UINT64_C(1) << 32;
	cookie = range->cookie;
	ummu_mutex_unlock(&ranges->lock);
	ummu_monitor_unwatch(ranges->monitor, old);
	error = ummu_reader_watch(ranges->reader, (void *)(uintptr_t)start,
				  length, cookie, &watch);
	ummu_mutex_lock(&ranges->lock);
	range->arming = false;
	if (error)
		return error;
	range->watch = watch;
	range->armed = tick();
	return 0;
}

/* An event that was fetched before the range was watched anew has no range. */
static struct range *range_of_cookie(struct ummu_ranges *ranges, uint64_t cookie)
{
	const uint64_t number = cookie & UINT32_MAX;
	struct range *range;

	if (number >= ranges->opts.max)
		return NULL;
	range = &ranges->table[number];
	return range->watch && range->cookie == cookie ? range : NULL;
}

static bool is_full(const struct ummu_ranges *ranges)
{
	return ranges->counts.ranges > ranges->opts.max - ranges->opts.max / 8;
}

/* The caller holds the lock and has taken the watch. */
static void forget(struct ummu_ranges *ranges, struct range *range)
{
	range->holders = 0;
	ummu_interval_remove(&ranges->tree, &range->pages);
	TAILQ_REMOVE(&ranges->recent, range, used);
	TAILQ_INSERT_HEAD(&ranges->unused, range, used);
	ranges->counts.ranges--;
}

/* Was all of it watched when this thread was here last, and quiet since? */
static bool watched_since(const struct ummu_ranges *ranges, uint64_t start,
			  uint64_t last, uint64_t since)
{
	struct ummu_interval *pages;
	int i = 0;

	pages = ummu_interval_first(&ranges->tree, start, last);
	for (; pages && i < NEIGHBOURS; i++) {
		const struct range *range = range_of(pages);

		if (pages->start <= start && pages->last >= last &&
		    range->watch && range->armed <= since &&
		    ummu_watch_valid(range->watch))
			return true;
		pages = ummu_interval_next(pages, start, last);
	}
	return false;
}

static bool is_watched(const struct range *range)
{
	return range->watch && !ummu_watch_spent(range->watch);
}

/* Entries that are not gone yet must not see the range valid again. */
static bool waits_for_purge(const struct range *range)
{
	return range->purging || (range->holders && !is_watched(range));
}

/* The caller holds the lock, and kicks without it if @kick says so. */
static int subscribe(struct ummu_ranges *ranges, uint64_t start, uint64_t last,
		     uint64_t since, bool *kick)
{
	struct range *range = find(ranges, start, last);
	int error;

	if (!range)
		range = add(ranges, start, last);
	if (!range)
		return -ENOSPC;
	touch(ranges, range);
	/* Whoever makes the watch may register; this thread was not the first. */
	if (range->arming)
		return -EBUSY;
	if (waits_for_purge(range)) {
		*kick = true;
		return -EBUSY;
	}
	if (!is_watched(range)) {
		error = arm(ranges, range);
		if (error)
			return error;
	}
	/* First since when, then whether it is so still. */
	if (!ranges->opts.trust && !watched_since(ranges, start, last, since)) {
		ranges->counts.first++;
		return -EBUSY;
	}
	if (!ummu_watch_valid(range->watch))
		return -EAGAIN;
	range->holders++;
	return 0;
}

int ummu_ranges_subscribe(struct ummu_ranges *ranges, const void *addr,
			  size_t length)
{
	const uint64_t since = here_last;
	uint64_t start, last;
	int error, cancel;
	bool kick = false;

	if (in_child(ranges))
		return -ECHILD;
	if (!whole_pages(ranges, addr, length, &start, &last))
		return -EINVAL;
	cancel = begin_call();
	ummu_mutex_lock(&ranges->lock);
	error = subscribe(ranges, start, last, since, &kick);
	if (error)
		ranges->counts.refused++;
	else
		ranges->counts.kept++;
	kick |= is_full(ranges);
	ummu_mutex_unlock(&ranges->lock);
	if (kick)
		ranges->opts.kick(ranges->opts.arg);
	here_last = now();
	end_call(cancel);
	return error;
}

/*
 * A page has left.  The one entry there is leaves now, as it is told that it is
 * not valid; what comes next is a registration anew, so watch before it pins.
 * The caller holds the lock, and kicks without it if @kick says so.
 */
static void has_left(struct ummu_ranges *ranges, struct range *range, bool *kick)
{
	if (range->purging || range->arming)
		return;
	if (range->holders > 1) {
		*kick = true;
		return;
	}
	range->holders = 0;
	arm(ranges, range); /* or the subscription says why not */
}

bool ummu_ranges_valid(struct ummu_ranges *ranges, const void *addr,
		       size_t length)
{
	uint64_t start, last;
	struct range *range;
	bool valid = false, kick = false;
	int cancel;

	if (in_child(ranges) ||
	    !whole_pages(ranges, addr, length, &start, &last))
		return false;
	cancel = begin_call();
	ummu_mutex_lock(&ranges->lock);
	range = find(ranges, start, last);
	if (range) {
		touch(ranges, range);
		valid = !range->purging && range->watch &&
			ummu_watch_valid(range->watch);
		/* Not known is not valid, but no news about the others. */
		if (!valid && !is_watched(range))
			has_left(ranges, range, &kick);
	}
	if (valid)
		ranges->counts.valid++;
	else
		ranges->counts.invalid++;
	ummu_mutex_unlock(&ranges->lock);
	if (kick)
		ranges->opts.kick(ranges->opts.arg);
	here_last = now();
	end_call(cancel);
	return valid;
}

/*
 * Has the range's entries leave, which ends its watch.  The caller holds the
 * lock, which is dropped meanwhile: nobody else frees the range or watches it
 * anew.  Returns the watch, for the caller to end without the lock.
 */
static struct ummu_watch *purge(struct ummu_ranges *ranges, struct range *range,
				uint64_t start, uint64_t last)
{
	if (range->holders) {
		ranges->counts.notified++;
		range->purging = true;
		ummu_mutex_unlock(&ranges->lock);
		ranges->opts.notify(ranges->opts.arg, (void *)(uintptr_t)start,
				    last - start + 1);
		ummu_mutex_lock(&ranges->lock);
		range->purging = false;
		range->holders = 0;
	}
	return take_watch(range);
}

/*
 * The caller holds the lock, and ends the watch without it.  An entry of the
 * range overlaps each of its pages, so the hint will do.
 */
static struct ummu_watch *purge_hit(struct ummu_ranges *ranges,
				    const struct ummu_event *event)
{
	struct range *range = range_of_cookie(ranges, event->cookie);
	uint64_t start = event->hint_start, last = event->hint_end - 1;

	if (!range)
		return NULL;
	if (start < range->pages.start || last > range->pages.last ||
	    start > last) {
		start = range->pages.start;
		last = range->pages.last;
	}
	return purge(ranges, range, start, last);
}

static void purge_event(struct ummu_ranges *ranges,
			const struct ummu_event *event)
{
	struct ummu_watch *watch;

	ummu_mutex_lock(&ranges->lock);
	watch = purge_hit(ranges, event);
	ummu_mutex_unlock(&ranges->lock);
	ummu_monitor_unwatch(ranges->monitor, watch);
}

/* The caller holds the lock. */
static struct range *least_recent(const struct ummu_ranges *ranges)
{
	struct range *range = TAILQ_FIRST(&ranges->recent);

	while (range && range->arming)
		range = TAILQ_NEXT(range, used);
	return range;
}

/* False when there is room, or none to be made. */
static bool evict_one(struct ummu_ranges *ranges, size_t few)
{
	struct ummu_watch *watch = NULL;
	struct range *range = NULL;

	ummu_mutex_lock(&ranges->lock);
	if (ranges->counts.ranges > few)
		range = least_recent(ranges);
	if (range) {
		watch = purge(ranges, range, range->pages.start,
			      range->pages.last);
		forget(ranges, range);
		ranges->counts.evicted++;
	}
	ummu_mutex_unlock(&ranges->lock);
	ummu_monitor_unwatch(ranges->monitor, watch);
	return range;
}

static void evict(struct ummu_ranges *ranges)
{
	const size_t few = ranges->opts.max - ranges->opts.max / 4;
	bool full;

	ummu_mutex_lock(&ranges->lock);
	full = is_full(ranges);
	ummu_mutex_unlock(&ranges->lock);
	while (full && evict_one(ranges, few))
		;
}

void ummu_ranges_purge(struct ummu_ranges *ranges)
{
	struct ummu_event events[EVENTS];
	int i, count, cancel = begin_call();

	do {
		count = ummu_reader_read(ranges->reader, events, EVENTS);
		for (i = 0; i < count; i++)
			purge_event(ranges, &events[i]);
		evict(ranges);
	} while (count == EVENTS);
	end_call(cancel);
}

void ummu_ranges_count(struct ummu_ranges *ranges,
		       struct ummu_ranges_counts *counts)
{
	/* In a child the holder of the lock may be a thread that is not there. */
	const bool alone = in_child(ranges);

	if (!alone)
		ummu_mutex_lock(&ranges->lock);
	*counts = ranges->counts;
	if (!alone)
		ummu_mutex_unlock(&ranges->lock);
}

bool ummu_ranges_in_child(const struct ummu_ranges *ranges)
{
	return in_child(ranges);
}

int ummu_ranges_open(struct ummu_monitor *monitor,
		     const struct ummu_ranges_opts *opts,
		     struct ummu_ranges **ranges_p)
{
	struct ummu_ranges *ranges;
	int error;
	size_t i;

	if (opts->max < 8 || opts->max > UINT32_MAX)
		return -EINVAL;
	ranges = calloc(1, sizeof(*ranges));
	if (!ranges)
		return -ENOMEM;
	error = -ENOMEM;
	ranges->page = (uint64_t)sysconf(_SC_PAGESIZE);
	ranges->table = calloc(opts->max, sizeof(*ranges->table));
	ranges->alive = ummu_wipe_alloc(ranges->page);
	if (!ranges->table || !ranges->alive)
		goto free_ranges;
	error = ummu_monitor_claim(monitor, &ranges->reader);
	if (error)
		goto free_ranges;

	*ranges->alive = 1;
	ranges->monitor = monitor;
	ranges->opts = *opts;
	pthread_mutex_init(&ranges->lock, NULL);
	TAILQ_INIT(&ranges->recent);
	TAILQ_INIT(&ranges->unused);
	for (i = 0; i < opts->max; i++) {
		ranges->table[i].cookie = i;
		TAILQ_INSERT_TAIL(&ranges->unused, &ranges->table[i], used);
	}
	*ranges_p = ranges;
	return 0;

free_ranges:
	ummu_wipe_free(ranges->alive, ranges->page);
	free(ranges->table);
	free(ranges);
	return error;
}

void ummu_ranges_close(struct ummu_ranges *ranges)
{
	size_t i;

	if (!in_child(ranges))
		for (i = 0; i < ranges->opts.max; i++)
			ummu_monitor_unwatch(ranges->monitor,
					     take_watch(&ranges->table[i]));
	ummu_reader_drop(ranges->reader);
	ummu_wipe_free(ranges->alive, ranges->page);
	free(ranges->table);
	free(ranges);
}
