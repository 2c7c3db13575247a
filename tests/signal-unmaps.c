/* SPDX-License-Identifier: MIT */
/*
 * signal-unmaps.c - threads that are interrupted or cancelled anywhere.
 *
 * A handler, of a signal or of fork(), may unmap watched memory, and then waits
 * for whoever reads events: the thread in which it runs must not be the one
 * that all wait for.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "run.h"
#include "witness.h"

#define SECONDS 3.0
#define MORE_SECONDS 150.0 /* where little is taken in that time */
#define LEAST_TAKEN 10
#define PERIOD 97      /* microseconds, of signals */
#define SLOWEST 100000 /* the same */
#define CANCELS 300

static size_t page;

static char *map_page(void)
{
	char *memory = mmap(NULL, page, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		abort();
	*memory = 1;
	return memory;
}

/* Memory on offer to the handler; NULL when it has taken it (atomic). */
static char *offered;
static uint64_t taken;

static void unmap_what_is_offered(int number)
{
	char *memory = __atomic_exchange_n(&offered, NULL, __ATOMIC_ACQ_REL);
	int saved = errno;

	(void)number;
	if (memory) {
		munmap(memory, page);
		__atomic_fetch_add(&taken, 1, __ATOMIC_RELAXED);
	}
	errno = saved;
}

/* Signals at odd moments, to whichever thread; also while in the library. */
static void signal_every(suseconds_t period)
{
	struct sigaction action = { .sa_handler = unmap_what_is_offered,
				    .sa_flags = SA_RESTART };
	struct itimerval often = { .it_interval.tv_usec = period,
				   .it_value.tv_usec = period };

	sigaction(SIGALRM, &action, NULL);
	assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
}

/* Not so often that a slow machine comes to nothing between two of them. */
static void keep_pace(double since, uint64_t turns)
{
	suseconds_t period = PERIOD;

	if (turns % 8)
		return;
	if (turns)
		period = (suseconds_t)((run_seconds() - since) * 1e6 /
				       (double)turns / 4);
	signal_every(period < PERIOD  ? PERIOD :
		     period > SLOWEST ? SLOWEST :
					period);
}

static bool goes_on(double since)
{
	double spent = run_seconds() - since;

	return spent < SECONDS ||
	       (spent < SECONDS + MORE_SECONDS &&
		__atomic_load_n(&taken, __ATOMIC_RELAXED) <= LEAST_TAKEN);
}

/* 1 if the handler has unmapped what is watched, and the watch is valid. */
static unsigned int use_until_taken(struct ummu_monitor *monitor,
				    const struct ummu_watch *handle,
				    uint64_t before)
{
	struct ummu_event event;
	uint64_t now = before;

	for (int i = 0; i < 10 && now == before; i++) {
		ummu_monitor_read(monitor, &event, 1);
		ummu_monitor_generation(monitor);
		now = __atomic_load_n(&taken, __ATOMIC_RELAXED);
	}
	return now != before && ummu_watch_valid(handle);
}

/* The first watch maps memory for itself: not where the handler just unmapped. */
static void watch_once(struct ummu_monitor *monitor)
{
	struct ummu_watch *handle;
	char *memory = map_page();

	assert_int_equal(ummu_monitor_watch(monitor, memory, page, 0, &handle),
			 0);
	ummu_monitor_unwatch(monitor, handle);
	munmap(memory, page);
}

static void handler_unmaps_while_watching(void **state)
{
	double since = run_seconds();
	struct ummu_monitor *monitor;
	struct ummu_watch *handle;
	uint64_t turns = 0, refused = 0, wrong = 0;
	bool uffd;

	(void)state;
	assert_int_equal(ummu_monitor_open(NULL, &monitor), 0);
	uffd = witness_on(monitor, "uffd");
	watch_once(monitor);
	for (; goes_on(since); turns++) {
		char *memory = map_page();
		uint64_t before, after;
		int error;

		keep_pace(since, turns);
		before = __atomic_load_n(&taken, __ATOMIC_RELAXED);
		__atomic_store_n(&offered, memory, __ATOMIC_RELEASE);
		/* EFAULT when the handler was quick, but on uffd only. */
		error = ummu_monitor_watch(monitor, memory, page, turns,
					   &handle);
		after = __atomic_load_n(&taken, __ATOMIC_RELAXED);
		if (!error) {
			if (uffd && ummu_watch_valid(handle) && after != before)
				wrong++;
			/* Or is the handler yet to come? */
			wrong += use_until_taken(monitor, handle, after);
			ummu_monitor_unwatch(monitor, handle);
		}
		refused += error != 0;
		memory = __atomic_exchange_n(&offered, NULL, __ATOMIC_ACQ_REL);
		if (memory)
			munmap(memory, page);
	}
	signal_every(0);
	print_message("%llu turns, %llu unmapped by the handler, %llu watches refused\n",
		      (unsigned long long)turns, (unsigned long long)taken,
		      (unsigned long long)refused);
	assert_int_equal(wrong, 0);
	assert_true(taken > LEAST_TAKEN);
	ummu_monitor_close(monitor);
}

static void handler_unmaps_under_a_cache(void **state)
{
	double since = run_seconds();
	uint64_t turns = 0, hits = 0, number;
	struct witness witness;
	char *used = map_page();

	(void)state;
	__atomic_store_n(&taken, 0, __ATOMIC_RELAXED);
	assert_int_equal(witness_open(&witness), 0);
	for (; goes_on(since); turns++) {
		char *memory = map_page();

		keep_pace(since, turns);
		/* Registered and idle: the handler's. */
		assert_int_equal(witness_get(&witness, memory, page, &number),
				 0);
		__atomic_store_n(&offered, memory, __ATOMIC_RELEASE);
		/* Long enough for a signal to come in between. */
		for (int i = 0; i < 64; i++) {
			int result = witness_get(&witness, used, page, &number);

			assert_true(result >= 0);
			hits += (uint64_t)result;
		}
		memory = __atomic_exchange_n(&offered, NULL, __ATOMIC_ACQ_REL);
		if (memory)
			munmap(memory, page);
	}
	signal_every(0);
	print_message("%llu turns, %llu hits, %llu unmapped by the handler\n",
		      (unsigned long long)turns, (unsigned long long)hits,
		      (unsigned long long)taken);
	assert_true(taken > LEAST_TAKEN);
	assert_true(hits > turns);
	witness_close(&witness);
	assert_int_equal(witness.registered, witness.deregistered);
	munmap(used, page);
}

/* Registered before the library's, so that it runs when that has run. */
static void before_fork(void)
{
	unmap_what_is_offered(0);
}

static void fork_handler_unmaps(void **state)
{
	struct ummu_monitor *monitor;
	struct ummu_watch *handle;
	char *memory = map_page();
	pid_t child;
	int status;

	(void)state;
	assert_int_equal(ummu_monitor_open(NULL, &monitor), 0);
	assert_int_equal(ummu_monitor_watch(monitor, memory, page, 0, &handle),
			 0);
	__atomic_store_n(&offered, memory, __ATOMIC_RELEASE);
	child = fork();
	if (!child)
		_exit(ummu_watch_valid(handle) ||
		      ummu_monitor_status(monitor) != -ECHILD);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_null(__atomic_load_n(&offered, __ATOMIC_ACQUIRE));
	assert_false(ummu_watch_valid(handle));
	ummu_monitor_unwatch(monitor, handle);
	ummu_monitor_close(monitor);
}

/* What a cancelled thread leaves is its current mapping. */
struct victim {
	struct witness *witness;
	char *memory;
	uint64_t turns;
};

static void *use_until_cancelled(void *argument)
{
	struct victim *victim = argument;
	uint64_t number;

	for (;;) {
		victim->memory = map_page();
		witness_get(victim->witness, victim->memory, page, &number);
		witness_get(victim->witness, victim->memory, page, &number);
		munmap(victim->memory, page);
		victim->turns++;
		pthread_testcancel();
	}
	return NULL;
}

static void sleep_some(uint64_t *random)
{
	struct timespec time = { .tv_nsec = (long)(run_random(random) %
						   500000) };

	nanosleep(&time, NULL);
}

static void cancelled_anywhere(void **state)
{
	unsigned int cancels = run_scaled(CANCELS);
	uint64_t random = run_seed(), turns = 0, number;
	struct ummu_monitor_stats stats = { .size = sizeof(stats) };
	struct witness witness;
	char *memory;

	(void)state;
	assert_int_equal(witness_open(&witness), 0);
	for (unsigned int i = 0; i < cancels; i++) {
		struct victim victim = { .witness = &witness };
		pthread_t thread;
		void *result;

		assert_int_equal(pthread_create(&thread, NULL,
						use_until_cancelled, &victim),
				 0);
		sleep_some(&random);
		assert_int_equal(pthread_cancel(thread), 0);
		assert_int_equal(pthread_join(thread, &result), 0);
		assert_ptr_equal(result, PTHREAD_CANCELED);
		turns += victim.turns;
	}
	/* No lock was left taken and no reference held. */
	memory = map_page();
	assert_int_equal(witness_get(&witness, memory, page, &number), 0);
	assert_int_equal(witness_get(&witness, memory, page, &number), 1);
	munmap(memory, page);
	ummu_rcache_flush(witness.rcache, true);
	assert_int_equal(witness.registered, witness.deregistered);
	assert_int_equal(ummu_monitor_stats(witness.monitor, &stats), 0);
	assert_int_equal(stats.watches, 0);
	witness_close(&witness);
	print_message("%u threads cancelled in %llu turns\n", cancels,
		      (unsigned long long)turns);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(handler_unmaps_while_watching),
		cmocka_unit_test(handler_unmaps_under_a_cache),
		cmocka_unit_test(fork_handler_unmaps),
		cmocka_unit_test(cancelled_anywhere),
	};

	run_limit(500);
	witness_need_monitor();
	page = (size_t)sysconf(_SC_PAGESIZE);
	assert_int_equal(pthread_atfork(before_fork, NULL, NULL), 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
