/* SPDX-License-Identifier: MIT */
/* monitor.c - the public monitor calls: choose a backend, check, pass on. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/call.h"
#include "../base/sized.h"
#include "backend.h"
#include "explain.h"

#define TEXT_OF(number) #number
#define VERSION_TEXT(major, minor, patch) \
	TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)

/* Best first. */
static const struct ummu_backend *const backends[] = {
	&ummu_backend_kmod,
	&ummu_backend_uffd,
	&ummu_backend_none,
};

#define BACKEND_COUNT (sizeof(backends) / sizeof(backends[0]))

const char *ummu_version(void)
{
	return VERSION_TEXT(UMMU_VERSION_MAJOR, UMMU_VERSION_MINOR,
			    UMMU_VERSION_PATCH);
}

int ummu_monitor_open_on(const struct ummu_backend *backend,
			 struct ummu_monitor **monitor_p)
{
	struct ummu_monitor *monitor;
	int error = backend->open(&monitor);

	if (error)
		return error;
	monitor->backend = backend;
	*monitor_p = monitor;
	return 0;
}

static int open_named(const char *name, struct ummu_monitor **monitor_p)
{
	for (size_t i = 0; i < BACKEND_COUNT; i++)
		if (!strcmp(backends[i]->name, name))
			return ummu_monitor_open_on(backends[i], monitor_p);
	return ummu_explain(
		-EINVAL,
		"this library has no backend \"%.32s\"; it has \"kmod\", \"uffd\" and \"none\"",
		name);
}

/* @why as of sized.h */
static int refuse_size(const char *name, const char *why)
{
	return why ? ummu_explain(-EINVAL, "struct %s: %s", name, why) : 0;
}

/* The caller's options, with defaults for what it does not have. */
static int known_opts(const struct ummu_monitor_opts *opts,
		      struct ummu_monitor_opts *known)
{
	const char *why = NULL;

	if (opts)
		why = ummu_sized_in(known, sizeof(*known), opts,
				    sizeof(opts->size));
	else
		memset(known, 0, sizeof(*known));
	return refuse_size("ummu_monitor_opts", why);
}

/* What one backend refused is no news if another one works. */
static int open_best(struct ummu_monitor **monitor_p)
{
	char before[UMMU_EXPLANATION];
	int error = -ENODEV;

	ummu_explain_keep(before);
	for (size_t i = 0; i < BACKEND_COUNT && error; i++)
		if (!backends[i]->only_named)
			error = ummu_monitor_open_on(backends[i], monitor_p);
	if (!error)
		ummu_explain_restore(before);
	return error;
}

static int open_monitor(const struct ummu_monitor_opts *opts,
			struct ummu_monitor **monitor_p)
{
	const char *named = secure_getenv("UMMU_MONITOR");
	struct ummu_monitor_opts known;
	int error = known_opts(opts, &known);

	if (error)
		return error;
	if (named && *named)
		known.backend = named;
	return known.backend ? open_named(known.backend, monitor_p) :
			       open_best(monitor_p);
}

int ummu_monitor_open(const struct ummu_monitor_opts *opts,
		      struct ummu_monitor **monitor_p)
{
	const struct ummu_call call = ummu_call_begin();

	return ummu_call_return(&call, open_monitor(opts, monitor_p));
}

void ummu_monitor_close(struct ummu_monitor *monitor)
{
	const struct ummu_call call = ummu_call_begin();

	if (monitor)
		monitor->backend->close(monitor);
	ummu_call_end(&call);
}

const char *ummu_monitor_backend(const struct ummu_monitor *monitor)
{
	return monitor->backend->name;
}

int ummu_monitor_status(const struct ummu_monitor *monitor)
{
	const int error = errno; /* for every hit where words can lag: call.h */
	const int status = monitor->backend->status(monitor);

	errno = error;
	return status;
}

static int event_fd(struct ummu_monitor *monitor)
{
	if (monitor->backend->polled &&
	    !__atomic_exchange_n(&monitor->polled, 1, __ATOMIC_ACQ_REL))
		monitor->backend->polled(monitor);
	if (monitor->backend->event_fd)
		return monitor->backend->event_fd(monitor);
	return monitor->event_fd;
}

int ummu_monitor_fd(const struct ummu_monitor *monitor)
{
	const struct ummu_call call = ummu_call_begin();

	/* No monitor is constant; its users may not write to it. */
	return ummu_call_return(&call,
				event_fd((struct ummu_monitor *)(uintptr_t)
						 monitor));
}

/* Whole pages around [addr, addr + length); false if empty or it wraps. */
static bool whole_pages(const void *addr, size_t length, uint64_t *start,
			uint64_t *last)
{
	uint64_t mask = (uint64_t)sysconf(_SC_PAGESIZE) - 1;
	uint64_t first = (uintptr_t)addr;
	uint64_t final = first + (length - 1);

	if (!length || final < first)
		return false;
	*start = first & ~mask;
	*last = final | mask;
	return true;
}

/* What no watch expects and no checkpoint has seen: "look closer". */
static const uint64_t no_proof;

static int no_range(const void *addr, size_t length)
{
	return ummu_explain(-EINVAL,
			    "the range at %p of %zu bytes is empty or wraps",
			    addr, length);
}

/*
 * A claimed monitor has watches and calls of its reader only.  So monitor->use
 * counts what would have to be the reader's, and a claim succeeds at 0: nobody
 * else's event is there to be read, or will be, and nobody else is reading.
 */
#define CLAIMED (UINT64_C(1) << 63)

static int refuse_claimed(const struct ummu_monitor *monitor)
{
	int error = monitor->backend->status(monitor);

	return error ? error :
		       ummu_explain(-EBUSY,
				    "this monitor was claimed, by a cache for example, and its events are for the claimer alone: open a monitor of your own, they are cheap");
}

/* For anybody: one user more, unless it is claimed. */
static int use(struct ummu_monitor *monitor)
{
	uint64_t before = __atomic_load_n(&monitor->use, __ATOMIC_RELAXED);

	do {
		if (before & CLAIMED)
			return refuse_claimed(monitor);
		/* Acquire: after the claim that was dropped before. */
	} while (!__atomic_compare_exchange_n(&monitor->use, &before,
					      before + 1, true, __ATOMIC_ACQUIRE,
					      __ATOMIC_RELAXED));
	return 0;
}

static void use_by_reader(struct ummu_monitor *monitor)
{
	/* Orders nothing: the claim did. */
	__atomic_fetch_add(&monitor->use, 1, __ATOMIC_RELAXED);
}

static void use_ends(struct ummu_monitor *monitor)
{
	/* Release: what was done comes before a claim that sees it done. */
	__atomic_fetch_sub(&monitor->use, 1, __ATOMIC_RELEASE);
}

/* One user is counted already, for the watch. */
static int watch_range(struct ummu_monitor *monitor, const void *addr,
		       size_t length, uint64_t cookie,
		       struct ummu_watch **watch_p)
{
	uint64_t start, last;
	int error;

	if (whole_pages(addr, length, &start, &last))
		error = monitor->backend->watch(monitor, start, last, cookie,
						watch_p);
	else
		error = no_range(addr, length);
	if (error)
		use_ends(monitor);
	else
		(*watch_p)->proof = (*watch_p)->settle ? &no_proof :
							 (*watch_p)->state;
	return error;
}

/* One call of ummu_monitor_watch() or ummu_reader_watch() ends with @error. */
static int count_watch(struct ummu_monitor *monitor, int error)
{
	__atomic_fetch_add(error ? &monitor->refused : &monitor->watched, 1,
			   __ATOMIC_RELAXED);
	return error;
}

int ummu_monitor_watch(struct ummu_monitor *monitor, const void *addr,
		       size_t length, uint64_t cookie,
		       struct ummu_watch **watch_p)
{
	const struct ummu_call call = ummu_call_begin();
	int error = use(monitor);

	if (!error)
		error = watch_range(monitor, addr, length, cookie, watch_p);
	return ummu_call_return(&call, count_watch(monitor, error));
}

void ummu_monitor_unwatch(struct ummu_monitor *monitor, struct ummu_watch *watch)
{
	const struct ummu_call call = ummu_call_begin();

	if (watch) {
		monitor->backend->unwatch(monitor, watch);
		use_ends(monitor);
	}
	ummu_call_end(&call);
}

static int release(struct ummu_monitor *monitor, const void *addr, size_t length)
{
	uint64_t start, last;

	if (!whole_pages(addr, length, &start, &last))
		return no_range(addr, length);
	if (!monitor->backend->release)
		return 0;
	return monitor->backend->release(monitor, start, last);
}

int ummu_monitor_release(struct ummu_monitor *monitor, const void *addr,
			 size_t length)
{
	const struct ummu_call call = ummu_call_begin();

	return ummu_call_return(&call, release(monitor, addr, length));
}

bool ummu_monitor_settle(const struct ummu_monitor *monitor)
{
	const int error = errno; /* for every hit where words can lag: call.h */
	const bool settled = monitor->backend->settle(monitor);

	errno = error;
	return settled;
}

void ummu_monitor_checkpoint(const struct ummu_monitor *monitor,
			     struct ummu_checkpoint *checkpoint)
{
	/*
	 * What is in flight now has not completed: whether it counts as seen
	 * does not matter, so the load need not wait for it to settle.
	 */
	checkpoint->seen = ummu_monitor_generation(monitor);
	checkpoint->generation = monitor->generation;
	checkpoint->settle = monitor->backend->settle ? monitor : NULL;
	checkpoint->proof = checkpoint->settle ? &no_proof :
						 checkpoint->generation;
	if (!checkpoint->seen) /* a forked child: equal to no generation */
		checkpoint->seen = UINT64_MAX;
}

uint64_t ummu_monitor_generation(const struct ummu_monitor *monitor)
{
	const int error = errno; /* for every hit where words can lag: call.h */
	uint64_t generation;

	if (!monitor->backend->generation)
		return __atomic_load_n(monitor->generation, __ATOMIC_ACQUIRE);
	generation = monitor->backend->generation(monitor);
	errno = error;
	return generation;
}

int ummu_monitor_read(struct ummu_monitor *monitor, struct ummu_event *events,
		      size_t max)
{
	const struct ummu_call call = ummu_call_begin();
	int count = use(monitor);

	if (!count) {
		count = monitor->backend->read(monitor, events, max);
		use_ends(monitor);
	}
	return ummu_call_return(&call, count);
}

static int claim(struct ummu_monitor *monitor, struct ummu_reader **reader_p)
{
	uint64_t unused = 0;
	int error = monitor->backend->status(monitor);

	if (error)
		return error;
	/* Acquire pairs with use_ends(). */
	if (!__atomic_compare_exchange_n(&monitor->use, &unused, CLAIMED, false,
					 __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return ummu_explain(
			-EBUSY,
			unused & CLAIMED ?
				"this monitor's events have a reader already: open another monitor, they are cheap" :
				"somebody else has watches on this monitor, or is reading it, and their events would be yours to read: open another monitor, they are cheap");
	monitor->reader.monitor = monitor;
	*reader_p = &monitor->reader;
	return 0;
}

int ummu_monitor_claim(struct ummu_monitor *monitor,
		       struct ummu_reader **reader_p)
{
	const struct ummu_call call = ummu_call_begin();

	return ummu_call_return(&call, claim(monitor, reader_p));
}

int ummu_reader_watch(struct ummu_reader *reader, const void *addr,
		      size_t length, uint64_t cookie,
		      struct ummu_watch **watch_p)
{
	const struct ummu_call call = ummu_call_begin();
	struct ummu_monitor *monitor = reader->monitor;
	int error;

	use_by_reader(monitor);
	error = watch_range(monitor, addr, length, cookie, watch_p);
	return ummu_call_return(&call, count_watch(monitor, error));
}

int ummu_reader_read(struct ummu_reader *reader, struct ummu_event *events,
		     size_t max)
{
	const struct ummu_call call = ummu_call_begin();
	struct ummu_monitor *monitor = reader->monitor;

	return ummu_call_return(&call,
				monitor->backend->read(monitor, events, max));
}

void ummu_reader_drop(struct ummu_reader *reader)
{
	/* Release: what the reader did comes before what others do next. */
	if (reader)
		__atomic_fetch_and(&reader->monitor->use, ~CLAIMED,
				   __ATOMIC_RELEASE);
}

int ummu_monitor_caps(const struct ummu_monitor *monitor, struct ummu_caps *caps)
{
	const struct ummu_call call = ummu_call_begin();
	struct ummu_caps known = { .size = sizeof(known) };
	const char *why;

	monitor->backend->caps(monitor, &known);
	why = ummu_sized_out(caps, &known, sizeof(known));
	return ummu_call_return(&call, refuse_size("ummu_caps", why));
}

int ummu_monitor_stats(const struct ummu_monitor *monitor,
		       struct ummu_monitor_stats *stats)
{
	const struct ummu_call call = ummu_call_begin();
	struct ummu_monitor_stats known = {
		.size = sizeof(known),
		.watched = __atomic_load_n(&monitor->watched, __ATOMIC_RELAXED),
		.refused = __atomic_load_n(&monitor->refused, __ATOMIC_RELAXED),
	};

	const char *why;

	monitor->backend->stats(monitor, &known);
	why = ummu_sized_out(stats, &known, sizeof(known));
	return ummu_call_return(&call, refuse_size("ummu_monitor_stats", why));
}
