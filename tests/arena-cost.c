/* SPDX-License-Identifier: MIT */
/*
 * arena-cost.c - what it costs a large arena that one buffer in it is watched.
 *
 * The whole mapping is registered, so its size could matter: for the watch, for
 * its end, for what the program gives back elsewhere, and for its huge pages.
 * Prints a table, beside the same without a watch.  Of times it judges nothing.
 *
 * Argument: the arena's size in MiB; 2048 by default, 8192 with UMMU_LONG=1.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/mman.h>

#include "proc-self.h"
#include "run.h"
#include "scene.h"

#define BUFFER (64UL << 10)
#define HUGE (2UL << 20)
#define REPEATS 31

static size_t arena_length;

/* What an arena is made of. */
struct kind {
	const char *name;
	int advice;	    /* for madvise(), or -1 */
	unsigned int memfd; /* flags of memfd_create(), or 0: anonymous */
};

static const struct kind base_pages = { "base pages", MADV_NOHUGEPAGE, 0 };
static const struct kind huge_pages = { "transparent huge pages", MADV_HUGEPAGE,
					0 };
static const struct kind reserved_pages = { "hugetlb memfd", -1,
					    MFD_CLOEXEC | MFD_HUGETLB };

/* Sizes in KiB, times in microseconds. */
struct costs {
	double watch, unwatch, unmap, give_back;
	long huge_before, huge_after, tables_before, tables_after;
	long mapping_after;
};

static long status_kb(const char *field)
{
	FILE *status = fopen("/proc/self/status", "re");
	char line[256];
	long kb = -1;

	REQUIRE(status);
	while (fgets(line, sizeof(line), status))
		if (!strncmp(line, field, strlen(field)))
			kb = atol(line + strlen(field));
	fclose(status);
	return kb;
}

static char *map_arena(const struct kind *kind)
{
	int flags = kind->memfd ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
	int fd = kind->memfd ? memfd_create("arena", kind->memfd) : -1;
	char *addr;

	if (kind->memfd && (fd < 0 || ftruncate(fd, (off_t)arena_length)))
		scene_skip("no such memory here");
	addr = mmap(NULL, arena_length, PROT_READ | PROT_WRITE, flags, fd, 0);
	if (addr == MAP_FAILED)
		scene_skip("no such memory here");
	if (fd >= 0)
		close(fd);
	if (kind->advice >= 0)
		madvise(addr, arena_length, kind->advice);
	if (madvise(addr, arena_length, MADV_POPULATE_WRITE))
		memset(addr, 1, arena_length);
	return addr;
}

static int by_size(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static double median(double *times)
{
	qsort(times, REPEATS, sizeof(*times), by_size);
	return times[REPEATS / 2] * 1e6;
}

/* One buffer, again and again; the last watch stays. */
static void time_watches(struct ummu_monitor *monitor, char *addr,
			 struct costs *costs)
{
	double starts[REPEATS], ends[REPEATS];

	for (int i = 0; i < REPEATS; i++) {
		struct ummu_watch *watch;
		double start = run_seconds();

		watch = scene_watch(monitor, addr, BUFFER);
		starts[i] = run_seconds() - start;
		start = run_seconds();
		ummu_monitor_unwatch(monitor, watch);
		ends[i] = run_seconds() - start;
	}
	costs->watch = median(starts);
	costs->unwatch = median(ends);
	scene_watch(monitor, addr, BUFFER);
}

/* Elsewhere in the arena, a huge page at a time, with distance. */
static void time_program(char *addr, struct costs *costs)
{
	double unmaps[REPEATS], advices[REPEATS];

	for (int i = 0; i < REPEATS; i++) {
		double start = run_seconds();

		madvise(addr + (4UL * (size_t)i + 2) * HUGE, HUGE,
			MADV_DONTNEED);
		advices[i] = run_seconds() - start;
		start = run_seconds();
		REQUIRE(!munmap(addr + 4UL * (size_t)i * HUGE, HUGE));
		unmaps[i] = run_seconds() - start;
	}
	costs->give_back = median(advices);
	costs->unmap = median(unmaps);
}

static char *aligned(char *addr)
{
	return (char *)(((uintptr_t)addr + HUGE - 1) & ~(HUGE - 1));
}

static struct costs measure(const struct kind *kind, bool watched)
{
	char *arena = map_arena(kind);
	char *buffer = aligned(arena + arena_length - 8 * HUGE);
	struct ummu_monitor *monitor = NULL;
	struct costs costs = {
		.huge_before = proc_smaps_kb(arena, "AnonHugePages:"),
		.tables_before = status_kb("VmPTE:"),
	};

	if (watched) {
		monitor = scene_monitor();
		time_watches(monitor, buffer, &costs);
	}
	costs.huge_after = proc_smaps_kb(arena, "AnonHugePages:");
	costs.tables_after = status_kb("VmPTE:");
	costs.mapping_after = proc_smaps_kb(arena, "Size:");
	if (watched)
		REQUIRE(proc_registered(arena) && proc_registered(buffer));
	time_program(aligned(arena) + HUGE, &costs);
	ummu_monitor_close(monitor);
	munmap(arena, arena_length);
	return costs;
}

static void print_row(const char *name, double without, double with)
{
	printf("  %-34s %12.1f %12.1f\n", name, without, with);
}

static void compare(const struct kind *kind)
{
	struct costs without = measure(kind, false);
	struct costs with = measure(kind, true);

	printf("  %zu MiB of %s, 64 KiB of it watched\n", arena_length >> 20,
	       kind->name);
	printf("  %-34s %12s %12s\n", "", "not watched", "watched");
	print_row("watch, us", 0, with.watch);
	print_row("unwatch, us", 0, with.unwatch);
	print_row("munmap of 2 MiB elsewhere, us", without.unmap, with.unmap);
	print_row("MADV_DONTNEED of 2 MiB, us", without.give_back,
		  with.give_back);
	print_row("AnonHugePages before, KiB", (double)without.huge_before,
		  (double)with.huge_before);
	print_row("AnonHugePages after, KiB", (double)without.huge_after,
		  (double)with.huge_after);
	print_row("VmPTE before, KiB", (double)without.tables_before,
		  (double)with.tables_before);
	print_row("VmPTE after, KiB", (double)without.tables_after,
		  (double)with.tables_after);
	REQUIRE(with.huge_after >= with.huge_before);
	/* It is not split; a neighbour may have become a part of it. */
	REQUIRE(with.mapping_after >= (long)(arena_length >> 10));
}

static void of_base_pages(void)
{
	compare(&base_pages);
}

static void of_huge_pages(void)
{
	compare(&huge_pages);
}

static void of_reserved_pages(void)
{
	compare(&reserved_pages);
}

int main(int argc, char **argv)
{
	static const struct scene scenes[] = {
		{ "of_base_pages", of_base_pages },
		{ "of_huge_pages", of_huge_pages },
		{ "of_reserved_pages", of_reserved_pages },
	};
	const char *lengthy = getenv("UMMU_LONG");

	arena_length = (lengthy && *lengthy == '1' ? 8192UL : 2048UL) << 20;
	if (argc > 1) {
		arena_length = strtoul(argv[1], NULL, 0) << 20;
		argc--;
		argv++;
	}
	if (arena_length < 512UL << 20)
		arena_length = 512UL << 20;
	return scenes_play(scenes, sizeof(scenes) / sizeof(scenes[0]), argc,
			   argv);
}
