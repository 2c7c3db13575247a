/* SPDX-License-Identifier: MIT */
/*
 * lock.h - the mutexes of this project, so that a test can tell who holds one.
 *
 * No lock of this project is held while memory is allocated or freed, text is
 * formatted, or a thread-local variable is used for the first time.  Each of
 * these can unmap memory or wait for an allocator's lock, and an unmap can wait
 * for the holder of our lock.  With UMMU_COUNT_LOCKS defined, these functions
 * count the locks that the calling thread holds, and the malloc() of a test
 * refuses to run while there are any (tests/no-allocation-under-lock).
 *
 * The order of locks.  Whoever holds one takes only those that come after it.
 *   1. Those of our callers: of the application, the allocator, the loader, and
 *      what their fork handlers take.  We are called with these held, so while
 *      we hold a lock of ours we neither call any code that takes one of them,
 *      nor wait for a thread that may.
 *   2. A drop-in's (integrations/) and a pinner's (pinners/).  A cache calls
 *      its pinner with no lock held.
 *   3. rcache->lock (rcache/internal.h).  With it held the cache reads events
 *      and the generation, which takes a monitor's lock.  A monitor knows no
 *      cache, so it never takes these two in the other order.
 *   4. A monitor's.  uffd: @members, then @lock of struct uffd_process.  kmod:
 *      @lock of struct kmod_monitor.
 * The locks in rcache/thread.c and pinners/cuda-driver.c are held alone, for a
 * few stores.
 *
 * Context: any thread, never a signal handler.
 */
#ifndef UMMU_LOCK_H
#define UMMU_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <time.h>

#ifdef UMMU_COUNT_LOCKS
/* How many locks the calling thread holds; initial-exec needs no allocation. */
extern __thread unsigned int ummu_locks_held
	__attribute__((tls_model("initial-exec")));
#define UMMU_LOCKS_HELD_ADD(change) ((void)(ummu_locks_held += (change)))

/** ummu_no_lock_held - ends the test if the calling thread holds a lock. */
void ummu_no_lock_held(const char *function);
#else
#define UMMU_LOCKS_HELD_ADD(change) ((void)0)
#define ummu_no_lock_held(function) ((void)0)
#endif

static inline void ummu_mutex_lock(pthread_mutex_t *mutex)
{
	pthread_mutex_lock(mutex);
	UMMU_LOCKS_HELD_ADD(1u);
}

/** ummu_mutex_trylock - true: the caller holds @mutex now. */
static inline bool ummu_mutex_trylock(pthread_mutex_t *mutex)
{
	if (pthread_mutex_trylock(mutex))
		return false;
	UMMU_LOCKS_HELD_ADD(1u);
	return true;
}

static inline void ummu_mutex_unlock(pthread_mutex_t *mutex)
{
	UMMU_LOCKS_HELD_ADD(-1u);
	pthread_mutex_unlock(mutex);
}

/** ummu_cond_wait - the caller holds @mutex, and holds it again afterwards. */
static inline void ummu_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
	UMMU_LOCKS_HELD_ADD(-1u);
	pthread_cond_wait(cond, mutex);
	UMMU_LOCKS_HELD_ADD(1u);
}

/** ummu_cond_wait_until - likewise; ETIMEDOUT at @until (CLOCK_REALTIME). */
static inline int ummu_cond_wait_until(pthread_cond_t *cond,
				       pthread_mutex_t *mutex,
				       const struct timespec *until)
{
	int error;

	UMMU_LOCKS_HELD_ADD(-1u);
	error = pthread_cond_timedwait(cond, mutex, until);
	UMMU_LOCKS_HELD_ADD(1u);
	return error;
}

#endif
