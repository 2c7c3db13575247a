/* SPDX-License-Identifier: MIT */
/*
 * asking-cache.c - tests the drop-in in front of Open MPI's own rcache/grdma,
 * with no MPI: the test is the BTL.
 *
 * Each mapping is stamped, and a registration remembers the stamp that it found:
 * one that is handed out must know the stamp that is there now.
 * Skipped where the component is not found (cache.sh says where it is).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "integrations/openmpi/abi.h"
#include "opal/runtime/opal_params.h"
#include "opal/threads/threads.h"
#include "tests/pages.h"

#define LENGTH ((size_t)64 * 1024)

/**
 * struct registration - one of grdma's, as a BTL extends it
 * @stamp: what was at its beginning when it was made
 */
struct registration {
	mca_rcache_base_registration_t base;
	uint64_t stamp;
};

static mca_rcache_base_module_t *cache;

/* Made, and there now; atomics. */
static int made, kept;

/* The next so many registrations have their memory remapped meanwhile. */
static int disturbed;

/* A registration is a place where its thread may be cancelled. */
static bool cancellable;

static uint64_t next_stamp(void)
{
	static uint64_t last;

	return __atomic_add_fetch(&last, 1, __ATOMIC_RELAXED);
}

static void stamp(void *addr)
{
	*(volatile uint64_t *)addr = next_stamp();
}

static uint64_t stamp_of(const void *addr)
{
	return *(const volatile uint64_t *)addr;
}

static void *map(void *where)
{
	void *addr = pages_map(where, LENGTH);

	memset(addr, 1, LENGTH);
	stamp(addr);
	return addr;
}

/* By ways that hooks in libc do not see. */
static void unmap(void *addr)
{
	assert_int_equal(syscall(SYS_munmap, addr, LENGTH), 0);
}

/* In one step, or another thread may get the address. */
static void remap(void *addr)
{
	assert_int_equal(syscall(SYS_mmap, addr, LENGTH, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 (uintptr_t)addr);
	memset(addr, 1, LENGTH);
	stamp(addr);
}

static int register_memory(void *data, void *base, size_t size,
			   mca_rcache_base_registration_t *registration)
{
	struct registration *ours = (struct registration *)registration;

	(void)data;
	(void)size;
	__atomic_add_fetch(&made, 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&kept, 1, __ATOMIC_RELAXED);
	ours->stamp = stamp_of(base);
	if (__atomic_load_n(&cancellable, __ATOMIC_RELAXED))
		pthread_testcancel();
	if (__atomic_load_n(&disturbed, __ATOMIC_RELAXED)) {
		__atomic_sub_fetch(&disturbed, 1, __ATOMIC_RELAXED);
		remap(base);
	}
	return OPAL_SUCCESS;
}

static int deregister_memory(void *data,
			     mca_rcache_base_registration_t *registration)
{
	(void)data;
	(void)registration;
	__atomic_sub_fetch(&kept, 1, __ATOMIC_RELAXED);
	return OPAL_SUCCESS;
}

static struct registration *get(void *addr, size_t length)
{
	mca_rcache_base_registration_t *registration;

	assert_int_equal(cache->rcache_register(cache, addr, length, 0,
						MCA_RCACHE_ACCESS_ANY,
						&registration),
			 OPAL_SUCCESS);
	return (struct registration *)registration;
}

static void put(struct registration *registration)
{
	assert_int_equal(cache->rcache_deregister(cache, &registration->base),
			 OPAL_SUCCESS);
}

/* Use it once; false if it had to be registered. */
static bool hits(void *addr)
{
	int before = made;
	struct registration *registration = get(addr, LENGTH);

	assert_int_equal(registration->stamp, stamp_of(addr));
	put(registration);
	return made == before;
}

static void what_stays_is_found(void **state)
{
	void *addr = map(NULL);

	(void)state;
	assert_false(hits(addr));
	assert_true(hits(addr));
	unmap(addr);
}

static void what_has_gone_is_not(void **state)
{
	void *addr = map(NULL);
	int i;

	(void)state;
	for (i = 0; i < 100; i++) {
		assert_false(hits(addr));
		assert_true(hits(addr));
		remap(addr);
	}
	unmap(addr);
}

/* What has gone is deregistered by the next lookup, wherever that looks. */
static void nothing_is_left(void **state)
{
	void *addr = map(NULL), *other = map(NULL);
	int before;

	(void)state;
	hits(other);
	before = kept;
	hits(addr);
	assert_int_equal(kept, before + 1);
	unmap(addr);
	hits(other);
	assert_int_equal(kept, before);
	unmap(other);
}

/* grdma would end the process for it. */
static void in_use_it_stays_until_it_is_put(void **state)
{
	void *addr = map(NULL);
	struct registration *first = get(addr, LENGTH), *second;
	int before = kept;

	(void)state;
	remap(addr);
	second = get(addr, LENGTH);
	assert_ptr_not_equal(second, first);
	assert_int_equal(second->stamp, stamp_of(addr));
	assert_int_equal(kept, before + 1);
	put(first);
	assert_int_equal(kept, before);
	assert_true(hits(addr));
	put(second);
	unmap(addr);
}

/* grdma would take those that a range only touches for hit. */
static void neighbours_stay(void **state)
{
	char *addr = mmap(NULL, 3 * LENGTH, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *middle = addr + LENGTH, *after = middle + LENGTH;

	(void)state;
	assert_ptr_not_equal(addr, MAP_FAILED);
	/* A huge page would be split. */
	assert_int_equal(madvise(addr, 3 * LENGTH, MADV_NOHUGEPAGE), 0);
	memset(addr, 1, 3 * LENGTH);
	hits(addr);
	hits(middle);
	hits(after);
	unmap(middle);
	assert_true(hits(addr));
	assert_true(hits(after));
	map(middle);
	assert_false(hits(middle));
	munmap(addr, 3 * LENGTH);
}

static void moved_while_it_was_registered(void **state)
{
	void *addr = map(NULL);
	int before;

	(void)state;
	hits(addr);
	remap(addr);
	before = made;
	disturbed = 2;
	assert_false(hits(addr));
	assert_int_equal(made, before + 3);
	assert_true(hits(addr));
	unmap(addr);
}

/* With no end: of use to who has asked, and to nobody else. */
static void moving_it_is_not_kept(void **state)
{
	void *addr = map(NULL), *other = map(NULL);
	struct registration *registration;
	int before;

	(void)state;
	/* So that nothing of before is taken out meanwhile. */
	hits(other);
	before = kept;
	disturbed = 1000;
	registration = get(addr, LENGTH);
	disturbed = 0;
	assert_int_equal(kept, before + 1);
	put(registration);
	assert_int_equal(kept, before);
	assert_false(hits(addr));
	assert_true(hits(addr));
	unmap(addr);
	unmap(other);
}

static void *attach(void *where)
{
	int segment = shmget(IPC_PRIVATE, LENGTH, IPC_CREAT | 0600);
	void *addr;

	assert_true(segment >= 0);
	addr = shmat(segment, where, 0);
	assert_ptr_not_equal(addr, (void *)-1);
	shmctl(segment, IPC_RMID, NULL);
	stamp(addr);
	return addr;
}

/* Which hooks in libc see, and userfaultfd does not. */
static void detached_memory_is_not_found(void **state)
{
	int i;
	void *addr = NULL;

	(void)state;
	for (i = 0; i < 10; i++) {
		addr = attach(addr);
		assert_false(hits(addr));
		hits(addr);
		assert_int_equal(shmdt(addr), 0);
	}
}

/* Told that @first has gone, somebody who is fed by the hooks frees @second. */
static void *first, *second;

static void detach_second(void *addr, size_t length, void *data, bool from_alloc)
{
	void *gone = second;

	(void)length;
	(void)data;
	(void)from_alloc;
	if (addr != first || !gone)
		return;
	second = NULL;
	shmdt(gone);
}

static void freed_by_who_is_told_is_not_found(void **state)
{
	void *third = map(NULL), *addr;

	(void)state;
	first = map(NULL);
	addr = attach(NULL);
	hits(first);
	hits(addr);
	print_message("attached memory is %s\n",
		      hits(addr) ? "kept" : "not kept here");
	assert_int_equal(opal_mem_hooks_register_release(detach_second, NULL),
			 OPAL_SUCCESS);
	second = addr;
	unmap(first);
	hits(third);
	assert_null(second);
	opal_mem_hooks_unregister_release(detach_second);
	addr = attach(addr);
	assert_false(hits(addr));
	assert_int_equal(shmdt(addr), 0);
	unmap(third);
}

static void *get_cancelled(void *addr)
{
	struct registration *registration;

	pthread_cancel(pthread_self());
	registration = get(addr, LENGTH);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	put(registration);
	return NULL;
}

/* It would leave the lock behind, and whoever takes something out waits for it. */
static void nobody_is_cancelled_inside(void **state)
{
	void *addr = map(NULL), *other = map(NULL), *result;
	pthread_t thread;

	(void)state;
	hits(other);
	__atomic_store_n(&cancellable, true, __ATOMIC_RELAXED);
	pthread_create(&thread, NULL, get_cancelled, addr);
	pthread_join(thread, &result);
	__atomic_store_n(&cancellable, false, __ATOMIC_RELAXED);
	print_message("the thread was %s\n", result == PTHREAD_CANCELED ?
						     "cancelled" :
						     "not cancelled");
	remap(other);
	assert_false(hits(other));
	assert_null(result);
	unmap(addr);
	unmap(other);
}

static void a_child_does_not_look(void **state)
{
	void *addr = map(NULL);
	mca_rcache_base_registration_t *registration;
	int status, before;
	pid_t child;

	(void)state;
	hits(addr);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		before = made;
		alarm(100);
		munmap(malloc(1), 0);
		cache->rcache_register(cache, addr, LENGTH, 0,
				       MCA_RCACHE_ACCESS_ANY, &registration);
		_exit(made == before);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_true(hits(addr));
	unmap(addr);
}

static bool over;

/* Memory that only this thread changes. */
static void *change_and_look(void *data)
{
	void *addr = map(NULL);
	struct registration *registration;
	long *stale = data;

	while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
		registration = get(addr, LENGTH);
		*stale += registration->stamp != stamp_of(addr);
		put(registration);
		registration = get(addr, LENGTH);
		remap(addr);
		put(registration);
	}
	unmap(addr);
	return NULL;
}

/* Memory that others look at too, and that stays. */
static void *look(void *data)
{
	struct registration *registration;

	while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
		registration = get(data, LENGTH);
		if (registration->stamp != stamp_of(data))
			return data;
		put(registration);
	}
	return NULL;
}

/* By libc, whose functions are patched. */
static void *free_and_allocate(void *data)
{
	(void)data;
	while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
		void *addr = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		munmap(addr, LENGTH);
		usleep(50);
	}
	return NULL;
}

static void many_threads_find_nothing_stale(void **state)
{
	const struct timespec while_they_run = { .tv_sec = 2 };
	pthread_t changing[3], looking[2], allocating;
	long stale[3] = { 0 };
	void *shared = map(NULL), *wrong;
	int i, before;

	(void)state;
	before = kept;
	over = false;
	for (i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&changing[i], NULL,
						change_and_look, &stale[i]),
				 0);
	for (i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&looking[i], NULL, look, shared),
				 0);
	assert_int_equal(pthread_create(&allocating, NULL, free_and_allocate,
					NULL),
			 0);
	nanosleep(&while_they_run, NULL);
	__atomic_store_n(&over, true, __ATOMIC_RELAXED);
	for (i = 0; i < 3; i++) {
		pthread_join(changing[i], NULL);
		assert_int_equal(stale[i], 0);
	}
	for (i = 0; i < 2; i++) {
		pthread_join(looking[i], &wrong);
		assert_null(wrong);
	}
	pthread_join(allocating, NULL);
	unmap(shared);
	/* Two lookups: what the first one takes out the second one frees. */
	for (i = 0; i < 2; i++) {
		shared = map(NULL);
		hits(shared);
		unmap(shared);
	}
	assert_true(kept <= before + 1);
}

static bool the_drop_in_is_there(void)
{
	return !strcmp(opal_memory->memoryc_version.mca_component_name,
		       "ummunotify");
}

static int begin(void **state)
{
	mca_rcache_base_resources_t resources = {
		.cache_name = "test",
		.sizeof_reg = sizeof(struct registration),
		.register_mem = register_memory,
		.deregister_mem = deregister_memory,
	};

	(void)state;
	cache = mca_rcache_base_module_create("grdma", NULL, &resources);
	return !cache;
}

static int end(void **state)
{
	(void)state;
	if (mca_rcache_base_module_destroy(cache) != OPAL_SUCCESS)
		return -1;
	return kept;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_stays_is_found),
		cmocka_unit_test(what_has_gone_is_not),
		cmocka_unit_test(nothing_is_left),
		cmocka_unit_test(in_use_it_stays_until_it_is_put),
		cmocka_unit_test(neighbours_stay),
		cmocka_unit_test(moved_while_it_was_registered),
		cmocka_unit_test(moving_it_is_not_kept),
		cmocka_unit_test(detached_memory_is_not_found),
		cmocka_unit_test(freed_by_who_is_told_is_not_found),
		cmocka_unit_test(nobody_is_cancelled_inside),
		cmocka_unit_test(a_child_does_not_look),
		cmocka_unit_test(many_threads_find_nothing_stale),
	};

	/* A lock that is never let go is a failure too. */
	alarm(250);
	if (opal_init(&argc, &argv) != OPAL_SUCCESS)
		return 1;
	opal_set_using_threads(true);
	opal_leave_pinned = 1;
	if (mca_base_framework_open(&opal_rcache_base_framework, 0) !=
		    OPAL_SUCCESS ||
	    mca_base_framework_open(&opal_memory_base_framework, 0) !=
		    OPAL_SUCCESS)
		return 1;
	if (!the_drop_in_is_there()) {
		printf("the drop-in is not used here\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, begin, end);
}
