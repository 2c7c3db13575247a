/* SPDX-License-Identifier: MIT */
/*
 * instructions.c - hits to be counted, one function for each kind.
 *
 * usage: bench-instructions KIND
 *
 * Runs COUNT hits of that kind in counted(), which is all that callgrind is
 * asked to count (--toggle-collect=counted); prints COUNT.  On the kernel
 * module, in a VM where a nanosecond is an instruction, "kmod" times them
 * itself.  See instructions.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <ummunotify/rcache.h>

#include "../../lib/backend.h"
#include "page-backend.h"

#define COUNT 1000
#define PAGE ((size_t)4096)
#define WINDOWS 101

#ifdef __x86_64__
/*
 * Valgrind 3.19 does not know membarrier(), without which the cache takes its
 * lock on every hit.  It runs one thread at a time, so there is nothing to do.
 */
long syscall(long number, ...)
{
	register long r10 __asm__("r10");
	register long r8 __asm__("r8");
	register long r9 __asm__("r9");
	long result, a[6];
	__builtin_va_list list;

	if (number == SYS_membarrier)
		return 0;
	__builtin_va_start(list, number);
	for (int i = 0; i < 6; i++)
		a[i] = __builtin_va_arg(list, long);
	__builtin_va_end(list);
	r10 = a[3];
	r8 = a[4];
	r9 = a[5];
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]),
			   "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result < 0 && result > -4096 ? -1 : result;
}
#endif

static int pin_nothing(void *ctx, struct ummu_region *region)
{
	(void)ctx;
	region->handle.number = 1;
	return 0;
}

static void unpin_nothing(void *ctx, struct ummu_region *region)
{
	(void)ctx, (void)region;
}

static bool any_bits(void *ctx, uint64_t have, uint64_t want)
{
	(void)ctx, (void)have, (void)want;
	return true;
}

static const struct ummu_rcache_ops nothing = {
	.size = sizeof(nothing),
	.reg = pin_nothing,
	.dereg = unpin_nothing,
	.covers = any_bits,
};

/* A backend whose watches are valid for ever: one word for all. */
static const uint64_t forever = 1;
static struct ummu_watch always_watch = { .state = &forever, .expected = 1 };

static void always_close(struct ummu_monitor *monitor)
{
	(void)monitor;
}

static int always_status(const struct ummu_monitor *monitor)
{
	(void)monitor;
	return 0;
}

static int always_watched(struct ummu_monitor *monitor, uint64_t start,
			  uint64_t last, uint64_t cookie,
			  struct ummu_watch **watch_p)
{
	(void)monitor, (void)start, (void)last, (void)cookie;
	*watch_p = &always_watch;
	return 0;
}

static void always_unwatch(struct ummu_monitor *monitor,
			   struct ummu_watch *watch)
{
	(void)monitor, (void)watch;
}

static int always_read(struct ummu_monitor *monitor, struct ummu_event *events,
		       size_t max)
{
	(void)monitor, (void)events, (void)max;
	return 0;
}

static void always_caps(const struct ummu_monitor *monitor,
			struct ummu_caps *caps)
{
	(void)monitor, (void)caps;
}

static const struct ummu_backend always_backend = {
	.name = "always",
	.close = always_close,
	.status = always_status,
	.watch = always_watched,
	.unwatch = always_unwatch,
	.read = always_read,
	.caps = always_caps,
};

static struct ummu_monitor always = {
	.backend = &always_backend,
	.generation = &forever,
};

/**
 * struct kind - what is counted
 * @backend: NULL: that of page-backend.h
 * @inner:   requests in the middle of the region, not at its start
 * @held:    regions that the thread holds meanwhile
 */
static const struct kind {
	const char *name;
	const char *backend;
	bool inner;
	unsigned int held;
} kinds[] = {
	{ "page", NULL, false, 0 },	   { "always", "always", false, 0 },
	{ "page-held-4", NULL, false, 4 }, { "page-inner", NULL, true, 0 },
	{ "kmod", "kmod", false, 0 },	   { "kmod-inner", "kmod", true, 0 },
};

static struct ummu_rcache *rcache;
static struct ummu_monitor *monitor;
static char *request;

__attribute__((noinline)) void counted(unsigned int count);
__attribute__((noinline)) void counted(unsigned int count)
{
	struct ummu_region *region;

	while (count--) {
		if (ummu_rcache_get(rcache, request, 64, 3, &region))
			abort();
		ummu_rcache_put(rcache, region);
	}
}

static int set_up(const struct kind *kind, char *pages)
{
	struct ummu_monitor_opts opts = { .size = sizeof(opts) };
	struct ummu_region *held;
	int error = 0;

	opts.backend = kind->backend;
	if (!kind->backend)
		error = page_monitor_open(100, &monitor);
	else if (!strcmp(kind->backend, "always"))
		monitor = &always;
	else
		error = ummu_monitor_open(&opts, &monitor);
	if (!error)
		error = ummu_rcache_create(monitor, &nothing, NULL, NULL,
					   &rcache);
	if (error) {
		fprintf(stderr, "%s cannot be had: %s\n", kind->name,
			ummu_monitor_explain());
		return error;
	}
	request = pages;
	if (ummu_rcache_get(rcache, request, 16 * PAGE, 3, &held))
		abort();
	ummu_rcache_put(rcache, held);
	counted(2);
	for (unsigned int i = 0; i < kind->held; i++) {
		char *other = pages + (20 + 2 * i) * PAGE;

		/* A miss, and then a hit that is not put. */
		if (ummu_rcache_get(rcache, other, 64, 3, &held))
			abort();
		ummu_rcache_put(rcache, held);
		if (ummu_rcache_get(rcache, other, 64, 3, &held))
			abort();
	}
	if (kind->inner)
		request += 5 * PAGE + 100;
	counted(2);
	return 0;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* The shortest of windows that no timer interrupts, less the clock's own. */
static double shortest(unsigned int count)
{
	double least = 0;

	for (int i = 0; i < WINDOWS; i++) {
		double start = now(), took;

		counted(count);
		took = now() - start;
		if (!i || took < least)
			least = took;
	}
	return least;
}

int main(int argc, char **argv)
{
	char *pages = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (size_t i = 0; argc == 2 && i < sizeof(kinds) / sizeof(kinds[0]);
	     i++) {
		if (strcmp(kinds[i].name, argv[1]))
			continue;
		if (set_up(&kinds[i], pages))
			return 77;
		if (strncmp(argv[1], "kmod", 4)) {
			counted(COUNT);
			printf("%d\n", COUNT);
			return 0;
		}
		printf("%.1f\n",
		       (shortest(2 * COUNT) - shortest(COUNT)) / COUNT);
		return 0;
	}
	fputs("usage: bench-instructions KIND\n", stderr);
	return 2;
}
