/* SPDX-License-Identifier: MIT */
/*
 * pin-cuda.c - tests the logic of the CUDA pinner, under real caches, on a
 * stand-in for the driver.
 *
 * usage: pin-cuda [old]	"old": with a driver that lacks calls
 *
 * The stand-in is found through LD_LIBRARY_PATH.  Skipped without it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <ummunotify/pin-cuda.h>

#include "pages.h"
#include "standin/cuda.h"

#define PAGES 32

static size_t page;

/* The stand-in's. */
static void (*fail_next)(const char *call, int result);
static void (*run_meanwhile)(const char *call, void (*hook)(void));
static bool (*range_at)(const void *addr, struct standin_range *range_p);
static struct standin_counts (*count)(void);

/** Two caches, of two libraries that know nothing of each other. */
struct fixture {
	struct ummu_monitor *monitors[2];
	struct ummu_pin_cuda *pins[2];
	struct ummu_rcache *caches[2];
	char *memory;
	unsigned int registered;
};

static int open_fixture(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int i;

	assert_non_null(f);
	for (i = 0; i < 2; i++) {
		assert_int_equal(ummu_monitor_open(NULL, &f->monitors[i]), 0);
		assert_int_equal(ummu_pin_cuda_create(i, &f->pins[i]), 0);
		assert_int_equal(ummu_rcache_create(f->monitors[i],
						    &ummu_pin_cuda_ops,
						    f->pins[i], NULL,
						    &f->caches[i]),
				 0);
	}
	f->memory = pages_map(NULL, PAGES * page);
	f->registered = count().registered;
	*state = f;
	return 0;
}

static int close_fixture(void **state)
{
	struct fixture *f = *state;
	int i;

	for (i = 0; i < 2; i++) {
		ummu_rcache_destroy(f->caches[i]);
		ummu_pin_cuda_destroy(f->pins[i]);
		ummu_monitor_close(f->monitors[i]);
	}
	munmap(f->memory, PAGES * page);
	free(f);
	assert_int_equal(count().ranges, 0);
	assert_int_equal(count().retained, 0);
	assert_int_equal(count().current, 0);
	return 0;
}

static int try(struct fixture *f, int cache, size_t first, size_t pages,
	       uint64_t access, struct ummu_region **region_p)
{
	return ummu_rcache_get(f->caches[cache], f->memory + first * page,
			       pages * page, access, region_p);
}

static struct ummu_region *get(struct fixture *f, int cache, size_t first,
			       size_t pages)
{
	struct ummu_region *region;

	assert_int_equal(try(f, cache, first, pages, 0, &region), 0);
	assert_int_equal(ummu_pin_cuda_device(region),
			 (uintptr_t)region->addr + STANDIN_SHIFT);
	assert_int_equal(count().current, 0);
	return region;
}

static unsigned int made(const struct fixture *f)
{
	return count().registered - f->registered;
}

static void registers_and_unregisters(void **state)
{
	struct fixture *f = *state;
	struct standin_range range;

	ummu_rcache_put(f->caches[0], get(f, 0, 2, 4));
	ummu_rcache_put(f->caches[0], get(f, 0, 2, 4));
	ummu_rcache_put(f->caches[0], get(f, 0, 3, 1)); /* inside */
	assert_int_equal(made(f), 1);
	assert_true(range_at(f->memory + 2 * page, &range));
	assert_ptr_equal(range.addr, f->memory + 2 * page);
	assert_int_equal(range.bytes, 4 * page);
	assert_int_equal(range.flags, 1 | 2); /* portable, for the device */

	assert_int_equal(ummu_rcache_flush(f->caches[0], true), 1);
	assert_false(range_at(f->memory + 2 * page, &range));
	ummu_pin_cuda_destroy(NULL);
}

static void remapped_memory_is_registered_anew(void **state)
{
	struct fixture *f = *state;
	int i;

	for (i = 1; i <= 20; i++) {
		ummu_rcache_put(f->caches[0], get(f, 0, 0, 8));
		ummu_rcache_put(f->caches[0], get(f, 0, 0, 8));
		assert_int_equal(made(f), i);
		munmap(f->memory, PAGES * page);
		f->memory = pages_map(f->memory, PAGES * page);
	}
}

static void two_caches_share_one_registration(void **state)
{
	struct fixture *f = *state;
	struct ummu_region *first = get(f, 0, 0, 8), *second;

	second = get(f, 1, 0, 8);
	ummu_rcache_put(f->caches[1], get(f, 1, 4, 2));
	assert_int_equal(made(f), 1);
	ummu_rcache_put(f->caches[0], first);
	assert_int_equal(ummu_rcache_flush(f->caches[0], true), 1);
	assert_int_equal(count().ranges, 1);
	ummu_rcache_put(f->caches[1], second);
	ummu_rcache_flush(f->caches[1], true);
	assert_int_equal(count().ranges, 0);
}

/* A pinner may go before a registration that another shares. */
static void registration_keeps_its_context(void **state)
{
	struct fixture *f = *state;
	struct ummu_region *region;

	ummu_rcache_put(f->caches[0], get(f, 0, 0, 8));
	region = get(f, 1, 0, 8);
	ummu_rcache_destroy(f->caches[0]);
	ummu_pin_cuda_destroy(f->pins[0]);
	f->caches[0] = NULL;
	f->pins[0] = NULL;
	assert_int_equal(count().ranges, 1);
	ummu_rcache_put(f->caches[1], region);
}

/* Both are told, and the old registration has to go first. */
static void old_pages_are_not_shared(void **state)
{
	struct fixture *f = *state;
	struct ummu_region *first = get(f, 0, 0, 8), *second = get(f, 1, 0, 8);
	struct ummu_region *none = NULL;

	munmap(f->memory, PAGES * page);
	f->memory = pages_map(f->memory, PAGES * page);
	assert_false(ummu_region_valid(first));
	assert_false(ummu_region_valid(second));
	assert_int_equal(try(f, 0, 0, 8, 0, &none), -ENOBUFS);
	ummu_rcache_put(f->caches[0], first);
	assert_int_equal(try(f, 0, 0, 8, 0, &none), -ENOBUFS);
	ummu_rcache_put(f->caches[1], second);
	assert_int_equal(made(f), 1);

	first = get(f, 0, 0, 8);
	second = get(f, 1, 0, 8);
	assert_true(ummu_region_valid(first));
	assert_true(ummu_region_valid(second));
	assert_int_equal(made(f), 2);
	ummu_rcache_put(f->caches[0], first);
	ummu_rcache_put(f->caches[1], second);
}

static void overlap_evicts_what_is_idle(void **state)
{
	struct fixture *f = *state;
	struct ummu_region *region, *none = NULL;

	ummu_rcache_put(f->caches[0], get(f, 0, 0, 8));
	region = get(f, 0, 4, 8);
	assert_int_equal(made(f), 2);
	assert_int_equal(count().ranges, 1);
	assert_int_equal(try(f, 0, 0, 8, 0, &none), -ENOBUFS);
	assert_int_equal(try(f, 1, 0, 8, 0, &none), -ENOBUFS);
	assert_null(none);
	ummu_rcache_put(f->caches[0], region);
	ummu_rcache_put(f->caches[0], get(f, 0, 0, 8));
}

static void rights_decide_who_shares(void **state)
{
	const uint64_t reads = UMMU_PIN_CUDA_READ_ONLY;
	struct fixture *f = *state;
	struct ummu_region *region, *none = NULL;
	struct standin_range range;

	assert_int_equal(try(f, 0, 0, 8, reads, &region), 0);
	assert_true(range_at(f->memory, &range));
	assert_int_equal(range.flags, 1 | 2 | 8);
	assert_int_equal(try(f, 1, 0, 8, 0, &none), -ENOBUFS);
	ummu_rcache_put(f->caches[0], region);
	region = get(f, 0, 0, 8);
	assert_int_equal(made(f), 2);
	ummu_rcache_put(f->caches[0], region);
	assert_int_equal(try(f, 1, 0, 8, reads, &region), 0);
	assert_int_equal(made(f), 2);
	ummu_rcache_put(f->caches[1], region);
	assert_int_equal(try(f, 0, 0, 8, 4, &none), -EINVAL);
}

/* The driver's numbers for errors, and what they become. */
static void errors_are_told(void **state)
{
	static const struct {
		int result, error;
	} pairs[] = {
		{ 1, -EINVAL },	  { 2, -ENOMEM },	{ 3, -ENODEV },
		{ 34, -ENOSYS },  { 46, -EBUSY },	{ 100, -ENODEV },
		{ 101, -ENODEV }, { 201, -ENODEV },	{ 712, -EBUSY },
		{ 800, -EPERM },  { 801, -EOPNOTSUPP }, { 802, -ENODEV },
		{ 803, -ENODEV }, { 999, -EIO },
	};
	struct fixture *f = *state;
	struct ummu_region *none = NULL;
	size_t i;

	for (i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
		fail_next("cuMemHostRegister", pairs[i].result);
		assert_int_equal(try(f, 0, 0, 8, 0, &none), pairs[i].error);
	}
	fail_next("cuMemHostGetDevicePointer", 999);
	assert_int_equal(try(f, 0, 0, 8, 0, &none), -EIO);
	fail_next("cuCtxPushCurrent", 201);
	assert_int_equal(try(f, 0, 0, 8, 0, &none), -ENODEV);
	fail_next("cuDevicePrimaryCtxRetain", 46);
	assert_int_equal(try(f, 0, 0, 8, 0, &none), -EBUSY);
	assert_null(none);
	assert_int_equal(count().ranges, 0);
	assert_int_equal(count().retained, 2);
	ummu_rcache_put(f->caches[0], get(f, 0, 0, 8));
}

/* What the application itself has registered is not the pinner's. */
static void foreign_registration_is_busy(void **state)
{
	struct fixture *f = *state;
	struct ummu_region *none = NULL;
	void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
	int (*push)(void *) = (int (*)(void *))dlsym(library,
						     "cuCtxPushCurrent_v2");
	int (*pop)(void **) = (int (*)(void **))dlsym(library,
						      "cuCtxPopCurrent_v2");
	int (*add)(void *, size_t,
		   unsigned int) = (int (*)(void *, size_t, unsigned int))
		dlsym(library, "cuMemHostRegister_v2");
	int (*end)(void *) = (int (*)(void *))dlsym(library,
						    "cuMemHostUnregister");
	int (*retain)(void **, int) = (int (*)(void **, int))
		dlsym(library, "cuDevicePrimaryCtxRetain");
	int (*release)(int) = (int (*)(
		int))dlsym(library, "cuDevicePrimaryCtxRelease_v2");
	void *context;

	assert_int_equal(retain(&context, 0), 0);
	assert_int_equal(push(context), 0);
	assert_int_equal(add(f->memory, page, 0), 0);
	assert_int_equal(try(f, 0, 0, 8, 0, &none), -EBUSY);
	assert_int_equal(end(f->memory), 0);
	assert_int_equal(pop(&context), 0);
	assert_int_equal(release(0), 0);
	ummu_rcache_put(f->caches[0], get(f, 0, 0, 8));
}

static void create_says_what_is_wrong(void **state)
{
	struct ummu_pin_cuda *pin = NULL;

	(void)state;
	assert_int_equal(ummu_pin_cuda_create(STANDIN_DEVICES, &pin), -ENODEV);
	fail_next("cuDevicePrimaryCtxRetain", 2);
	assert_int_equal(ummu_pin_cuda_create(0, &pin), -ENOMEM);
	assert_null(pin);
	assert_int_equal(count().retained, 0);
}

/**
 * struct other - a thread that gets a range while another one is in a call of
 * the driver for it
 * @early: it was done before that call went on
 */
static struct other {
	struct fixture *f;
	sem_t go, done;
	bool early;
	int error;
	struct ummu_region *region;
} other;

static void *get_meanwhile(void *unused)
{
	(void)unused;
	sem_wait(&other.go);
	other.error = try(other.f, 1, 0, 8, 0, &other.region);
	sem_post(&other.done);
	return NULL;
}

/* In the driver.  Who does not wait for this call is done in this time. */
static void let_other_in(void)
{
	struct timespec until;

	sem_post(&other.go);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += 200000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	other.early = !sem_timedwait(&other.done, &until);
}

static pthread_t start_other(struct fixture *f, const char *call)
{
	pthread_t thread;

	other = (struct other){ .f = f };
	sem_init(&other.go, 0, 0);
	sem_init(&other.done, 0, 0);
	assert_int_equal(pthread_create(&thread, NULL, get_meanwhile, NULL), 0);
	run_meanwhile(call, let_other_in);
	return thread;
}

/* The other thread has the range, and had to wait for it. */
static void expect_other(pthread_t thread)
{
	pthread_join(thread, NULL);
	printf("the other thread: %s, %s\n", strerror(-other.error),
	       other.early ? "at once" : "after the call");
	assert_false(other.early);
	assert_int_equal(other.error, 0);
	ummu_rcache_put(other.f->caches[1], other.region);
}

static void what_is_being_registered_is_waited_for(void **state)
{
	struct fixture *f = *state;
	pthread_t thread = start_other(f, "cuMemHostRegister");
	struct ummu_region *region = get(f, 0, 0, 8);

	expect_other(thread);
	assert_int_equal(made(f), 1);
	ummu_rcache_put(f->caches[0], region);
}

static void what_is_being_given_up_is_waited_for(void **state)
{
	struct fixture *f = *state;
	pthread_t thread;

	ummu_rcache_put(f->caches[0], get(f, 0, 0, 8));
	thread = start_other(f, "cuMemHostUnregister");
	assert_int_equal(ummu_rcache_flush(f->caches[0], true), 1);
	expect_other(thread);
	assert_int_equal(made(f), 2);
	assert_int_equal(count().ranges, 1);
}

/* What waited for a registration that then failed makes its own. */
static void what_could_not_be_registered_is_tried_anew(void **state)
{
	struct fixture *f = *state;
	pthread_t thread = start_other(f, "cuMemHostRegister");
	struct ummu_region *none = NULL;

	fail_next("cuMemHostRegister", 999);
	assert_int_equal(try(f, 0, 0, 8, 0, &none), -EIO);
	expect_other(thread);
	assert_int_equal(made(f), 1);
}

static void child_only_frees(void **state)
{
	struct fixture *f = *state;
	struct ummu_region *region = get(f, 0, 0, 8), *none = NULL;
	pid_t child = fork();
	int status;

	if (!child) {
		status = try(f, 0, 8, 8, 0, &none) != -ECHILD;
		ummu_rcache_destroy(f->caches[0]);
		ummu_pin_cuda_destroy(f->pins[0]);
		status |= (count().ranges != 1) << 1;
		status |= (count().retained != 3) << 2;
		_exit(status);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	ummu_rcache_put(f->caches[0], region);
}

/* Instead of all others: no driver, or one of long ago. */
static int refuse(int expected)
{
	struct ummu_pin_cuda *pin = NULL;
	int error = ummu_pin_cuda_create(0, &pin);

	printf("create: %s\n", strerror(-error));
	return error == expected && !pin ? 0 : 1;
}

static bool find_standin(void)
{
	void *library = dlopen("libcuda.so.1", RTLD_NOW);

	if (!library)
		return false;
	*(void **)&fail_next = dlsym(library, "standin_fail");
	*(void **)&run_meanwhile = dlsym(library, "standin_meanwhile");
	*(void **)&range_at = dlsym(library, "standin_range");
	*(void **)&count = dlsym(library, "standin_count");
	return fail_next && run_meanwhile && range_at && count;
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, open_fixture, close_fixture)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(create_says_what_is_wrong),
		TEST(registers_and_unregisters),
		TEST(remapped_memory_is_registered_anew),
		TEST(two_caches_share_one_registration),
		TEST(registration_keeps_its_context),
		TEST(old_pages_are_not_shared),
		TEST(overlap_evicts_what_is_idle),
		TEST(rights_decide_who_shares),
		TEST(errors_are_told),
		TEST(foreign_registration_is_busy),
		TEST(what_is_being_registered_is_waited_for),
		TEST(what_is_being_given_up_is_waited_for),
		TEST(what_could_not_be_registered_is_tried_anew),
		TEST(child_only_frees),
	};

	page = (size_t)sysconf(_SC_PAGESIZE);
	if (argc > 1 && !strcmp(argv[1], "old"))
		return refuse(-ENOSYS);
	if (!find_standin()) {
		printf("no stand-in for libcuda.so.1 here\n");
		/* Then there is nothing at all, or a real driver. */
		return dlopen("libcuda.so.1", RTLD_NOW) ? 77 : refuse(-ENOENT);
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
