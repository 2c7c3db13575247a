/* SPDX-License-Identifier: MIT */
/* teller.c - the thread that tells libfabric's caches what has left. */
#define _GNU_SOURCE
#include "integrations/libfabric/teller.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/*
 * How long news wait, in ms.  A program that uses the range again by then has
 * been told by valid(), and saves a registration: ranges.h.
 */
#define PATIENCE 20

/**
 * struct ummu_teller - the thread and what it works on
 * @process:  that it runs in
 * @wake:     an eventfd: somebody waits, or it is to end
 * @stopping: it is to end (atomic)
 */
struct ummu_teller {
	struct ummu_monitor *monitor;
	struct ummu_ranges *ranges;
	pid_t process;
	pthread_t thread;
	int wake;
	bool stopping;
};

/* The counter cannot be full, so the write does not block. */
static void kick(void *arg)
{
	struct ummu_teller *teller = arg;
	const uint64_t one = 1;
	ssize_t written = write(teller->wake, &one, sizeof(one));

	(void)written;
}

static bool wait_for(struct ummu_teller *teller, bool events, int patience)
{
	struct pollfd fds[2] = {
		{ .fd = teller->wake, .events = POLLIN },
		{ .fd = ummu_monitor_fd(teller->monitor), .events = POLLIN },
	};
	uint64_t count;

	/* A monitor whose descriptor is gone has no more news. */
	if (ummu_monitor_status(teller->monitor))
		events = false;
	poll(fds, events ? 2 : 1, patience);
	if (!(fds[0].revents & POLLIN))
		return false;
	return read(teller->wake, &count, sizeof(count)) == sizeof(count);
}

static bool is_stopping(const struct ummu_teller *teller)
{
	/* Orders nothing: the eventfd does. */
	return __atomic_load_n(&teller->stopping, __ATOMIC_RELAXED);
}

static void *tell(void *arg)
{
	struct ummu_teller *teller = arg;

	while (!is_stopping(teller)) {
		if (!wait_for(teller, true, -1))
			wait_for(teller, false, PATIENCE);
		if (!is_stopping(teller))
			ummu_ranges_purge(teller->ranges);
	}
	return NULL;
}

/* Its signals are the application's, which does not expect it. */
static int start_thread(struct ummu_teller *teller)
{
	sigset_t all, before;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&teller->thread, NULL, tell, teller);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!error)
		pthread_setname_np(teller->thread, "ummu-libfabric");
	return -error;
}

int ummu_teller_start(struct ummu_monitor *monitor, size_t max, bool trust,
		      void (*notify)(void *arg, const void *addr, size_t length),
		      struct ummu_teller **teller_p)
{
	struct ummu_teller *teller = calloc(1, sizeof(*teller));
	const struct ummu_ranges_opts opts = {
		.max = max,
		.trust = trust,
		.notify = notify,
		.kick = kick,
		.arg = teller,
	};
	int error;

	if (!teller)
		return -ENOMEM;
	/* Made by the first call; poll() would ignore one that is negative. */
	error = ummu_monitor_fd(monitor);
	if (error < 0)
		goto free_teller;
	teller->monitor = monitor;
	teller->process = getpid();
	teller->wake = eventfd(0, EFD_CLOEXEC);
	if (teller->wake < 0) {
		error = -errno;
		goto free_teller;
	}
	error = ummu_ranges_open(monitor, &opts, &teller->ranges);
	if (error)
		goto close_wake;
	error = start_thread(teller);
	if (error)
		goto close_ranges;
	*teller_p = teller;
	return 0;

close_ranges:
	ummu_ranges_close(teller->ranges);
close_wake:
	close(teller->wake);
free_teller:
	free(teller);
	return error;
}

void ummu_teller_stop(struct ummu_teller *teller)
{
	if (teller->process == getpid()) {
		__atomic_store_n(&teller->stopping, true, __ATOMIC_RELAXED);
		kick(teller);
		pthread_join(teller->thread, NULL);
	}
	ummu_ranges_close(teller->ranges);
	close(teller->wake);
	free(teller);
}

struct ummu_ranges *ummu_teller_ranges(const struct ummu_teller *teller)
{
	return teller->ranges;
}
