/* SPDX-License-Identifier: MIT */
/*
 * pages-of-64k.c - what a kernel with pages of 64 KiB refuses, rounds, aligns.
 *
 * It shows that the pretence of pretend-pages.c is in force and as strict as
 * such a kernel; without it the rest of suite pages64 would prove nothing.  It
 * passes on such a kernel as well.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE ((size_t)64 << 10)
#define PART ((size_t)4 << 10)

#define REFUSED(call, answer)                    \
	do {                                     \
		errno = 0;                       \
		assert_true((call) == (answer)); \
		assert_int_equal(errno, EINVAL); \
	} while (0)

static char *map(size_t bytes)
{
	char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(memory, MAP_FAILED);
	assert_int_equal((uintptr_t)memory % PAGE, 0);
	return memory;
}

static bool is_mapped(const char *address)
{
	unsigned char resident;

	return !mincore((void *)(uintptr_t)address, 1, &resident);
}

static void pages_are_of_64k(void **state)
{
	(void)state;
	assert_int_equal(sysconf(_SC_PAGESIZE), PAGE);
	assert_int_equal(getpagesize(), PAGE);
	assert_true(sysconf(_SC_NPROCESSORS_CONF) > 0);
}

static void parts_are_refused(void **state)
{
	char *memory = map(2 * PAGE), *part = memory + PART;
	unsigned char resident[2];

	(void)state;
	REFUSED(munmap(part, PART), -1);
	REFUSED(mprotect(part, PART, PROT_READ), -1);
	REFUSED(madvise(part, PART, MADV_DONTNEED), -1);
	REFUSED(msync(part, PART, MS_ASYNC), -1);
	REFUSED(mincore(part, PART, resident), -1);
	REFUSED(mremap(part, PART, PART, MREMAP_MAYMOVE), MAP_FAILED);
	REFUSED(mremap(memory, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, part),
		MAP_FAILED);
	REFUSED(mmap(part, PART, PROT_READ,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
		MAP_FAILED);
	munmap(memory, 2 * PAGE);
}

static void offsets_are_refused(void **state)
{
	int fd = memfd_create("offsets", MFD_CLOEXEC);
	char *memory;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 2 * (off_t)PAGE), 0);
	REFUSED(mmap(NULL, PART, PROT_READ, MAP_SHARED, fd, (off_t)PART),
		MAP_FAILED);
	memory = mmap(NULL, PART, PROT_READ, MAP_SHARED, fd, (off_t)PAGE);
	assert_ptr_not_equal(memory, MAP_FAILED);
	munmap(memory, PART);
	close(fd);
}

static void lengths_are_rounded_up(void **state)
{
	char *memory = map(1);

	(void)state;
	memset(memory, 1, PAGE);
	assert_int_equal(madvise(memory, PART, MADV_DONTNEED), 0);
	assert_int_equal(memory[PAGE - 1], 0);
	assert_int_equal(munmap(memory, PART), 0);
	assert_false(is_mapped(memory));
}

/* All parts of a page come and go together. */
static void residence_is_of_pages(void **state)
{
	unsigned char resident[3] = { 2, 2, 2 };
	char *memory = map(2 * PAGE);

	(void)state;
	memory[PAGE + 5 * PART] = 1;
	assert_int_equal(mincore(memory, PAGE + PART, resident), 0);
	assert_int_equal(resident[0] & 1, 0);
	assert_int_equal(resident[1] & 1, 1);
	assert_int_equal(resident[2], 2);
	munmap(memory, 2 * PAGE);
}

static void moved_memory_is_aligned(void **state)
{
	char *memory = map(2 * PAGE), *moved;

	(void)state;
	memory[0] = 7;
	/* Not in place, as the second page is in use. */
	moved = mremap(memory, PAGE, 3 * PAGE - PART, MREMAP_MAYMOVE);
	assert_ptr_not_equal(moved, MAP_FAILED);
	assert_int_equal((uintptr_t)moved % PAGE, 0);
	assert_int_equal(moved[0], 7);
	assert_true(is_mapped(moved + 2 * PAGE));
	assert_false(is_mapped(memory));
	munmap(moved, 3 * PAGE);
	munmap(memory + PAGE, PAGE);
}

static void attached_memory_is_aligned(void **state)
{
	int segment = shmget(IPC_PRIVATE, PART, IPC_CREAT | 0600);
	char *memory;

	(void)state;
	if (segment < 0)
		skip();
	memory = shmat(segment, NULL, 0);
	shmctl(segment, IPC_RMID, NULL);
	assert_ptr_not_equal(memory, (char *)-1);
	assert_int_equal((uintptr_t)memory % PAGE, 0);
	memory[PAGE - 1] = 1;
	assert_int_equal(shmdt(memory), 0);
}

static int open_userfaultfd(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd = (int)syscall(SYS_userfaultfd,
			      O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	if (fd < 0)
		return fd;
	assert_int_equal(ioctl(fd, UFFDIO_API, &api), 0);
	return fd;
}

static int register_range(int fd, const char *start, size_t length)
{
	struct uffdio_register request = {
		.range = { .start = (uintptr_t)start, .len = length },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	return ioctl(fd, UFFDIO_REGISTER, &request);
}

static int unregister_range(int fd, const char *start, size_t length)
{
	struct uffdio_range range = { .start = (uintptr_t)start, .len = length };

	return ioctl(fd, UFFDIO_UNREGISTER, &range);
}

static void parts_are_not_registered(void **state)
{
	char *memory = map(2 * PAGE);
	int fd = open_userfaultfd();

	(void)state;
	if (fd < 0)
		skip();
	REFUSED(register_range(fd, memory + PART, PAGE), -1);
	REFUSED(register_range(fd, memory, PART), -1);
	assert_int_equal(register_range(fd, memory, PAGE), 0);
	REFUSED(unregister_range(fd, memory, PART), -1);
	assert_int_equal(unregister_range(fd, memory, PAGE), 0);
	close(fd);
	munmap(memory, 2 * PAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_are_of_64k),
		cmocka_unit_test(parts_are_refused),
		cmocka_unit_test(offsets_are_refused),
		cmocka_unit_test(lengths_are_rounded_up),
		cmocka_unit_test(residence_is_of_pages),
		cmocka_unit_test(moved_memory_is_aligned),
		cmocka_unit_test(attached_memory_is_aligned),
		cmocka_unit_test(parts_are_not_registered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
