/* SPDX-License-Identifier: MIT */
/* uffd-process.c - the state that all uffd monitors share. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../base/lock.h"
#include "../base/wipe.h"
#include "explain.h"
#include "uffd.h"

/* Set once and never freed.  A forked child finds zeros there. */
static struct uffd_process *the_process;

static size_t process_bytes(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (sizeof(struct uffd_process) + page - 1) & ~(page - 1);
}

/* No signal handler runs while a lock is held, and no thread is cancelled. */
static void guarded_lock(pthread_mutex_t *lock, struct uffd_guard *guard)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &guard->signals);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &guard->cancel_state);
	ummu_mutex_lock(lock);
}

static void restore(const struct uffd_guard *guard)
{
	pthread_setcancelstate(guard->cancel_state, NULL);
	pthread_sigmask(SIG_SETMASK, &guard->signals, NULL);
}

void ummu_uffd_lock(struct uffd_process *process, struct uffd_guard *guard)
{
	guarded_lock(&process->lock, guard);
}

void ummu_uffd_unlock(struct uffd_process *process,
		      const struct uffd_guard *guard)
{
	ummu_mutex_unlock(&process->lock);
	restore(guard);
}

void ummu_uffd_wait(struct uffd_process *process)
{
	ummu_cond_wait(&process->changed, &process->lock);
}

int ummu_uffd_wait_until(struct uffd_process *process,
			 const struct timespec *until)
{
	return ummu_cond_wait_until(&process->changed, &process->lock, until);
}

void ummu_uffd_lock_members(struct uffd_process *process,
			    struct uffd_guard *guard)
{
	guarded_lock(&process->members, guard);
}

void ummu_uffd_unlock_members(struct uffd_process *process,
			      const struct uffd_guard *guard)
{
	ummu_mutex_unlock(&process->members);
	restore(guard);
}

uint64_t ummu_uffd_now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000ULL + (uint64_t)time.tv_nsec;
}

/*
 * A fork takes ->members, so that no thread is half way through a change of the
 * lists that a child frees.  In the child the lock is wiped, and so unlocked.
 *
 * @fork_guard is what the thread that forks restores after the fork.  It is not
 * thread-local: the first use of a thread-local variable may allocate, and an
 * allocator's own fork handler may have taken the allocator's locks before ours
 * runs.  It is written with ->members held.
 *
 * @forking is the thread that holds ->members for its fork, or 0.  Relaxed
 * loads suffice, as a thread only asks whether it is that thread itself.
 */
static struct uffd_guard fork_guard;
static pthread_t forking;

static bool is_forking(void)
{
	return __atomic_load_n(&forking, __ATOMIC_RELAXED) == pthread_self();
}

static void set_forking(pthread_t thread)
{
	__atomic_store_n(&forking, thread, __ATOMIC_RELAXED);
}

static void before_fork(void)
{
	/* Acquire: pairs with the exchange in ummu_uffd_process(). */
	struct uffd_process *process = __atomic_load_n(&the_process,
						       __ATOMIC_ACQUIRE);
	struct uffd_guard guard;

	if (!process)
		return;
	ummu_uffd_lock_members(process, &guard);
	fork_guard = guard;
	set_forking(pthread_self());
}

static void after_fork_in_parent(void)
{
	struct uffd_guard guard;

	if (!is_forking())
		return;
	guard = fork_guard;
	set_forking(0);
	ummu_uffd_unlock_members(the_process, &guard);
}

static void after_fork_in_child(void)
{
	if (!is_forking())
		return;
	set_forking(0);
	UMMU_LOCKS_HELD_ADD(-1u); /* the lock itself was wiped */
	restore(&fork_guard);
}

static int atfork_error;

/*
 * As early as possible: a library that calls this one with locks of its own
 * held must register its fork handlers later than this.  See "Locks" in uffd.h.
 */
__attribute__((constructor(101))) static void register_fork_handlers(void)
{
	atfork_error = pthread_atfork(before_fork, after_fork_in_parent,
				      after_fork_in_child);
}

/* A mutex of zeros is unlocked in glibc and in musl; a unit test checks it. */
int ummu_uffd_process(struct uffd_process **process_p)
{
	struct uffd_process *process, *mine;

	if (atfork_error)
		return ummu_explain(-atfork_error, "pthread_atfork: %s",
				    strerror(atfork_error));
	process = __atomic_load_n(&the_process, __ATOMIC_ACQUIRE);
	if (!process) {
		mine = ummu_wipe_alloc(process_bytes());
		if (!mine)
			return ummu_explain(
				-errno,
				"no page that a fork wipes (MADV_WIPEONFORK, Linux 4.14): %m");
		/* One of several first callers wins; pairs with the loads. */
		if (__atomic_compare_exchange_n(&the_process, &process, mine,
						false, __ATOMIC_ACQ_REL,
						__ATOMIC_ACQUIRE))
			process = mine;
		else
			ummu_wipe_free(mine, process_bytes());
	}
	*process_p = process;
	return 0;
}
