/* SPDX-License-Identifier: MIT */
/*
 * uffd-selftest.c - check that this kernel orders its steps as PROBE needs.
 *
 * PROBE needs a kernel that counts an unmap as in flight before it frees the
 * addresses, and until after its event was read.  No document promises that.
 * So the first monitor tries it, before anything else reads the descriptor: a
 * second thread unmaps memory, and this one looks while the event is unread.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "explain.h"
#include "uffd-abi.h"
#include "uffd.h"

#define PATIENCE_S 5

/* Two pages: the second thread gives one back, and unmaps the other. */
struct victim {
	char *pages;
	size_t page;
};

static void *give_back(void *argument)
{
	const struct victim *victim = argument;

	madvise(victim->pages, victim->page, MADV_DONTNEED);
	munmap(victim->pages + victim->page, victim->page);
	return NULL;
}

static bool is_mapped(const char *address, size_t page)
{
	unsigned char resident;

	return !mincore((void *)(uintptr_t)address, page, &resident) ||
	       errno != ENOMEM;
}

static time_t seconds(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec;
}

static bool wait_in_flight(int fd)
{
	time_t end = seconds() + PATIENCE_S;

	while (ummu_uffd_probe(fd) == UFFD_QUIET) {
		if (seconds() > end)
			return false;
		sched_yield();
	}
	return ummu_uffd_probe(fd) == UFFD_IN_FLIGHT;
}

static bool wait_unmapped(const char *address, size_t page)
{
	time_t end = seconds() + PATIENCE_S;

	while (is_mapped(address, page)) {
		if (seconds() > end)
			return false;
		sched_yield();
	}
	return true;
}

static bool read_event(int fd, unsigned int event, const char *address,
		       size_t page)
{
	uint64_t start = (uintptr_t)address;
	time_t end = seconds() + PATIENCE_S;
	struct uffd_msg message;
	ssize_t bytes;

	/* The count rises a moment before the event is queued. */
	while ((bytes = read(fd, &message, sizeof(message))) < 0 &&
	       errno == EAGAIN) {
		if (seconds() > end)
			return false;
		sched_yield();
	}
	return bytes == sizeof(message) && message.event == event &&
	       message.arg.remove.start == start &&
	       message.arg.remove.end == start + page;
}

/* Returns what does not hold, or NULL. */
static const char *watch_victim(int fd, const struct victim *victim)
{
	const char *second = victim->pages + victim->page;

	if (!wait_in_flight(fd))
		return "madvise is not in flight before its event is read";
	if (!read_event(fd, UFFD_EVENT_REMOVE, victim->pages, victim->page))
		return "madvise has no event";
	if (!wait_unmapped(second, victim->page))
		return "munmap does not free the range before its event is read";
	if (ummu_uffd_probe(fd) != UFFD_IN_FLIGHT)
		return "munmap frees the range before it is in flight";
	if (!read_event(fd, UFFD_EVENT_UNMAP, second, victim->page))
		return "munmap has no event";
	return NULL;
}

/* After a failure: the second thread must not wait for its events for ever. */
static void *drop_events(void *argument)
{
	int fd = *(int *)argument;
	struct uffd_msg message;

	while (read(fd, &message, sizeof(message)) > 0 || errno == EAGAIN)
		sched_yield();
	return NULL;
}

/* Of the machine, and not of the kernel. */
static const char no_thread[] = "no thread could be started";

static const char *try_order(int fd, const struct victim *victim)
{
	struct uffdio_register request = {
		.range = { .start = (uintptr_t)victim->pages,
			   .len = 2 * victim->page },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	pthread_t thread, rescuer;
	const char *fault;

	memset(victim->pages, 1, 2 * victim->page);
	if (ioctl(fd, UFFDIO_REGISTER, &request))
		return "a private mapping cannot be registered";
	if (ummu_uffd_probe(fd) != UFFD_QUIET)
		return "an empty UFFDIO_WRITEPROTECT is not refused with EINVAL";
	if (pthread_create(&thread, NULL, give_back, (void *)(uintptr_t)victim))
		return no_thread;
	fault = watch_victim(fd, victim);
	if (fault && !pthread_create(&rescuer, NULL, drop_events, &fd)) {
		pthread_join(thread, NULL);
		pthread_cancel(rescuer); /* read() is a cancellation point */
		pthread_join(rescuer, NULL);
		return fault;
	}
	pthread_join(thread, NULL);
	if (!fault && ummu_uffd_probe(fd) != UFFD_QUIET)
		return "a finished munmap is in flight for ever";
	return fault;
}

int ummu_uffd_selftest(int fd)
{
	struct victim victim = { .page = (size_t)sysconf(_SC_PAGESIZE) };
	struct uffdio_range range;
	const char *fault;

	victim.pages = mmap(NULL, 2 * victim.page, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (victim.pages == MAP_FAILED)
		return ummu_explain(-errno, "mmap for the self-test: %m");
	fault = try_order(fd, &victim);
	/* No reader runs yet, so to unmap a registered page would hang. */
	range.start = (uintptr_t)victim.pages;
	range.len = victim.page;
	ioctl(fd, UFFDIO_UNREGISTER, &range);
	munmap(victim.pages, victim.page);
	if (!fault)
		return 0;
	if (fault == no_thread)
		return ummu_explain(
			-EAGAIN,
			"%s for the self-test of userfaultfd: raise the limit on processes (ulimit -u, pids cgroup)",
			fault);
	return ummu_explain(-EOPNOTSUPP,
			    "this kernel's userfaultfd cannot be trusted: %s",
			    fault);
}
