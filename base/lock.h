/* SPDX-License-Identifier: MIT */
/*
 * lock.h - the mutexes of this project, so that a test can tell who holds one.
 *
 * No lock of this project is held while memory is allocated or freed, text is
 * formatted, or a thread-local variable is used for the first time: each can
 * unmap memory, or wait for an allocator's lock, and an unmap can wait for the
 * holder of ours.  Built with UMMU_COUNT_LOCKS these functions count what the
 * calling thread holds, and a test's malloc() refuses to run while it holds any
 * (tests/no-allocation-under-lock).
 *
 * Context: as pthread_mutex_lock() and its kin; never a signal handler.
 */
#ifndef UMMU_LOCK_H
#define UMMU_LOCK_H

#include <pthread.h>
#include <time.h>

#ifdef UMMU_COUNT_LOCKS
/* Locks that the calling thread holds; initial-exec, so never allocated. */
extern __thread unsigned int ummu_locks_held
	__attribute__((tls_model("initial-exec")));
#define UMMU_LOCKS_HELD_ADD(change) ((void)(ummu_locks_held += (change)))
#else
#define UMMU_LOCKS_HELD_ADD(change) ((void)0)
#endif

static inline void ummu_mutex_lock(pthread_mutex_t *mutex)
{
	pthread_mutex_lock(mutex);
	UMMU_LOCKS_HELD_ADD(1u);
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

/** ummu_cond_wait_until - the same until CLOCK_MONOTONIC says @until: ETIMEDOUT. */
static inline int ummu_cond_wait_until(pthread_cond_t *cond,
				       pthread_mutex_t *mutex,
				       const struct timespec *until)
{
	int error;

	UMMU_LOCKS_HELD_ADD(-1u);
	error = pthread_cond_clockwait(cond, mutex, CLOCK_MONOTONIC, until);
	UMMU_LOCKS_HELD_ADD(1u);
	return error;
}

#endif
