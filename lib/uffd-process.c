/* SPDX-License-Identifier: MIT */
/* uffd-process.c - the memory that all uffd monitors share, and its locks. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../base/lock.h"
#include "../base/wipe.h"
#include "explain.h"
#include "uffd.h"

/* Set once, never freed; what it points to is zeros in a forked child. */
static struct uffd_process *the_process;

static size_t process_bytes(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (sizeof(struct uffd_process) + page - 1) & ~(page - 1);
}

/* No signal handler and no cancellation while a lock is held: see uffd.h. */
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
 * fork() waits until no thread is half way through a change of the lists that
 * a child frees.  The child's lock is wiped, and so free.
 *
 * Between the handlers, what the thread that forks has to put back is here and
 * not in thread-local storage: its first use may allocate, and an allocator's
 * own handler, run before ours, holds the allocator's locks by then.
 * @fork_guard is written under ->members.  @forking is the thread that holds
 * it by its fork: only that thread ever finds its own name there, so relaxed
 * loads do.
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
	/* Acquire: its memory was set up before its address was stored. */
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
 * As early as can be: handlers of libraries that use this one, and may hold
 * locks of their own while they call it, have to be registered later.
 */
__attribute__((constructor(101))) static void register_fork_handlers(void)
{
	atfork_error = pthread_atfork(before_fork, after_fork_in_parent,
				      after_fork_in_child);
}

/* Zeroed memory is an unlocked mutex in glibc and musl; a unit test agrees. */
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
