/* SPDX-License-Identifier: MIT */
/* uffd-process.c - the process's userfaultfd: open it, lock it, read it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../base/wipe.h"
#include "descriptor.h"
#include "explain.h"
#include "uffd-abi.h"
#include "uffd.h"

#define EVENTS_NEEDED                                           \
	(UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMOVE | \
	 UFFD_FEATURE_EVENT_REMAP)
#define WATCHING_NEEDED UFFD_FEATURE_PAGEFAULT_FLAG_WP
#define WATCHING_MORE                                                    \
	(UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_WP_UNPOPULATED | \
	 UFFD_FEATURE_WP_ASYNC)

/*
 * How often the reader looks whether somebody has closed its descriptor, for
 * programs that only poll and check nothing.  Every check looks at once.
 */
#define RECHECK_MS 5000

/* Set once, never freed; what it points to is zeros in a forked child. */
static struct uffd_process *the_process;

/* In ordinary memory, so that a child's first incarnation is a new number. */
static uint64_t last_incarnation;

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
	pthread_mutex_lock(lock);
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
	pthread_mutex_unlock(&process->lock);
	restore(guard);
}

void ummu_uffd_lock_members(struct uffd_process *process,
			    struct uffd_guard *guard)
{
	guarded_lock(&process->members, guard);
}

void ummu_uffd_unlock_members(struct uffd_process *process,
			      const struct uffd_guard *guard)
{
	pthread_mutex_unlock(&process->members);
	restore(guard);
}

/*
 * fork() waits until no thread is half way through a change of the lists that
 * a child frees.  The child's lock is wiped, and so free.
 */
static __thread struct uffd_guard fork_guard;
static __thread bool fork_locked;

static void before_fork(void)
{
	struct uffd_process *process = __atomic_load_n(&the_process,
						       __ATOMIC_ACQUIRE);

	fork_locked = process && __atomic_load_n(&process->incarnation,
						 __ATOMIC_ACQUIRE) != 0;
	if (fork_locked)
		ummu_uffd_lock_members(process, &fork_guard);
}

static void after_fork_in_parent(void)
{
	if (fork_locked)
		ummu_uffd_unlock_members(the_process, &fork_guard);
}

static void after_fork_in_child(void)
{
	if (fork_locked)
		restore(&fork_guard);
}

/*
 * The reader makes sure that an unmapping thread never waits for long, also
 * when nobody looks anything up.  It neither allocates nor frees nor calls
 * out: it may be the one whom an unmap waits for.
 *
 * It waits with epoll, which knows the file and not its number.  poll() would
 * keep the file open after somebody closed it, and look another one up by its
 * number at the next wake-up: the event would stay unread for ever.
 */
static void *reader(void *argument)
{
	struct uffd_process *process = argument;
	struct epoll_event event;
	struct uffd_guard guard;
	bool lost;

	do {
		lost = epoll_wait(process->epoll_fd, &event, 1, RECHECK_MS) <
			       0 &&
		       errno != EINTR;
		ummu_uffd_lock(process, &guard);
		if (lost)
			ummu_uffd_give_up(process);
		else
			ummu_uffd_drain(process);
		ummu_uffd_unlock(process, &guard);
	} while (!__atomic_load_n(&process->failed, __ATOMIC_RELAXED));
	return NULL;
}

static int start_reader(struct uffd_process *process)
{
	pthread_attr_t attributes;
	sigset_t all, old;
	pthread_t thread;
	int error;

	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old); /* the thread inherits this */
	error = pthread_create(&thread, &attributes, reader, process);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attributes);
	if (error)
		return ummu_explain(
			-error,
			"could not start the reader thread (%s): raise the limit on processes (ulimit -u, pids cgroup)",
			strerror(error));
	pthread_setname_np(thread, "ummunotify");
	return 0;
}

/* Is a seccomp filter on?  It is the usual reason in a container. */
static bool seccomp_filtered(void)
{
	FILE *status = fopen("/proc/self/status", "re");
	char line[128];
	int mode = 0;

	if (!status)
		return false;
	while (fgets(line, sizeof(line), status))
		if (sscanf(line, "Seccomp: %d", &mode) == 1)
			break;
	fclose(status);
	return mode == 2;
}

static int explain_refusal(int error)
{
	const char *filter =
		seccomp_filtered() ?
			"; a seccomp filter is on: allow userfaultfd in the container's profile" :
			"";

	switch (error) {
	case ENOSYS:
		return ummu_explain(
			-ENOSYS,
			"this kernel has no userfaultfd (CONFIG_USERFAULTFD)%s",
			filter);
	case EPERM:
		return ummu_explain(
			-EPERM, "userfaultfd is forbidden here%s",
			*filter ?
				filter :
				" by a security module, or by vm.unprivileged_userfaultfd=0 on a kernel before 5.11");
	case EMFILE:
		return ummu_explain(
			-EMFILE,
			"no descriptor left for userfaultfd: raise ulimit -n");
	default:
		return ummu_explain(-error, "userfaultfd: %s%s",
				    strerror(error), filter);
	}
}

/*
 * User mode only: no privilege needed whatever vm.unprivileged_userfaultfd
 * says, and nothing lost, as no fault is ever ours to resolve.
 */
static int new_uffd(void)
{
	int fd = (int)syscall(SYS_userfaultfd,
			      O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	if (fd < 0 && errno == EINVAL) /* before 5.11 */
		fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	return fd < 0 ? explain_refusal(errno) : fd;
}

/* What this kernel offers; asking for anything at all uses a descriptor up. */
static int offered_features(uint64_t *features)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd = new_uffd();
	int error = 0;

	if (fd < 0)
		return fd;
	if (ioctl(fd, UFFDIO_API, &api))
		error = ummu_explain(-errno, "UFFDIO_API: %m");
	close(fd);
	*features = api.features;
	return error;
}

static int open_uffd(bool *any_file)
{
	struct uffdio_api api = { .api = UFFD_API };
	uint64_t offered;
	int error = offered_features(&offered);
	int fd;

	if (error)
		return error;
	if ((offered & EVENTS_NEEDED) != EVENTS_NEEDED ||
	    !(offered & WATCHING_NEEDED))
		return ummu_explain(
			-EOPNOTSUPP,
			"this kernel's userfaultfd has no write-protect mode or no unmap events (needs 5.7, on x86-64 or arm64)");
	fd = new_uffd();
	if (fd < 0)
		return fd;
	api.features = EVENTS_NEEDED | WATCHING_NEEDED |
		       (offered & WATCHING_MORE);
	if (ioctl(fd, UFFDIO_API, &api)) {
		error = ummu_explain(-errno, "UFFDIO_API: %m");
		close(fd);
		return error;
	}
	*any_file = offered & UFFD_FEATURE_WP_ASYNC;
	return fd;
}

static int open_epoll(int fd)
{
	struct epoll_event event = { .events = EPOLLIN };
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	int error;

	if (epoll_fd < 0)
		return ummu_explain(-errno, "epoll_create1: %m");
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event)) {
		error = ummu_explain(-errno, "epoll_ctl: %m");
		close(epoll_fd);
		return error;
	}
	return ummu_descriptor_move_high(epoll_fd);
}

static int open_identity(int fd, uint64_t *inode)
{
	struct stat identity;

	if (fstat(fd, &identity))
		return ummu_explain(-errno, "fstat of the userfaultfd: %m");
	*inode = identity.st_ino;
	return 0;
}

static int open_pagemap(void)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -1 : ummu_descriptor_move_high(fd);
}

static int open_process(struct uffd_process *process)
{
	int error;

	process->fd = open_uffd(&process->any_file);
	if (process->fd < 0)
		return process->fd;
	process->fd = ummu_descriptor_move_high(process->fd);
	error = open_identity(process->fd, &process->inode);
	if (!error)
		error = ummu_uffd_selftest(process->fd);
	if (error)
		goto close_uffd;
	process->epoll_fd = error = open_epoll(process->fd);
	if (error < 0)
		goto close_uffd;
	process->pagemap_fd = open_pagemap();
	error = start_reader(process);
	if (error)
		goto close_all;
	/* Release: who sees the number sees all that was set up before. */
	__atomic_store_n(&process->incarnation,
			 __atomic_add_fetch(&last_incarnation, 1,
					    __ATOMIC_RELAXED),
			 __ATOMIC_RELEASE);
	return 0;

close_all:
	if (process->pagemap_fd >= 0)
		close(process->pagemap_fd);
	close(process->epoll_fd);
close_uffd:
	close(process->fd);
	return error;
}

static int atfork_error;

static void register_fork_handlers(void)
{
	atfork_error = pthread_atfork(before_fork, after_fork_in_parent,
				      after_fork_in_child);
}

/* Zeroed memory is an unlocked mutex in glibc and musl; a unit test agrees. */
static int process_memory(struct uffd_process **process_p)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct uffd_process *process, *mine;

	pthread_once(&once, register_fork_handlers);
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

int ummu_uffd_process_get(struct uffd_process **process_p)
{
	struct uffd_process *process = NULL;
	int error = process_memory(&process);

	if (error)
		return error;
	pthread_mutex_lock(&process->opening);
	if (!process->incarnation)
		error = open_process(process);
	else if (__atomic_load_n(&process->failed, __ATOMIC_ACQUIRE))
		error = ummu_explain(
			-EBADF,
			"this process's userfaultfd was closed by somebody (a closefrom() call?); it cannot be had again before a restart");
	pthread_mutex_unlock(&process->opening);
	if (!error)
		*process_p = process;
	return error;
}
