/* SPDX-License-Identifier: MIT */
/* uffd-open.c - open the descriptors that all uffd monitors share. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "explain.h"
#include "mappings.h"
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
 * How long to wait, after the descriptor was lost, until the reader has
 * unregistered everything.  The reader looks once a second.
 */
#define PATIENCE_S 5

/* In memory that a fork copies, so that a child's first number is a new one. */
static uint64_t last_incarnation;

/* Is a seccomp filter on?  In a container that is the usual reason. */
static bool seccomp_filtered(void)
{
	FILE *status = fopen("/proc/thread-self/status", "re");
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
 * UFFD_USER_MODE_ONLY needs no privilege, whatever vm.unprivileged_userfaultfd
 * says.  It only leaves out faults in the kernel, and this library resolves
 * none.
 */
static int new_uffd(void)
{
	int fd = (int)syscall(SYS_userfaultfd,
			      O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	if (fd < 0 && errno == EINVAL) /* before 5.11 */
		fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	return fd < 0 ? explain_refusal(errno) : fd;
}

/*
 * What this kernel offers.  UFFDIO_API works once on a descriptor, so this asks
 * with one of its own.
 */
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

/*
 * Once is enough, as the kernel stays the same.  A forked child inherits the
 * result.
 */
static int test_once(int fd)
{
	static bool passed; /* relaxed: to test twice does no harm */
	int error;

	if (__atomic_load_n(&passed, __ATOMIC_RELAXED))
		return 0;
	error = ummu_uffd_selftest(fd);
	if (!error)
		__atomic_store_n(&passed, true, __ATOMIC_RELAXED);
	return error;
}

/*
 * If it cannot be opened, ummu_monitor_watch() will say so.  The path is that
 * of thread-self: /proc/self shows no memory once main() has called
 * pthread_exit().
 */
static void open_proc(struct ummu_descriptor *descriptor, const char *path)
{
	if (ummu_descriptor_keep(descriptor, open(path, O_RDONLY | O_CLOEXEC)))
		*descriptor = UMMU_NO_DESCRIPTOR;
}

/*
 * Keep the descriptors that are still ours, and open the others.  ->starting is
 * set, so no other thread changes them.
 */
static int open_missing(const struct uffd_process *process,
			struct ummu_descriptor *uffd,
			struct ummu_descriptor *pagemap,
			struct ummu_descriptor *maps, bool *any_file)
{
	int error;

	*uffd = process->uffd;
	*pagemap = process->pagemap;
	*maps = process->maps;
	*any_file = process->any_file;
	if (!ummu_descriptor_is_ours(uffd)) {
		error = ummu_descriptor_keep(uffd, open_uffd(any_file));
		if (error)
			return error;
		error = test_once(uffd->fd);
		if (error) {
			ummu_descriptor_close(uffd);
			return error;
		}
	}
	if (!ummu_descriptor_is_ours(pagemap))
		open_proc(pagemap, "/proc/thread-self/pagemap");
	if (!ummu_descriptor_is_ours(maps))
		open_proc(maps, "/proc/thread-self/maps");
	return 0;
}

int ummu_uffd_reopen(struct uffd_process *process)
{
	struct ummu_descriptor uffd, pagemap, maps;
	struct uffd_guard guard;
	bool any_file;
	int error = open_missing(process, &uffd, &pagemap, &maps, &any_file);

	if (error)
		return error;
	ummu_uffd_lock(process, &guard);
	process->uffd = uffd;
	process->pagemap = pagemap;
	process->maps = maps;
	process->any_file = any_file;
	/*
	 * Relaxed: a lookup relies on it for a watch, which is armed later with
	 * the lock held.
	 */
	__atomic_store_n(&process->fd, uffd.fd, __ATOMIC_RELAXED);
	ummu_uffd_unlock(process, &guard);
	return 0;
}

/* The caller holds the lock; the memory is zero, at first or after a fork. */
static void set_up(struct uffd_process *process, unsigned long limit)
{
	process->uffd = process->pagemap = process->maps = UMMU_NO_DESCRIPTOR;
	process->fd = -1;
	LIST_INIT(&process->queues);
	ummu_uffd_ledger_init(&process->ledger, limit);
	/* Release: a thread that sees the number sees what is set above. */
	__atomic_store_n(&process->incarnation,
			 __atomic_add_fetch(&last_incarnation, 1,
					    __ATOMIC_RELAXED),
			 __ATOMIC_RELEASE);
}

/*
 * Wait until no other thread has set ->starting, and until what a lost
 * descriptor had registered is unregistered.  Then set ->starting.  Returns
 * false if that takes longer than PATIENCE_S.
 */
static bool begin_opening(struct uffd_process *process)
{
	/* Half of all mappings are the program's; an extent may cost two. */
	unsigned long limit = (unsigned long)ummu_mappings_limit() / 4;
	struct timespec until;
	struct uffd_guard guard;
	bool begun = true;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE_S;
	ummu_uffd_lock(process, &guard);
	if (!process->incarnation)
		set_up(process, limit);
	while (process->starting ||
	       (process->uffd.fd < 0 && process->state != UFFD_IDLE)) {
		if (!ummu_uffd_wait_until(process, &until))
			continue;
		begun = false;
		break;
	}
	if (begun)
		process->starting = true;
	ummu_uffd_unlock(process, &guard);
	return begun;
}

static void end_opening(struct uffd_process *process)
{
	struct uffd_guard guard;

	ummu_uffd_lock(process, &guard);
	process->starting = false;
	pthread_cond_broadcast(&process->changed);
	ummu_uffd_unlock(process, &guard);
}

int ummu_uffd_open(struct uffd_process **process_p)
{
	struct uffd_process *process = NULL;
	int error = ummu_uffd_process(&process);

	if (error)
		return error;
	if (!begin_opening(process))
		return ummu_explain(
			-EBADF,
			"this process's userfaultfd was closed by somebody (a closefrom() call?), and what it watched is not released yet");
	error = process->state == UFFD_IDLE ? ummu_uffd_reopen(process) : 0;
	end_opening(process);
	if (!error)
		*process_p = process;
	return error;
}
