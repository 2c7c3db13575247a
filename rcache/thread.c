/* SPDX-License-Identifier: MIT */
/* thread.c - number the threads that use caches. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../base/call.h"
#include "../base/lock.h"
#include "../base/stay.h"
#include "../base/wipe.h"
#include "lane.h"

#define WORD_BITS 64

/** Words of a thread's cache line: where its number may be. */
#define PROBES 8

/**
 * struct pool - the numbers of this process's threads
 * @word:   a thread and its number each, or 0; atomic, written under @lock
 * @lock:   protects all below
 * @begun:  the rest is filled in
 * @works:  membarrier() can be had
 * @taken:  numbers in use, a bit each; 0 is never given out
 *
 * In memory that a child finds zeroed, however it was made: a free lock (zeros
 * are PTHREAD_MUTEX_INITIALIZER) and no number in use.
 */
struct pool {
	uint64_t word[THREAD_WORDS];
	pthread_mutex_t lock;
	bool begun;
	bool works;
	uint64_t taken[LANE_COUNT / WORD_BITS];
};

static struct pool *pool;
static int pool_error;
static pthread_key_t key;

static uint64_t *word_of(uintptr_t thread, unsigned int probe)
{
	return &pool->word[ummu_thread_index(thread) ^ probe];
}

/* A thread ends.  Another one that gets its number gets its lanes as well. */
static void give_back(void *unused)
{
	uintptr_t thread = ummu_thread();
	unsigned int number;

	(void)unused;
	ummu_mutex_lock(&pool->lock);
	for (unsigned int i = 0; i < PROBES; i++) {
		uint64_t *word = word_of(thread, i);

		number = ummu_thread_match(*word, thread);
		if (!number)
			continue;
		/* Relaxed: no other thread looks for this one. */
		__atomic_store_n(word, 0, __ATOMIC_RELAXED);
		pool->taken[number / WORD_BITS] &= ~(1ULL << number % WORD_BITS);
	}
	ummu_mutex_unlock(&pool->lock);
}

static void make_pool(void)
{
	pool = ummu_wipe_alloc(sizeof(*pool));
	if (!pool) {
		pool_error = -errno;
		return;
	}
	pool_error = -pthread_key_create(&key, give_back);
	if (pool_error)
		ummu_wipe_free(pool, sizeof(*pool));
}

int ummu_threads_prepare(const uint64_t **words_p)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	/* Threads that end run give_back(), also after a dlclose(). */
	ummu_stay_loaded();
	pthread_once(&once, make_pool);
	if (pool_error)
		return pool_error;
	*words_p = pool->word;
	return 0;
}

unsigned int ummu_number_further(const uint64_t *words)
{
	uintptr_t thread = ummu_thread();

	for (unsigned int i = 1; i < PROBES; i++) {
		unsigned int number = ummu_thread_match(
			__atomic_load_n(&words[ummu_thread_index(thread) ^ i],
					__ATOMIC_RELAXED),
			thread);

		if (number)
			return number;
	}
	return 0;
}

static long membarrier(int command)
{
	return syscall(SYS_membarrier, command, 0, 0);
}

bool ummu_barrier_everywhere(void)
{
	const int error = errno; /* no cancellation point, see call.h */
	const bool done = !membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);

	errno = error;
	return done;
}

/* In a new process.  Under the pool's lock. */
static void begin(void)
{
	pool->begun = true;
	pool->works = !membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) &&
		      ummu_barrier_everywhere();
	pool->taken[0] = 1;
}

/* A number that nobody has; 0: none is left. */
static unsigned int unused_number(void)
{
	for (unsigned int i = 0; i < LANE_COUNT / WORD_BITS; i++)
		if (~pool->taken[i])
			return i * WORD_BITS +
			       (unsigned int)__builtin_ctzll(~pool->taken[i]);
	return 0;
}

/* The thread's number, or a new one.  Under the pool's lock. */
static unsigned int find_or_take(uintptr_t thread)
{
	uint64_t *free_word = NULL;
	unsigned int number;

	for (unsigned int i = 0; i < PROBES; i++) {
		uint64_t *word = word_of(thread, i);

		number = ummu_thread_match(*word, thread);
		if (number)
			return number;
		if (!*word && !free_word)
			free_word = word;
	}
	number = unused_number();
	if (!free_word || !number || thread >> (64 - THREAD_SHIFT))
		return 0;
	pool->taken[number / WORD_BITS] |= 1ULL << number % WORD_BITS;
	__atomic_store_n(free_word, (uint64_t)thread << THREAD_SHIFT | number,
			 __ATOMIC_RELAXED);
	return number;
}

unsigned int ummu_thread_number(void)
{
	const struct ummu_call call = ummu_call_begin();
	uintptr_t thread = ummu_thread();
	unsigned int number = 0;

	ummu_mutex_lock(&pool->lock);
	if (!pool->begun)
		begin();
	if (pool->works)
		number = find_or_take(thread);
	ummu_mutex_unlock(&pool->lock);
	/* Again and again, as it may run out of a thread's last destructor. */
	if (number && pthread_setspecific(key, pool)) {
		give_back(NULL);
		number = 0;
	}
	ummu_call_end(&call);
	return number;
}
