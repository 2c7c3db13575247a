/* SPDX-License-Identifier: MIT */
/*
 * pin-cuda-gpu.c - tests the CUDA pinner with a device that really reads and
 * writes the memory.  Skipped where there is none.
 *
 * The device copies a region through its own address into memory of its own,
 * from where the bytes are fetched: what it read is what the registration's
 * pages hold, not what is mapped.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include <ummunotify/pin-cuda.h>

#include "pages.h"

#define LENGTH ((size_t)1024 * 1024)
#define ROUNDS 50

/** What the test itself needs of the driver. */
static struct {
	int (*retain)(void **context, int device);
	int (*release)(int device);
	int (*push)(void *context);
	int (*pop)(void **context);
	int (*alloc)(uint64_t *addr, size_t bytes);
	int (*free)(uint64_t addr);
	int (*copy)(uint64_t to, uint64_t from, size_t bytes);
	int (*fetch)(void *to, uint64_t from, size_t bytes);
	int (*synchronize)(void);
} driver;

struct fixture {
	struct ummu_monitor *monitor;
	struct ummu_pin_cuda *pin;
	struct ummu_rcache *cache;
	unsigned char *buffer;
	unsigned char *seen;
	uint64_t inbox; /* the device's */
};

static int open_fixture(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	void *context;

	assert_non_null(f);
	assert_int_equal(ummu_monitor_open(NULL, &f->monitor), 0);
	assert_int_equal(ummu_pin_cuda_create(0, &f->pin), 0);
	assert_int_equal(ummu_rcache_create(f->monitor, &ummu_pin_cuda_ops,
					    f->pin, NULL, &f->cache),
			 0);
	f->buffer = pages_map(NULL, LENGTH);
	f->seen = pages_map(NULL, LENGTH);
	assert_int_equal(driver.retain(&context, 0), 0);
	assert_int_equal(driver.push(context), 0);
	assert_int_equal(driver.alloc(&f->inbox, LENGTH), 0);
	*state = f;
	return 0;
}

static int close_fixture(void **state)
{
	struct fixture *f = *state;
	void *context;

	assert_int_equal(driver.free(f->inbox), 0);
	assert_int_equal(driver.pop(&context), 0);
	assert_int_equal(driver.release(0), 0);
	ummu_rcache_destroy(f->cache);
	ummu_pin_cuda_destroy(f->pin);
	ummu_monitor_close(f->monitor);
	munmap(f->buffer, LENGTH);
	munmap(f->seen, LENGTH);
	free(f);
	return 0;
}

static struct ummu_region *get(struct fixture *f)
{
	struct ummu_region *region;

	assert_int_equal(ummu_rcache_get(f->cache, f->buffer, LENGTH, 0,
					 &region),
			 0);
	assert_true(region->cached);
	return region;
}

static void device_reads(struct fixture *f, const struct ummu_region *region)
{
	memset(f->seen, 0, LENGTH);
	assert_int_equal(driver.copy(f->inbox, ummu_pin_cuda_device(region),
				     LENGTH),
			 0);
	assert_int_equal(driver.synchronize(), 0);
	assert_int_equal(driver.fetch(f->seen, f->inbox, LENGTH), 0);
}

static bool all(const unsigned char *bytes, unsigned char byte)
{
	size_t i;

	for (i = 0; i < LENGTH; i++)
		if (bytes[i] != byte)
			return false;
	return true;
}

static void remapped_memory_is_registered_anew(void **state)
{
	struct ummu_rcache_stats stats = { .size = sizeof(stats) };
	struct fixture *f = *state;
	struct ummu_region *region;
	int i;

	for (i = 1; i <= ROUNDS; i++) {
		memset(f->buffer, i, LENGTH);
		ummu_rcache_put(f->cache, get(f));
		region = get(f);
		device_reads(f, region);
		assert_true(all(f->seen, (unsigned char)i));
		ummu_rcache_put(f->cache, region);
		munmap(f->buffer, LENGTH);
		f->buffer = pages_map(f->buffer, LENGTH);
	}
	assert_int_equal(ummu_rcache_stats(f->cache, &stats), 0);
	assert_int_equal(stats.registrations, ROUNDS);
	assert_int_equal(stats.hits, ROUNDS);
}

static void device_writes(void **state)
{
	struct fixture *f = *state;
	struct ummu_region *region;

	memset(f->buffer, 3, LENGTH);
	region = get(f);
	device_reads(f, region);
	memset(f->buffer, 0, LENGTH);
	assert_int_equal(driver.copy(ummu_pin_cuda_device(region), f->inbox,
				     LENGTH),
			 0);
	assert_int_equal(driver.synchronize(), 0);
	assert_true(all(f->buffer, 3));
	ummu_rcache_put(f->cache, region);
}

/* That the first test could fail. */
static void old_region_reads_old_pages(void **state)
{
	struct fixture *f = *state;
	struct ummu_region *region, *none = NULL;

	memset(f->buffer, 1, LENGTH);
	region = get(f);
	munmap(f->buffer, LENGTH);
	f->buffer = pages_map(f->buffer, LENGTH);
	memset(f->buffer, 2, LENGTH);
	assert_false(ummu_region_valid(region));
	device_reads(f, region);
	assert_false(all(f->seen, 2));
	assert_int_equal(ummu_rcache_get(f->cache, f->buffer, LENGTH, 0, &none),
			 -ENOBUFS);
	ummu_rcache_put(f->cache, region);
	region = get(f);
	device_reads(f, region);
	assert_true(all(f->seen, 2));
	ummu_rcache_put(f->cache, region);
}

static bool find(void *library, const char *name, void *function)
{
	void *symbol = dlsym(library, name);

	memcpy(function, &symbol, sizeof(symbol));
	return symbol;
}

static bool find_driver(void)
{
	void *library = dlopen("libcuda.so.1", RTLD_NOW);

	return library &&
	       find(library, "cuDevicePrimaryCtxRetain", &driver.retain) &&
	       find(library, "cuDevicePrimaryCtxRelease_v2", &driver.release) &&
	       find(library, "cuCtxPushCurrent_v2", &driver.push) &&
	       find(library, "cuCtxPopCurrent_v2", &driver.pop) &&
	       find(library, "cuMemAlloc_v2", &driver.alloc) &&
	       find(library, "cuMemFree_v2", &driver.free) &&
	       find(library, "cuMemcpyDtoD_v2", &driver.copy) &&
	       find(library, "cuMemcpyDtoH_v2", &driver.fetch) &&
	       find(library, "cuCtxSynchronize", &driver.synchronize);
}

static bool there_is_a_device(void)
{
	struct ummu_pin_cuda *pin;
	int error = ummu_pin_cuda_create(0, &pin);

	if (!error)
		ummu_pin_cuda_destroy(pin);
	else
		printf("no CUDA device here: %s\n", strerror(-error));
	return !error;
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, open_fixture, close_fixture)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(remapped_memory_is_registered_anew),
		TEST(device_writes),
		TEST(old_region_reads_old_pages),
	};

	if (!there_is_a_device() || !find_driver())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
