/* SPDX-License-Identifier: MIT */
/*
 * pin-mlock.c - tests the mlock pinner under a real cache; VmLck is the oracle.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <ummunotify/pin-mlock.h>

#include "pages.h"

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

#define PAGES 32
#define NOBODY 65534

static size_t page;

struct fixture {
	struct ummu_monitor *monitor;
	struct ummu_pin_mlock *pin;
	struct ummu_rcache *cache;
	char *memory;
};

static void open_fixture(struct fixture *f, const char *backend)
{
	struct ummu_monitor_opts opts = { sizeof(opts), backend };

	assert_int_equal(ummu_monitor_open(&opts, &f->monitor), 0);
	assert_int_equal(ummu_pin_mlock_create(&f->pin), 0);
	assert_int_equal(ummu_rcache_create(f->monitor, &ummu_pin_mlock_ops,
					    f->pin, NULL, &f->cache),
			 0);
	f->memory = pages_map(NULL, PAGES * page);
}

static void close_fixture(struct fixture *f)
{
	ummu_rcache_destroy(f->cache);
	ummu_pin_mlock_destroy(f->pin);
	ummu_monitor_close(f->monitor);
	munmap(f->memory, PAGES * page);
}

static struct ummu_region *get(struct fixture *f, size_t first, size_t pages)
{
	struct ummu_region *region;

	assert_int_equal(ummu_rcache_get(f->cache, f->memory + first * page,
					 pages * page, 0, &region),
			 0);
	return region;
}

static size_t locked_pages(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	char line[128];
	long kib = -1;

	assert_non_null(file);
	while (kib < 0 && fgets(line, sizeof(line), file))
		sscanf(line, "VmLck: %ld", &kib);
	fclose(file);
	assert_true(kib >= 0);
	return (size_t)kib * 1024 / page;
}

static void locks_and_unlocks(void **state)
{
	struct ummu_region *region;
	struct fixture f;

	(void)state;
	open_fixture(&f, NULL);
	region = get(&f, 0, 8);
	assert_int_equal(locked_pages(), 8);
	ummu_rcache_put(f.cache, region);
	assert_int_equal(locked_pages(), 8); /* that is what a cache is for */
	assert_int_equal(ummu_rcache_flush(f.cache, true), 1);
	assert_int_equal(locked_pages(), 0);
	close_fixture(&f);
	ummu_pin_mlock_destroy(NULL);
}

/* Three ranges that overlap like tiles, given up in every order. */
static void overlaps_are_counted(void **state)
{
	static const unsigned int first[] = { 0, 4, 10 }, count[] = { 8, 8, 6 };
	static const unsigned int orders[6][3] = {
		{ 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
		{ 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 },
	};
	unsigned int o, i, p;

	(void)state;
	for (o = 0; o < 6; o++) {
		struct ummu_region *regions[3];
		unsigned int users[16] = { 0 };
		struct fixture f;

		open_fixture(&f, NULL);
		for (i = 0; i < 3; i++) {
			regions[i] = get(&f, first[i], count[i]);
			for (p = 0; p < count[i]; p++)
				users[first[i] + p]++;
		}
		assert_int_equal(locked_pages(), 16);
		for (i = 0; i < 3; i++) {
			unsigned int gone = orders[o][i];
			size_t expected = 0;

			ummu_rcache_put(f.cache, regions[gone]);
			ummu_rcache_flush(f.cache, true);
			for (p = 0; p < count[gone]; p++)
				users[first[gone] + p]--;
			for (p = 0; p < 16; p++)
				expected += users[p] > 0;
			assert_int_equal(locked_pages(), expected);
		}
		close_fixture(&f);
	}
}

#define HELD 12

static size_t covered_pages(struct fixture *f, struct ummu_region **held)
{
	bool covered[PAGES] = { false };
	size_t i, p, sum = 0;

	for (i = 0; i < HELD; i++) {
		if (!held[i])
			continue;
		p = (size_t)((char *)held[i]->addr - f->memory) / page;
		memset(covered + p, true, held[i]->length / page);
	}
	for (p = 0; p < PAGES; p++)
		sum += covered[p];
	return sum;
}

static void random_overlaps(void **state)
{
	struct ummu_region *held[HELD] = { NULL };
	const char *given = getenv("UMMU_SEED");
	unsigned int seed = given ? (unsigned int)strtoul(given, NULL, 0) :
				    (unsigned int)time(NULL);
	struct fixture f;
	int i;

	(void)state;
	print_message("seed: UMMU_SEED=%u\n", seed);
	open_fixture(&f, NULL);
	for (i = 0; i < 2000; i++) {
		unsigned int which = (unsigned int)rand_r(&seed) % HELD;
		size_t first = (size_t)rand_r(&seed) % PAGES;
		size_t pages = 1 + (size_t)rand_r(&seed) % (PAGES - first);

		if (held[which])
			ummu_rcache_put(f.cache, held[which]);
		held[which] = rand_r(&seed) % 3 ? get(&f, first, pages) : NULL;
		ummu_rcache_flush(f.cache, true);
		assert_int_equal(locked_pages(), covered_pages(&f, held));
	}
	for (i = 0; i < HELD; i++)
		if (held[i])
			ummu_rcache_put(f.cache, held[i]);
	close_fixture(&f);
	assert_int_equal(locked_pages(), 0);
}

/* The memory at the address is another's by now, and so is its lock. */
static void leaves_new_memory_alone(void **state)
{
	struct fixture f;

	(void)state;
	open_fixture(&f, NULL);
	ummu_rcache_put(f.cache, get(&f, 0, 8));
	munmap(f.memory, PAGES * page);
	assert_int_equal(locked_pages(), 0);
	f.memory = pages_map(f.memory, PAGES * page);
	assert_int_equal(mlock(f.memory, 8 * page), 0);
	assert_int_equal(ummu_rcache_flush(f.cache, false), 1);
	assert_int_equal(locked_pages(), 8);
	close_fixture(&f);
}

static void unmap(struct fixture *f, size_t first, size_t pages)
{
	assert_int_equal(munmap(f->memory + first * page, pages * page), 0);
}

/* The kernel keeps the locks of the rest, and of the neighbours. */
static void part_of_a_region_goes(void **state)
{
	static const size_t gone[] = { 0, 3, 7 }; /* of 8 pages */
	struct ummu_region *before, *after;
	struct fixture f;

	(void)state;
	for (size_t i = 0; i < sizeof(gone) / sizeof(gone[0]); i++) {
		open_fixture(&f, NULL);
		before = get(&f, 0, 8);
		ummu_rcache_put(f.cache, get(&f, 8, 8));
		after = get(&f, 16, 8);
		unmap(&f, 8 + gone[i], 1);
		assert_int_equal(locked_pages(), 23);
		assert_int_equal(ummu_rcache_flush(f.cache, true), 1);
		assert_int_equal(locked_pages(), 16);
		ummu_rcache_put(f.cache, before);
		ummu_rcache_put(f.cache, after);
		assert_int_equal(ummu_rcache_flush(f.cache, true), 2);
		assert_int_equal(locked_pages(), 0);
		close_fixture(&f);
	}
}

/* Of two holes one is known: munlock() ends at the other. */
static void parts_of_a_region_go(void **state)
{
	struct fixture f;

	(void)state;
	open_fixture(&f, NULL);
	ummu_rcache_put(f.cache, get(&f, 0, 32));
	unmap(&f, 2, 1);
	unmap(&f, 11, 6);
	unmap(&f, 30, 1);
	assert_int_equal(locked_pages(), 24);
	assert_int_equal(ummu_rcache_flush(f.cache, true), 1);
	assert_int_equal(locked_pages(), 0);
	close_fixture(&f);
}

/* Somebody else's memory lies in the hole, and is locked. */
static void new_memory_in_the_hole(void **state)
{
	struct fixture f;

	(void)state;
	open_fixture(&f, NULL);
	ummu_rcache_put(f.cache, get(&f, 0, 8));
	unmap(&f, 2, 3);
	pages_map(f.memory + 2 * page, 3 * page);
	assert_int_equal(mlock(f.memory + 3 * page, page), 0);
	assert_int_equal(ummu_rcache_flush(f.cache, true), 1);
	assert_int_equal(locked_pages(), 1);
	close_fixture(&f);
	assert_int_equal(locked_pages(), 0);
}

/* A region in use whose front is gone has nothing to say about what is there. */
static void new_region_in_the_hole(void **state)
{
	struct ummu_region *old, *new;
	struct fixture f;

	(void)state;
	open_fixture(&f, NULL);
	old = get(&f, 0, 8);
	unmap(&f, 0, 2);
	pages_map(f.memory, 2 * page);
	new = get(&f, 0, 4);
	assert_int_equal(locked_pages(), 8);
	ummu_rcache_put(f.cache, new);
	assert_int_equal(ummu_rcache_flush(f.cache, true), 1);
	assert_int_equal(locked_pages(), 6);
	ummu_rcache_put(f.cache, old);
	assert_int_equal(locked_pages(), 0);

	/* And the other way round: the old one goes first. */
	old = get(&f, 0, 8);
	unmap(&f, 0, 2);
	pages_map(f.memory, 2 * page);
	new = get(&f, 0, 4);
	ummu_rcache_put(f.cache, old);
	assert_int_equal(locked_pages(), 4);
	ummu_rcache_put(f.cache, new);
	assert_int_equal(ummu_rcache_flush(f.cache, true), 1);
	assert_int_equal(locked_pages(), 0);
	close_fixture(&f);
}

/* Pages are given back, or the region is said to be invalid: the locks stay. */
static void mapping_stays(void **state)
{
	struct fixture f;

	(void)state;
	open_fixture(&f, NULL);
	ummu_rcache_put(f.cache, get(&f, 0, 8));
	assert_int_equal(ummu_rcache_invalidate(f.cache, f.memory, page), 1);
	assert_int_equal(locked_pages(), 0);

	ummu_rcache_put(f.cache, get(&f, 0, 8));
	assert_int_equal(locked_pages(), 8);
	/* Linux 5.18 has it. */
	if (!madvise(f.memory + page, page, MADV_DONTNEED_LOCKED)) {
		assert_int_equal(ummu_rcache_flush(f.cache, false), 1);
		assert_int_equal(locked_pages(), 0);
	}
	close_fixture(&f);
	assert_int_equal(locked_pages(), 0);
}

static void uncached_regions_unlock(void **state)
{
	struct ummu_region *region;
	struct fixture f;

	(void)state;
	open_fixture(&f, "none");
	region = get(&f, 0, 8);
	assert_false(region->cached);
	assert_int_equal(locked_pages(), 8);
	ummu_rcache_put(f.cache, region);
	assert_int_equal(locked_pages(), 0);
	close_fixture(&f);
}

/* mlock() locks up to the hole and then fails. */
static void failure_locks_nothing(void **state)
{
	struct ummu_region *region = NULL;
	struct fixture f;

	(void)state;
	open_fixture(&f, "none");
	munmap(f.memory + 6 * page, page);
	assert_int_equal(ummu_rcache_get(f.cache, f.memory, 8 * page, 0,
					 &region),
			 -ENOMEM);
	assert_null(region);
	assert_int_equal(locked_pages(), 0);
	close_fixture(&f);
}

static void limit_evicts(void **state)
{
	struct ummu_rcache_stats stats = { .size = sizeof(stats) };
	struct ummu_region *region, *refused = NULL;
	struct rlimit before, low;
	struct fixture f;

	(void)state;
	open_fixture(&f, NULL);
	assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &before), 0);
	low = before;
	low.rlim_cur = 8 * page;
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &low), 0);
	if (!getuid()) /* root may lock more than the limit */
		assert_int_equal(seteuid(NOBODY), 0);

	ummu_rcache_put(f.cache, get(&f, 0, 6));
	region = get(&f, 8, 6);
	assert_int_equal(locked_pages(), 6);
	assert_int_equal(ummu_rcache_get(f.cache, f.memory + 16 * page,
					 6 * page, 0, &refused),
			 -ENOMEM);
	assert_null(refused);
	assert_int_equal(locked_pages(), 6);
	ummu_rcache_put(f.cache, region);
	assert_int_equal(ummu_rcache_stats(f.cache, &stats), 0);
	assert_int_equal(stats.evictions, 1);
	assert_int_equal(stats.registrations, 2);

	if (!getuid())
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &before), 0);
	close_fixture(&f);
	assert_int_equal(locked_pages(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(locks_and_unlocks),
		cmocka_unit_test(overlaps_are_counted),
		cmocka_unit_test(random_overlaps),
		cmocka_unit_test(leaves_new_memory_alone),
		cmocka_unit_test(part_of_a_region_goes),
		cmocka_unit_test(parts_of_a_region_go),
		cmocka_unit_test(new_memory_in_the_hole),
		cmocka_unit_test(new_region_in_the_hole),
		cmocka_unit_test(uncached_regions_unlock),
		cmocka_unit_test(failure_locks_nothing),
		cmocka_unit_test(limit_evicts),
		/* Last: what is given back is not cached for a while. */
		cmocka_unit_test(mapping_stays),
	};

	page = (size_t)sysconf(_SC_PAGESIZE);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
