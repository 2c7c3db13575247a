/* SPDX-License-Identifier: MIT */
/*
 * abi-2010-quiet.c - what pages of 4 KiB stay through is no event: an old
 * program may treat one on a buffer in use as fatal.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "expect-2010.h"
#include "tests/child.h"

#define PAGES 16

/* A descriptor, and memory that it watches. */
struct scene {
	int fd;
	char *memory;
	const volatile uint64_t *counter;
};

static struct scene scene_of(void **state)
{
	struct scene scene = {
		.fd = expect_fd(state),
		.memory = device_pages(PAGES),
		.counter = device_counter(expect_fd(state)),
	};

	assert_non_null(scene.counter);
	expect_registered(scene.fd, scene.memory, PAGES * page, 1);
	return scene;
}

/* Quiet so far; and not because it is deaf. */
static void end_of(const struct scene *scene)
{
	assert_int_equal(*scene->counter, 0);
	expect_nothing(scene->fd);
	munmap(scene->memory, PAGES * page);
	expect_hit(scene->fd, 1, scene->memory, scene->memory + PAGES * page, 1);
}

static void fork_and_copy(void **state)
{
	struct scene scene = scene_of(state);

	for (int i = 0; i < 3; i++) {
		pid_t child = fork();

		if (!child) {
			/* The child's copies, its unmap, its end. */
			memset(scene.memory, 2, PAGES * page);
			munmap(scene.memory + page, page);
			madvise(scene.memory, page, MADV_DONTNEED);
			_exit(0);
		}
		expect_child(child);
	}
	end_of(&scene);
}

static void clone_without_handlers(void **state)
{
	struct scene scene = scene_of(state);
	pid_t child = raw_clone();

	if (!child)
		_exit(0);
	expect_child(child);
	end_of(&scene);
}

static void protection(void **state)
{
	static const int protections[] = { PROT_NONE, PROT_READ,
					   PROT_READ | PROT_EXEC,
					   PROT_READ | PROT_WRITE };
	struct scene scene = scene_of(state);

	for (int i = 0; i < 4; i++) {
		assert_int_equal(mprotect(scene.memory + 2 * page, 4 * page,
					  protections[i]),
				 0);
		assert_int_equal(mprotect(scene.memory, PAGES * page,
					  protections[i]),
				 0);
	}
	memset(scene.memory, 3, PAGES * page);
	end_of(&scene);
}

static void clear_refs(void **state)
{
	struct scene scene = scene_of(state);
	FILE *file;

	/* Referenced bits, and soft-dirty bits. */
	for (int what = 1; what <= 4; what++) {
		file = fopen("/proc/self/clear_refs", "we");
		assert_non_null(file);
		fprintf(file, "%d\n", what);
		assert_int_equal(fclose(file), 0);
		memset(scene.memory, 4, PAGES * page);
	}
	end_of(&scene);
}

static void locking_and_advice(void **state)
{
	static const int advice[] = { MADV_NORMAL,   MADV_RANDOM,
				      MADV_WILLNEED, MADV_SEQUENTIAL,
				      MADV_DONTFORK, MADV_DOFORK,
				      MADV_DONTDUMP, MADV_DODUMP,
				      MADV_COLD,     MADV_NOHUGEPAGE };
	const int count = sizeof(advice) / sizeof(advice[0]);
	struct scene scene = scene_of(state);

	assert_int_equal(mlock(scene.memory, PAGES * page), 0);
	assert_int_equal(munlock(scene.memory, PAGES * page), 0);
	for (int i = 0; i < count; i++)
		assert_int_equal(madvise(scene.memory + page, 3 * page,
					 advice[i]),
				 0);
	assert_int_equal(msync(scene.memory, PAGES * page, MS_SYNC), 0);
	end_of(&scene);
}

static void neighbours(void **state)
{
	char *around = device_pages(PAGES + 2);
	int fd = expect_fd(state);

	expect_registered(fd, around + page, PAGES * page, 1);
	madvise(around, page, MADV_DONTNEED);
	munmap(around, page);
	madvise(around + (PAGES + 1) * page, page, MADV_DONTNEED);
	munmap(around + (PAGES + 1) * page, page);
	/* Somebody else's memory. */
	for (int i = 0; i < 10; i++)
		munmap(device_pages(4), 4 * page);
	expect_nothing(fd);
	munmap(around + page, PAGES * page);
	expect_hit(fd, 1, around + page, around + (PAGES + 1) * page, 1);
}

static void growing(void **state)
{
	char *around = device_pages(PAGES + 4), *more;
	int fd = expect_fd(state);

	munmap(around + PAGES * page, 4 * page);
	expect_registered(fd, around, PAGES * page, 1);
	/* In place, into the hole: the pages stay where they are. */
	more = mremap(around, PAGES * page, (PAGES + 4) * page, 0);
	assert_ptr_equal(more, around);
	memset(around, 5, (PAGES + 4) * page);
	expect_nothing(fd);
	munmap(around, (PAGES + 4) * page);
	expect_hit(fd, 1, around, around + PAGES * page, 1);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, expect_opened, expect_closed)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(fork_and_copy),
		TEST(clone_without_handlers),
		TEST(protection),
		TEST(clear_refs),
		TEST(locking_and_advice),
		TEST(neighbours),
		TEST(growing),
	};

	run_limit(600);
	device_need();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
