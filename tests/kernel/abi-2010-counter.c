/* SPDX-License-Identifier: MIT */
/* abi-2010-counter.c - the counter, and the page that it is in. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "expect-2010.h"
#include "tests/child.h"

/* The counter after an invalidation that has returned has moved. */
static void moves_before_the_call_returns(void **state)
{
	int fd = expect_fd(state);
	const volatile uint64_t *counter = device_counter(fd);
	uint64_t before = 0;

	assert_non_null(counter);
	assert_int_equal(*counter, 0);
	for (int i = 0; i < 1000; i++) {
		char *memory = device_pages(2);

		expect_registered(fd, memory, 2 * page, 1);
		assert_int_equal(*counter, before);
		madvise(memory, page, MADV_DONTNEED);
		assert_int_equal(*counter, before + 1);
		munmap(memory, 2 * page);
		assert_int_equal(*counter, before + 2);
		before += 2;
		assert_int_equal(device_unregister(fd, 1), 0);
	}
	expect_only_last(fd, before);
}

static void *unmap(void *memory)
{
	munmap(memory, page);
	return NULL;
}

static void moves_by_any_thread(void **state)
{
	int fd = expect_fd(state);
	const volatile uint64_t *counter = device_counter(fd);

	for (uint64_t i = 1; i <= 100; i++) {
		char *memory = device_pages(1);
		pthread_t thread;

		pthread_create(&thread, NULL, unmap, memory);
		pthread_join(thread, NULL);
		assert_int_equal(*counter, 0);
		assert_ptr_equal(device_pages_at(memory, 1), memory);
		munmap(memory, page);
	}
	for (uint64_t i = 1; i <= 100; i++) {
		char *memory = device_pages(1);
		pthread_t thread;

		expect_registered(fd, memory, page, 1);
		pthread_create(&thread, NULL, unmap, memory);
		pthread_join(thread, NULL);
		assert_int_equal(*counter, i);
		assert_int_equal(device_unregister(fd, 1), 0);
	}
}

static void moves_for_nothing_else(void **state)
{
	struct ummunotify_event events[2];
	int fd = expect_fd(state);
	const volatile uint64_t *counter = device_counter(fd);
	char *memory = device_pages(1);

	expect_registered(fd, memory, page, 1);
	munmap(device_pages(1), page);
	assert_int_equal(*counter, 0);
	munmap(memory, page);
	assert_int_equal(*counter, 1);
	/* The event is read, and the region ends. */
	assert_int_equal(device_read(fd, events, 2), 2);
	assert_int_equal(*counter, 1);
	assert_int_equal(device_unregister(fd, 1), 0);
	assert_int_equal(*counter, 1);
}

static int map_errno(int fd, size_t length, int protection, int flags,
		     off_t offset)
{
	void *map = mmap(NULL, length, protection, flags, fd, offset);

	if (map == MAP_FAILED)
		return errno;
	munmap(map, length);
	return 0;
}

static void which_mappings(void **state)
{
	const off_t one = (off_t)page;
	int fd = expect_fd(state);

	/* As programs do it, and of the page. */
	assert_int_equal(map_errno(fd, 8, PROT_READ, MAP_SHARED, 0), 0);
	assert_int_equal(map_errno(fd, page, PROT_READ, MAP_SHARED, 0), 0);
	/* The wrong size, the wrong place. */
	assert_int_equal(map_errno(fd, page + 1, PROT_READ, MAP_SHARED, 0),
			 EINVAL);
	assert_int_equal(map_errno(fd, 2 * page, PROT_READ, MAP_SHARED, 0),
			 EINVAL);
	assert_int_equal(map_errno(fd, 1UL << 40, PROT_READ, MAP_SHARED, 0),
			 EINVAL);
	assert_int_equal(map_errno(fd, page, PROT_READ, MAP_SHARED, one),
			 EINVAL);
	assert_int_equal(map_errno(fd, page, PROT_READ, MAP_SHARED, 1 << 30),
			 EINVAL);
	/* Not to be written. */
	assert_int_equal(map_errno(fd, page, PROT_READ | PROT_WRITE, MAP_SHARED,
				   0),
			 EACCES);
	assert_int_equal(map_errno(fd, page, PROT_WRITE, MAP_SHARED, 0), EACCES);
	assert_int_equal(map_errno(fd, page, PROT_READ | PROT_WRITE,
				   MAP_SHARED_VALIDATE, 0),
			 EACCES);
	assert_int_equal(map_errno(fd, page, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE, 0),
			 EACCES);
}

/* A private mapping would be a copy once it is written to. */
static void never_writable(int fd, int flags)
{
	void *map = mmap(NULL, page, PROT_READ, flags, fd, 0);
	uint64_t number = 42;
	int file;

	assert_ptr_not_equal(map, MAP_FAILED);
	assert_int_equal(mprotect(map, page, PROT_READ | PROT_WRITE), -1);
	assert_int_equal(errno, EACCES);
	assert_int_equal(mprotect(map, page, PROT_WRITE), -1);
	assert_int_equal(errno, EACCES);
	assert_int_equal(mprotect(map, page, PROT_NONE), 0);
	assert_int_equal(mprotect(map, page, PROT_READ), 0);
	assert_int_equal(mprotect(map, page, PROT_READ | PROT_WRITE), -1);

	/* Nor by force, as a debugger does. */
	file = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	assert_true(file >= 0);
	assert_int_equal(pwrite(file, &number, 8, (off_t)(uintptr_t)map), -1);
	close(file);
	/* Nor as the buffer of a read. */
	file = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(file, map, 8), -1);
	assert_int_equal(errno, EFAULT);
	close(file);
	assert_int_equal(*(const volatile uint64_t *)map, 0);
	munmap(map, page);
}

static void never_writable_shared(void **state)
{
	never_writable(expect_fd(state), MAP_SHARED);
}

static void never_writable_private(void **state)
{
	never_writable(expect_fd(state), MAP_PRIVATE);
}

/* The driver of 2010 had nothing against one. */
static void private_mapping(void **state)
{
	int fd = expect_fd(state);
	const volatile uint64_t *counter = mmap(NULL, page, PROT_READ,
						MAP_PRIVATE, fd, 0);
	char *memory = device_pages(1);

	assert_ptr_not_equal((void *)(uintptr_t)counter, MAP_FAILED);
	expect_registered(fd, memory, page, 1);
	assert_int_equal(*counter, 0);
	munmap(memory, page);
	assert_int_equal(*counter, 1);
	munmap((void *)(uintptr_t)counter, page);
}

static void moved_and_grown(void **state)
{
	int fd = expect_fd(state);
	void *map = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 0), *moved;
	char *memory = device_pages(1);
	void *to = device_pages(1);

	assert_ptr_not_equal(map, MAP_FAILED);
	assert_ptr_equal(mremap(map, page, 2 * page, MREMAP_MAYMOVE),
			 MAP_FAILED);
	assert_ptr_equal(mremap(map, page, 2 * page, 0), MAP_FAILED);
	assert_ptr_equal(mremap(map, 0, page, MREMAP_MAYMOVE), MAP_FAILED);
	/* Elsewhere it says the same. */
	moved = mremap(map, page, page, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	assert_ptr_equal(moved, to);
	expect_registered(fd, memory, page, 1);
	munmap(memory, page);
	assert_int_equal(*(const volatile uint64_t *)moved, 1);
	munmap(moved, page);
}

static void several_mappings(void **state)
{
	const volatile uint64_t *counters[8];
	char *memory = device_pages(1);
	int fd = expect_fd(state);

	for (int i = 0; i < 8; i++) {
		counters[i] = device_counter(fd);
		assert_non_null(counters[i]);
	}
	expect_registered(fd, memory, page, 1);
	madvise(memory, page, MADV_DONTNEED);
	for (int i = 0; i < 8; i++)
		assert_int_equal(*counters[i], 1);
	/* Fewer, or none: it goes on. */
	for (int i = 0; i < 8; i++)
		munmap((void *)(uintptr_t)counters[i], page);
	memset(memory, 1, page);
	madvise(memory, page, MADV_DONTNEED);
	counters[0] = device_counter(fd);
	assert_int_equal(*counters[0], 2);
	munmap(memory, page);
	assert_int_equal(*counters[0], 3);
}

/* The mapping holds the file: closed, it goes on too. */
static void outlives_the_descriptor(void **state)
{
	int fd = device_open(0);
	const volatile uint64_t *counter = device_counter(fd);
	char *memory = device_pages(1);

	(void)state;
	assert_non_null(counter);
	expect_registered(fd, memory, page, 1);
	madvise(memory, page, MADV_DONTNEED);
	close(fd);
	assert_true(*counter >= 1);
	memset(memory, 1, page);
	munmap(memory, page);
	print_message("after close: %llu\n", (unsigned long long)*counter);
	assert_true(*counter >= 1);
	munmap((void *)(uintptr_t)counter, page);
}

/* Old programs may look at it in a child of fork. */
static void inherited(void **state)
{
	int fd = expect_fd(state);
	const volatile uint64_t *counter = device_counter(fd);
	char *memory = device_pages(1);
	pid_t child;

	assert_non_null(counter);
	expect_registered(fd, memory, page, 1);
	madvise(memory, page, MADV_DONTNEED);
	memset(memory, 1, page);
	child = fork();
	if (!child) {
		CHILD_REQUIRE(*counter == 1);
		/* Its own memory is not watched. */
		munmap(memory, page);
		CHILD_REQUIRE(*counter == 1);
		_exit(0);
	}
	expect_child(child);
	munmap(memory, page);
	assert_int_equal(*counter, 2);
}

/* Of page 0 there is one; what is beside the counter stays 0. */
static void rest_of_the_page(void **state)
{
	int fd = expect_fd(state);
	const volatile uint64_t *words = device_counter(fd);
	char *memory = device_pages(1);

	assert_non_null(words);
	expect_registered(fd, memory, page, 1);
	munmap(memory, page);
	assert_int_equal(words[0], 1);
	for (size_t i = 1; i < page / sizeof(*words); i++)
		assert_int_equal(words[i], 0);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, expect_opened, expect_closed)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(moves_before_the_call_returns),
		TEST(moves_by_any_thread),
		TEST(moves_for_nothing_else),
		TEST(which_mappings),
		TEST(never_writable_shared),
		TEST(never_writable_private),
		TEST(private_mapping),
		TEST(moved_and_grown),
		TEST(several_mappings),
		TEST(outlives_the_descriptor),
		TEST(inherited),
		TEST(rest_of_the_page),
	};

	run_limit(600);
	device_need();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
