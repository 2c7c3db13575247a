/* SPDX-License-Identifier: MIT */
/*
 * longest-stretch.c - how long the kernel lets nobody else run while it works
 * on the largest pile of watches that a process may have, all on one page.
 *
 * A thread of a real-time class wakes up again and again on the one CPU that
 * the work is done on; how late it is at most is the stretch.  Time that the
 * machine is busy with other things counts as well: so the least of some
 * rounds, or instructions (UMMU_ICOUNT=1).
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "expect-2010.h"
#include "expect-today.h"
#include "tests/run.h"

/* Nanoseconds: of instructions, and of a guest that is slow and disturbed. */
#define CAP_ICOUNT 200000
#define CAP 20000000
#define PERIOD 50000
#define BATCH 1024

static long per_file, per_process;
static int rounds;
static long cap;

/* All atomic. */
static struct {
	bool stop, ready;
	long longest;
} late;

static long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000 + time.tv_nsec;
}

static void *be_late(void *unused)
{
	const struct sched_param parameters = { .sched_priority = 50 };

	(void)unused;
	if (pthread_setschedparam(pthread_self(), SCHED_FIFO, &parameters)) {
		perror("SCHED_FIFO");
		exit(1);
	}
	__atomic_store_n(&late.ready, true, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&late.stop, __ATOMIC_RELAXED)) {
		long due = now() + PERIOD, behind;
		struct timespec time = {
			.tv_sec = due / 1000000000,
			.tv_nsec = due % 1000000000,
		};

		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
		behind = now() - due;
		if (behind > __atomic_load_n(&late.longest, __ATOMIC_RELAXED))
			__atomic_store_n(&late.longest, behind,
					 __ATOMIC_RELAXED);
	}
	return NULL;
}

/**
 * struct work - what is measured
 * @prepare: before it, each time
 * @run:     it
 * @clean:   after it
 */
struct work {
	const char *name;
	void (*prepare)(void);
	void (*run)(void);
	void (*clean)(void);
};

static void measure(const struct work *work)
{
	long shortest = 0, taken = 0;

	for (int i = 0; i < rounds; i++) {
		long start, longest;

		work->prepare();
		__atomic_store_n(&late.longest, 0, __ATOMIC_RELAXED);
		start = now();
		work->run();
		taken = now() - start;
		usleep(1000);
		longest = __atomic_load_n(&late.longest, __ATOMIC_RELAXED);
		if (!i || longest < shortest)
			shortest = longest;
		work->clean();
	}
	print_message("%-24s %8.3f ms; nobody else for %6.3f ms\n", work->name,
		      (double)taken / 1e6, (double)shortest / 1e6);
	assert_true(shortest < cap);
}

static char *memory;
static struct today todays[8];
static int fds[8], piles;
static struct ummunotify_watch watches[BATCH];
static struct ummunotify_event events[BATCH];

static void nothing(void)
{
}

static void give_up_page(void)
{
	madvise(memory, page, MADV_DONTNEED);
}

/* As many descriptors as a process needs for its limit. */
static void watch_all(void)
{
	*memory = 1;
	for (int i = 0; i < piles; i++) {
		assert_int_equal(today_open(&todays[i], 0, 0), 0);
		for (long left = per_file; left > 0; left -= BATCH) {
			uint32_t count = left < BATCH ? (uint32_t)left : BATCH;

			for (uint32_t j = 0; j < count; j++)
				watches[j] = (struct ummunotify_watch){
					.start = (uintptr_t)memory,
					.end = (uintptr_t)memory + page,
				};
			assert_int_equal(today_watches(&todays[i], watches,
						       count),
					 count);
		}
	}
}

static void close_all(void)
{
	for (int i = 0; i < piles; i++)
		today_close(&todays[i]);
}

static void hit_all(void)
{
	give_up_page();
	for (int i = 0; i < piles; i++)
		assert_int_equal(today_logged(&todays[i]), per_file);
}

static void watch_and_hit_all(void)
{
	watch_all();
	hit_all();
}

static void register_all(void)
{
	*memory = 1;
	for (int i = 0; i < piles; i++) {
		fds[i] = device_open(O_NONBLOCK);
		for (long j = 0; j < per_file; j++)
			expect_registered(fds[i], memory, page, (uint64_t)j);
	}
}

static void close_all_2010(void)
{
	for (int i = 0; i < piles; i++)
		close(fds[i]);
}

static void hit_all_2010(void)
{
	give_up_page();
	for (int i = 0; i < piles; i++)
		assert_true(device_readable(fds[i]));
}

static void register_and_hit_all(void)
{
	register_all();
	hit_all_2010();
}

static void read_all_2010(void)
{
	for (int i = 0; i < piles; i++)
		while (device_read(fds[i], events, BATCH) > 0)
			continue;
}

static void longest_stretch(void **state)
{
	static const struct work works[] = {
		{ "no watch", nothing, give_up_page, nothing },
		{ "hit all watches", watch_all, hit_all, close_all },
		{ "close, all hit", watch_and_hit_all, close_all, nothing },
		{ "close, all armed", watch_all, close_all, nothing },
		{ "hit all regions of 2010", register_all, hit_all_2010,
		  close_all_2010 },
		{ "read their events", register_and_hit_all, read_all_2010,
		  close_all_2010 },
		{ "close, all armed", register_all, close_all_2010, nothing },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(works) / sizeof(works[0]); i++)
		measure(&works[i]);
}

static long limit(const char *name)
{
	long value = device_parameter(name, 1);

	device_parameter(name, value);
	return value;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(longest_stretch),
	};
	bool icount = getenv("UMMU_ICOUNT");
	pthread_t thread;
	cpu_set_t cpu;
	int failed;

	run_limit(2000);
	device_need();
	cap = icount ? CAP_ICOUNT : CAP;
	rounds = icount ? 1 : 2;
	per_file = limit("watches_per_file");
	per_process = limit("watches_per_process");
	piles = (int)(per_process / per_file);
	memory = device_pages(1);
	printf("%ld watches of a page, on %d descriptors; at most %ld %s\n",
	       per_file * piles, piles, cap / 1000,
	       icount ? "thousand instructions" : "us");

	CPU_ZERO(&cpu);
	CPU_SET(0, &cpu);
	sched_setaffinity(0, sizeof(cpu), &cpu);
	pthread_create(&thread, NULL, be_late, NULL);
	while (!__atomic_load_n(&late.ready, __ATOMIC_ACQUIRE))
		usleep(1000);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	__atomic_store_n(&late.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	return failed;
}
