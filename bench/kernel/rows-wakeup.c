/* SPDX-License-Identifier: MIT */
/*
 * rows-wakeup.c - a hit that wakes a thread that sleeps in poll().
 *
 * The thread is SCHED_IDLE, so that it is woken by the hit but runs later:
 * what is counted is the hit and the wakeup, not the thread.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define REPEATS 32
#define NAP 2000 /* microseconds */

/**
 * struct sleeper - the thread in poll()
 * @wakeups: times that poll() returned
 * @go_on:   that it may sleep again, the events were read
 */
struct sleeper {
	int fd;
	unsigned int wakeups;
	unsigned int go_on;
	bool end;
};

static void *sleep_in_poll(void *argument)
{
	const struct sched_param parameter = { 0 };
	struct sleeper *sleeper = argument;
	struct pollfd pollfd = { .fd = sleeper->fd, .events = POLLIN };
	unsigned int turn = 0;

	sched_setscheduler(0, SCHED_IDLE, &parameter);
	while (!__atomic_load_n(&sleeper->end, __ATOMIC_ACQUIRE)) {
		if (poll(&pollfd, 1, -1) != 1)
			bench_fail("poll");
		__atomic_add_fetch(&sleeper->wakeups, 1, __ATOMIC_ACQ_REL);
		turn++;
		while (__atomic_load_n(&sleeper->go_on, __ATOMIC_ACQUIRE) !=
		       turn)
			usleep(NAP / 4);
	}
	return NULL;
}

static uint64_t wake(struct bench_world *world, struct sleeper *sleeper,
		     unsigned int turn)
{
	void *page = (void *)bench_place(world, turn);
	uint64_t start, spent;

	*(volatile char *)page = 1;
	usleep(NAP); /* it sleeps in poll() by now */
	if (__atomic_load_n(&sleeper->wakeups, __ATOMIC_ACQUIRE) != turn)
		bench_fail("poll() returned with nothing to read");
	start = bench_now();
	if (madvise(page, BENCH_PAGE, MADV_DONTNEED))
		bench_fail("madvise");
	spent = bench_since(start);
	usleep(NAP);
	if (__atomic_load_n(&sleeper->wakeups, __ATOMIC_ACQUIRE) != turn + 1)
		bench_fail("poll() did not return after a hit");
	if (bench_renew(world->device) != 1)
		bench_fail("the hit that woke had no event");
	return spent;
}

void bench_wakeup_row(struct bench_world *world)
{
	struct bench_samples samples = { .ops = 1 };
	struct sleeper sleeper = { .fd = world->device->fd };
	pthread_t thread;
	unsigned int i;

	errno = pthread_create(&thread, NULL, sleep_in_poll, &sleeper);
	if (errno)
		bench_fail("pthread_create");
	for (i = 0; i < REPEATS; i++) {
		bench_add(&samples, wake(world, &sleeper, i));
		__atomic_store_n(&sleeper.end, i == REPEATS - 1,
				 __ATOMIC_RELEASE);
		__atomic_store_n(&sleeper.go_on, i + 1, __ATOMIC_RELEASE);
	}
	pthread_join(thread, NULL);
	bench_row(world, "madvise-wakeup", &samples);
}
