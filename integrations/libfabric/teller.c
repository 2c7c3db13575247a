/* SPDX-License-Identifier: MIT */
/* teller.c - the thread that tells libfabric's caches what has left. */
#define _GNU_SOURCE
#include "integrations/libfabric/teller.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * How long news wait, in ms.  A program that uses the range again by then has
 * been told by valid(), and saves a registration: ranges.h.
 */
#define PATIENCE 20

/*
 * How long the thread sleeps at most, in ms, while it can be woken, and when it
 * cannot.  The first bounds how long it takes to find out: a program that
 * closes our socket while a child of fork has a copy does not wake anybody.
 */
#define SLEEP 10000
#define NAP 1000

/**
 * struct end - one end of a pair of sockets, and how to know it again
 *
 * Programs close descriptors that they do not own (closefrom() in a daemon),
 * and the number may then be a file of theirs.  So each use asks whether it is
 * still our socket.  Between the question and the use the number may change
 * hands; that is why it is a socket: send() and recv() refuse every file.
 */
struct end {
	int fd;
	dev_t device;
	ino_t inode;
};

/**
 * struct ummu_teller - the thread and what it works on
 * @wake:     the thread's end: somebody waits, or it is to end
 * @waker:    the other end, everybody else's
 * @deaf:     @wake is lost; the thread's own
 * @blind:    the monitor's descriptor is closed; the thread's own
 * @stopping: the thread is to end; an atomic
 */
struct ummu_teller {
	struct ummu_monitor *monitor;
	struct ummu_ranges *ranges;
	pthread_t thread;
	struct end wake;
	struct end waker;
	bool deaf;
	bool blind;
	bool stopping;
};

static bool is_ours(const struct end *end)
{
	struct stat status;

	return !fstat(end->fd, &status) && S_ISSOCK(status.st_mode) &&
	       status.st_dev == end->device && status.st_ino == end->inode;
}

static int know_end(struct end *end, int fd)
{
	struct stat status;

	end->fd = fd;
	if (fstat(fd, &status))
		return -errno;
	end->device = status.st_dev;
	end->inode = status.st_ino;
	return 0;
}

static void close_end(const struct end *end)
{
	if (is_ours(end))
		close(end->fd);
}

static int open_ends(struct ummu_teller *teller)
{
	int fds[2], error;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		return -errno;
	error = know_end(&teller->wake, fds[0]);
	if (!error)
		error = know_end(&teller->waker, fds[1]);
	if (error) {
		close(fds[0]);
		close(fds[1]);
	}
	return error;
}

/*
 * A full socket wakes the thread as well as one more byte would, and where the
 * socket is lost the thread looks by itself after a nap.
 */
static void kick(void *arg)
{
	const struct ummu_teller *teller = arg;
	const int error = errno;

	if (is_ours(&teller->waker))
		send(teller->waker.fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	errno = error;
}

/* Somebody waits; or nobody can say so any more, and then somebody may. */
static bool was_kicked(struct ummu_teller *teller, short revents)
{
	char kicks[64];

	if (!teller->deaf && revents &&
	    (!is_ours(&teller->wake) ||
	     recv(teller->wake.fd, kicks, sizeof(kicks), MSG_DONTWAIT) <= 0))
		teller->deaf = true;
	return revents;
}

static bool wait_for(struct ummu_teller *teller, bool events, int patience)
{
	struct pollfd fds[2] = {
		{ .fd = teller->wake.fd, .events = POLLIN },
		{ .fd = ummu_monitor_fd(teller->monitor), .events = POLLIN },
	};

	if (!is_ours(&teller->wake))
		teller->deaf = true;
	if (teller->deaf) {
		fds[0].fd = -1; /* which poll() passes over */
		patience = patience < NAP ? patience : NAP;
	}
	/* A monitor whose descriptor is gone has no more news. */
	if (teller->blind || ummu_monitor_status(teller->monitor))
		events = false;
	if (poll(fds, events ? 2 : 1, patience) < 0)
		return false;
	if (events && fds[1].revents & POLLNVAL)
		teller->blind = true;
	return was_kicked(teller, fds[0].revents);
}

static bool is_stopping(const struct ummu_teller *teller)
{
	/* Relaxed: orders nothing, and what is freed then is freed after a join. */
	return __atomic_load_n(&teller->stopping, __ATOMIC_RELAXED);
}

static void *tell(void *arg)
{
	struct ummu_teller *teller = arg;

	/* Here, as its creator would open a file of /proc for it. */
	prctl(PR_SET_NAME, "ummu-libfabric");
	while (!is_stopping(teller)) {
		if (!wait_for(teller, true, SLEEP))
			wait_for(teller, false, PATIENCE);
		if (!is_stopping(teller))
			ummu_ranges_purge(teller->ranges);
	}
	return NULL;
}

/*
 * Not as its creator is, who may be a real-time poller that is bound to one CPU:
 * the thread would never run there, or disturb it.
 */
static void set_ordinary(pthread_attr_t *attr)
{
	const struct sched_param lowest = { .sched_priority = 0 };
	cpu_set_t all;

	memset(&all, 0xff, sizeof(all));
	pthread_attr_setinheritsched(attr, PTHREAD_EXPLICIT_SCHED);
	pthread_attr_setschedpolicy(attr, SCHED_OTHER);
	pthread_attr_setschedparam(attr, &lowest);
	pthread_attr_setaffinity_np(attr, sizeof(all), &all);
}

static int create_thread(struct ummu_teller *teller)
{
	pthread_attr_t attr;
	int error = pthread_attr_init(&attr);

	if (error)
		return error;
	set_ordinary(&attr);
	error = pthread_create(&teller->thread, &attr, tell, teller);
	pthread_attr_destroy(&attr);
	/* A sandbox may forbid that; the inherited ones are better than none. */
	if (error)
		error = pthread_create(&teller->thread, NULL, tell, teller);
	return error;
}

/* Its signals are the application's, which does not expect it. */
static int start_thread(struct ummu_teller *teller)
{
	sigset_t all, before;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = create_thread(teller);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
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
	error = open_ends(teller);
	if (error)
		goto free_teller;
	error = ummu_ranges_open(monitor, &opts, &teller->ranges);
	if (error)
		goto close_ends;
	error = start_thread(teller);
	if (error)
		goto close_ranges;
	*teller_p = teller;
	return 0;

close_ranges:
	ummu_ranges_close(teller->ranges);
close_ends:
	close_end(&teller->wake);
	close_end(&teller->waker);
free_teller:
	free(teller);
	return error;
}

void ummu_teller_stop(struct ummu_teller *teller)
{
	int cancel;

	/* Joining and closing are cancellation points, and all must be freed. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	/* The thread is not in a child.  A process id may be there twice. */
	if (!ummu_ranges_in_child(teller->ranges)) {
		/* Relaxed: the kick wakes the thread, and the join orders. */
		__atomic_store_n(&teller->stopping, true, __ATOMIC_RELAXED);
		kick(teller);
		pthread_join(teller->thread, NULL);
	}
	ummu_ranges_close(teller->ranges);
	close_end(&teller->wake);
	close_end(&teller->waker);
	free(teller);
	pthread_setcancelstate(cancel, NULL);
}

struct ummu_ranges *ummu_teller_ranges(const struct ummu_teller *teller)
{
	return teller->ranges;
}
