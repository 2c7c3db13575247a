/* SPDX-License-Identifier: MIT */
/*
 * verify-crash.c - preloaded, crashes one row of `ummunotify verify` as soon as
 * it watches something, and stops another one there.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <ummunotify/monitor.h>

#define CRASHES 3 /* which watch of all that the rows ask for */
#define STOPS 6

/* Shared by all rows, each of which is a process. */
static unsigned int *watches;

__attribute__((constructor)) static void share(void)
{
	watches = mmap(NULL, sizeof(*watches), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (watches == MAP_FAILED)
		abort();
}

int ummu_monitor_watch(struct ummu_monitor *monitor, const void *addr,
		       size_t length, uint64_t cookie,
		       struct ummu_watch **watch_p)
{
	int (*watch)(struct ummu_monitor *, const void *, size_t, uint64_t,
		     struct ummu_watch **);
	unsigned int number;
	int error;

	*(void **)&watch = dlsym(RTLD_NEXT, "ummu_monitor_watch");
	error = watch(monitor, addr, length, cookie, watch_p);
	number = __atomic_add_fetch(watches, 1, __ATOMIC_RELAXED);
	if (number == CRASHES)
		raise(SIGSEGV);
	if (number == STOPS)
		raise(SIGSTOP);
	return error;
}
