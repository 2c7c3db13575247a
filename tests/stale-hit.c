/* SPDX-License-Identifier: MIT */
/*
 * stale-hit.c - threads win addresses from each other; no hit may be stale.
 *
 * Fewer slots than threads, so that one always waits for a slot to be unmapped
 * and maps it anew before the kernel has told anybody.  Whoever has a slot
 * writes a new number into it and asks the cache, which must answer with that
 * number.  The same is done with a library that leaves out a step of its proof
 * on uffd: if the test does not find those wrong, it would find nothing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/breakable.h"
#include "run.h"
#include "witness.h"

#define SECONDS 3.0
#define MORE_SECONDS 20.0  /* for a broken library that was lucky */
#define MOST_SECONDS 100.0 /* for one that was not found out at all */
#define MAX_THREADS 4
#define SLOT_BYTES ((size_t)64 << 10)
#define SLOT_STRIDE (2 * SLOT_BYTES) /* what adjoins may be one region */
#define ARENA_BYTES ((size_t)1 << 30)
#define GETS 3 /* per mapping */

unsigned int ummu_broken_steps;

/* What happened; one for each thread, and the sum. */
struct tally {
	uint64_t mappings, gets, hits, stale, again;
	uint64_t in_flight, unsettled, uncached;
	bool uffd; /* the backend */
	int error;
};

struct slots {
	struct witness witness;
	char *arena;
	unsigned int count;
	uint64_t last_number;
	bool stop;
};

struct user {
	pthread_t thread;
	struct slots *slots;
	uint64_t random;
	struct tally tally;
};

static const struct variant {
	const char *name;
	unsigned int broken_steps;
	uint64_t least_stale;
} variants[] = {
	{ "correct", 0, 0 },
	{ "no probe", UMMU_BREAK_NO_PROBE, 1000 },
	{ "read outside the lock", UMMU_BREAK_READ_OUTSIDE_LOCK, 1 },
};

/* A slot that nobody has, newly mapped; NULL when the test is over. */
static char *win_slot(struct user *user)
{
	struct slots *slots = user->slots;
	char *slot, *mapped;

	while (!__atomic_load_n(&slots->stop, __ATOMIC_RELAXED)) {
		slot = slots->arena +
		       SLOT_STRIDE * (run_random(&user->random) % slots->count);
		mapped = mmap(slot, SLOT_BYTES, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
			      -1, 0);
		if (mapped == slot)
			return slot;
		if (errno != EEXIST) {
			user->tally.error = -errno;
			return NULL;
		}
		sched_yield();
	}
	return NULL;
}

static int use_slot(struct user *user, char *slot)
{
	struct slots *slots = user->slots;
	struct tally *tally = &user->tally;
	uint64_t number = __atomic_add_fetch(&slots->last_number, 1,
					     __ATOMIC_RELAXED);
	uint64_t found = 0;
	int result;

	*(volatile uint64_t *)slot = number;
	for (int i = 0; i < GETS; i++) {
		result = witness_get(&slots->witness, slot, SLOT_BYTES, &found);
		tally->gets++;
		if (result == -EAGAIN) {
			tally->again++;
			continue;
		}
		if (result < 0)
			return result;
		tally->hits += (uint64_t)result;
		tally->stale += found != number;
	}
	return 0;
}

static void *use_slots(void *argument)
{
	struct user *user = argument;
	char *slot;

	while (!user->tally.error && (slot = win_slot(user))) {
		user->tally.mappings++;
		user->tally.error = use_slot(user, slot);
		munmap(slot, SLOT_BYTES);
	}
	return NULL;
}

static void add(struct tally *sum, const struct tally *one)
{
	sum->mappings += one->mappings;
	sum->gets += one->gets;
	sum->hits += one->hits;
	sum->stale += one->stale;
	sum->again += one->again;
	if (one->error)
		sum->error = one->error;
}

static void run_users(struct slots *slots, unsigned int threads, double seconds,
		      struct tally *sum)
{
	struct user users[MAX_THREADS];

	slots->stop = false;
	for (unsigned int i = 0; i < threads; i++) {
		users[i] = (struct user){ .slots = slots, .random = i + 1 };
		if (pthread_create(&users[i].thread, NULL, use_slots,
				   &users[i])) {
			perror("pthread_create");
			exit(1);
		}
	}
	usleep((useconds_t)(seconds * 1e6));
	__atomic_store_n(&slots->stop, true, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < threads; i++) {
		pthread_join(users[i].thread, NULL);
		add(sum, &users[i].tally);
	}
}

/* An unused part of the address space, far from where mmap() will look. */
static char *unused_arena(void)
{
	char *arena = mmap(NULL, ARENA_BYTES, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (arena == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	munmap(arena, ARENA_BYTES);
	arena += ARENA_BYTES / 2;
	return (char *)((uintptr_t)arena & ~(SLOT_BYTES - 1));
}

static double scaled_seconds(void)
{
	return SECONDS * (getenv("UMMU_LONG") ? 10 : 1);
}

/* On a busy machine it may take long until two threads meet. */
static bool is_lucky(const struct variant *variant, const struct tally *sum,
		     double spent)
{
	if (spent < MORE_SECONDS)
		return sum->stale < variant->least_stale;
	return variant->broken_steps && !sum->stale && spent < MOST_SECONDS;
}

/* In a process of its own: a library is broken before it is first used. */
static void run_variant(const struct variant *variant, unsigned int threads,
			struct tally *sum)
{
	struct ummu_monitor_stats stats = { .size = sizeof(stats) };
	struct slots slots = { .count = threads / 2 };
	double since;

	ummu_broken_steps = variant->broken_steps;
	slots.arena = unused_arena();
	if (witness_open(&slots.witness))
		exit(1);
	run_users(&slots, threads, scaled_seconds(), sum);
	since = run_seconds();
	while (is_lucky(variant, sum, run_seconds() - since))
		run_users(&slots, threads, SECONDS, sum);

	sum->uffd = witness_on(slots.witness.monitor, "uffd");
	ummu_monitor_stats(slots.witness.monitor, &stats);
	sum->in_flight = stats.probes_in_flight;
	sum->unsettled = stats.unsettled;
	sum->uncached = witness_stats(&slots.witness).uncached;
	witness_close(&slots.witness);
	if (slots.witness.registered != slots.witness.deregistered) {
		fprintf(stderr, "registered %u, deregistered %u\n",
			slots.witness.registered, slots.witness.deregistered);
		sum->error = -EPROTO;
	}
}

static void print_row(const struct variant *variant, unsigned int threads,
		      const struct tally *tally)
{
	printf("%-22s %7u %9llu %9llu %9llu %8llu %7llu %9llu %9llu %8llu\n",
	       variant->name, threads, (unsigned long long)tally->mappings,
	       (unsigned long long)tally->gets, (unsigned long long)tally->hits,
	       (unsigned long long)tally->stale,
	       (unsigned long long)tally->again,
	       (unsigned long long)tally->in_flight,
	       (unsigned long long)tally->unsettled,
	       (unsigned long long)tally->uncached);
}

static bool is_right(const struct variant *variant, unsigned int threads,
		     const struct tally *tally)
{
	if (tally->error) {
		fprintf(stderr, "%s, %u threads: error %d\n", variant->name,
			threads, tally->error);
		return false;
	}
	if (!variant->broken_steps && tally->stale) {
		fprintf(stderr, "%u threads: a stale hit\n", threads);
		return false;
	}
	if (!variant->broken_steps && tally->hits < tally->gets / 2) {
		fprintf(stderr, "%u threads: hardly a hit\n", threads);
		return false;
	}
	if (variant->broken_steps && !tally->stale) {
		fprintf(stderr, "%s, %u threads: not found out\n",
			variant->name, threads);
		return false;
	}
	return true;
}

static bool run(const struct variant *variant, unsigned int threads,
		struct tally *tally)
{
	pid_t child;
	int status = -1;

	*tally = (struct tally){ 0 };
	fflush(stdout);
	child = fork();
	if (!child) {
		run_limit(250);
		run_variant(variant, threads, tally);
		exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || status) {
		fprintf(stderr, "%s, %u threads: status %#x\n", variant->name,
			threads, (unsigned int)status);
		return false;
	}
	print_row(variant, threads, tally);
	return is_right(variant, threads, tally);
}

int main(void)
{
	struct tally *tally;
	bool right = true;

	witness_need_monitor();
	tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (tally == MAP_FAILED)
		return 1;
	printf("%-22s %7s %9s %9s %9s %8s %7s %9s %9s %8s\n", "library",
	       "threads", "mappings", "gets", "hits", "stale", "EAGAIN",
	       "in flight", "unsettled", "uncached");
	for (size_t i = 0; i < sizeof(variants) / sizeof(variants[0]); i++) {
		if (variants[i].broken_steps && !tally->uffd)
			continue;
		for (unsigned int threads = 2; threads <= MAX_THREADS;
		     threads *= 2)
			right &= run(&variants[i], threads, tally);
	}
	return right ? 0 : 1;
}
