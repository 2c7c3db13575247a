/* SPDX-License-Identifier: MIT */
/* abi-2010-calls.c - the calls of 2010, one by one and error by error. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "expect-2010.h"
#include "tests/child.h"

#define NOBODY 65534
#define DEVICE "/dev/ummunotify"

static void open_to_read_only(void **state)
{
	static const int flags[] = { O_RDWR, O_WRONLY, O_RDWR | O_NONBLOCK };
	struct stat file;

	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(open(DEVICE, flags[i]), -1);
		assert_int_equal(errno, EINVAL);
	}
	assert_int_equal(stat(DEVICE, &file), 0);
	assert_true(S_ISCHR(file.st_mode));
	print_message("mode %04o\n", file.st_mode & 07777);
	assert_int_equal(file.st_mode & 07777, 0444);
}

static void anybody_may_open(void **state)
{
	pid_t child = fork();

	(void)state;
	if (!child) {
		char *memory = device_pages(1);
		struct ummunotify_event events[2];
		int fd;

		CHILD_REQUIRE(!setgid(NOBODY) && !setuid(NOBODY));
		CHILD_REQUIRE(open(DEVICE, O_RDWR) < 0 && errno == EACCES);
		fd = device_open(0);
		CHILD_REQUIRE(fd >= 0);
		CHILD_REQUIRE(!device_register(fd, memory, page, 5));
		munmap(memory, page);
		CHILD_REQUIRE(device_read(fd, events, 2) == 2);
		CHILD_REQUIRE(events[0].user_cookie_counter == 5);
		_exit(0);
	}
	expect_child(child);
}

/* What the original test program passes is what the stack held. */
static void features_are_none(void **state)
{
	static const uint32_t masks[] = { 0, 1, 0xdeadbeef, ~0U };
	int fd = expect_fd(state);
	char *memory = device_pages(2);
	pid_t child;

	for (int i = 0; i < 4; i++) {
		uint32_t mask = masks[i];

		assert_int_equal(device_exchange(fd, &mask), 0);
		assert_int_equal(mask, 0);
	}
	assert_int_equal(device_exchange(fd, NULL), -EFAULT);

	/* Nothing was turned on: no event but for pages that leave. */
	expect_registered(fd, memory, 2 * page, 1);
	mprotect(memory, page, PROT_READ);
	child = fork();
	if (!child)
		_exit(0);
	expect_child(child);
	expect_nothing(fd);
	/* And the region stays armed. */
	munmap(memory, page);
	expect_hit(fd, 1, memory, memory + page, 1);
	munmap(memory + page, page);
	expect_hit(fd, 1, memory + page, memory + 2 * page, 2);
}

static void features_before_regions(void **state)
{
	int fd = expect_fd(state), other = device_open(O_NONBLOCK);
	struct ummunotify_event event;
	uint32_t mask = 7;

	/* A read or a mapping is no use of it. */
	assert_int_equal(device_read(fd, &event, 1), -EAGAIN);
	assert_non_null(device_counter(fd));
	assert_int_equal(device_exchange(fd, &mask), 0);

	expect_registered(fd, &mask, sizeof(mask), 1);
	assert_int_equal(device_exchange(fd, &mask), -EINVAL);
	assert_int_equal(device_unregister(fd, 1), 0);
	assert_int_equal(device_exchange(fd, &mask), -EINVAL);
	/* Another descriptor is another matter. */
	assert_int_equal(device_exchange(other, &mask), 0);
	close(other);
}

static void cookies_are_unique(void **state)
{
	static const uint64_t cookies[] = { 0, 1, ~0ULL, 1ULL << 63 };
	char *memory = device_pages(4);
	int fd = expect_fd(state), other = device_open(O_NONBLOCK);

	for (int i = 0; i < 4; i++) {
		uint64_t cookie = cookies[i];

		assert_int_equal(device_unregister(fd, cookie), -EINVAL);
		expect_registered(fd, memory, page, cookie);
		/* The same range, another, an empty one. */
		assert_int_equal(device_register(fd, memory, page, cookie),
				 -EINVAL);
		assert_int_equal(device_register(fd, memory + page, page,
						 cookie),
				 -EINVAL);
		assert_int_equal(device_register(fd, memory, 0, cookie),
				 -EINVAL);
	}
	/* Of one descriptor only. */
	assert_int_equal(device_unregister(other, 1), -EINVAL);
	expect_registered(other, memory, page, 1);
	close(other);

	for (int i = 0; i < 4; i++) {
		assert_int_equal(device_unregister(fd, cookies[i]), 0);
		assert_int_equal(device_unregister(fd, cookies[i]), -EINVAL);
	}
	/* Free again, for other ranges too. */
	expect_registered(fd, memory + 3 * page, page, 0);
	munmap(memory, 4 * page);
	expect_hit(fd, 0, memory + 3 * page, memory + 4 * page, 1);
}

static int call(int fd, unsigned long number, const void *argument)
{
	return ioctl(fd, number, argument) ? -errno : 0;
}

static void bad_addresses(void **state)
{
	char *memory = device_pages(2), *end = memory + page;
	int fd = expect_fd(state);

	munmap(end, page);
	for (int less = 1; less < 32; less += 10)
		assert_int_equal(call(fd, UMMUNOTIFY_REGISTER_REGION,
				      end - less),
				 -EFAULT);
	assert_int_equal(call(fd, UMMUNOTIFY_REGISTER_REGION, NULL), -EFAULT);
	assert_int_equal(call(fd, UMMUNOTIFY_UNREGISTER_REGION, end - 7),
			 -EFAULT);
	assert_int_equal(call(fd, UMMUNOTIFY_UNREGISTER_REGION, NULL), -EFAULT);
	/* In the kernel's half. */
	assert_int_equal(call(fd, UMMUNOTIFY_REGISTER_REGION,
			      (void *)0xffff888000000000),
			 -EFAULT);
	/* Right up to the end of a page is good. */
	*(struct ummunotify_register_ioctl *)(void *)(end - 32) =
		(struct ummunotify_register_ioctl){
			.start = (uintptr_t)memory,
			.end = (uintptr_t)end,
			.user_cookie = 3,
		};
	assert_int_equal(call(fd, UMMUNOTIFY_REGISTER_REGION, end - 32), 0);
	assert_int_equal(device_unregister(fd, 3), 0);
	/* To be written to by an exchange: too late, or a fault. */
	assert_int_equal(call(fd, UMMUNOTIFY_EXCHANGE_FEATURES, memory),
			 -EINVAL);
	munmap(memory, page);
}

static void features_where_no_writing_is(void **state)
{
	char *memory = device_pages(1);
	int fd = expect_fd(state);

	mprotect(memory, page, PROT_READ);
	assert_int_equal(call(fd, UMMUNOTIFY_EXCHANGE_FEATURES, memory),
			 -EFAULT);
	munmap(memory, page);
	assert_int_equal(call(fd, UMMUNOTIFY_EXCHANGE_FEATURES, memory),
			 -EFAULT);
}

static void unknown_calls(void **state)
{
	char argument[256] = { 0 };
	const unsigned long unknown[] = {
		0,
		_IO(UMMUNOTIFY_MAGIC, 0),
		_IO(UMMUNOTIFY_MAGIC, 1),
		_IO(UMMUNOTIFY_MAGIC, 2),
		_IOR(UMMUNOTIFY_MAGIC, 1, uint32_t),
		_IOW(UMMUNOTIFY_MAGIC, 2, char[24]),
		_IOW(UMMUNOTIFY_MAGIC, 3, uint32_t),
		_IOW(UMMUNOTIFY_MAGIC, 9, uint64_t),
		_IOW(UMMUNOTIFY_MAGIC, 255, uint64_t),
		_IOWR('V', 1, uint32_t),
	};
	int fd = expect_fd(state);

	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
		assert_int_equal(call(fd, unknown[i], argument), -ENOTTY);
}

/* What the file has no method for. */
static void other_calls(void **state)
{
	char byte = 0;
	int fd = expect_fd(state);

	assert_int_equal(write(fd, &byte, 1), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(fallocate(fd, 0, 0, 4096), -1);
	expect_nothing(fd);
}

/* The calls of a program of 32 bits; SIGSEGV where the kernel has none. */
static long call_32(int fd, unsigned int number, const void *low_address)
{
	long result;

	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(54L), "b"((long)fd), "c"((long)number),
			   "d"((long)low_address)
			 : "memory", "r8", "r9", "r10", "r11");
	return result;
}

static int thirty_two_bits_child(void)
{
	char *low = mmap(NULL, page, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	struct ummunotify_register_ioctl *region = (void *)low;
	uint64_t *cookie = (void *)low;
	struct ummunotify_event events[2];
	char *memory = device_pages(1);
	int fd = device_open(O_NONBLOCK);

	CHILD_REQUIRE(low != MAP_FAILED && fd >= 0);
	*(uint32_t *)low = ~0U;
	CHILD_REQUIRE(!call_32(fd, UMMUNOTIFY_EXCHANGE_FEATURES, low));
	CHILD_REQUIRE(*(uint32_t *)low == 0);
	*region = (struct ummunotify_register_ioctl){
		.start = (uintptr_t)memory,
		.end = (uintptr_t)memory + page,
		.user_cookie = 8,
	};
	CHILD_REQUIRE(!call_32(fd, UMMUNOTIFY_REGISTER_REGION, low));
	munmap(memory, page);
	CHILD_REQUIRE(device_read(fd, events, 2) == 2);
	CHILD_REQUIRE(events[0].user_cookie_counter == 8);
	*cookie = 8;
	CHILD_REQUIRE(!call_32(fd, UMMUNOTIFY_UNREGISTER_REGION, low));
	CHILD_REQUIRE(call_32(fd, UMMUNOTIFY_UNREGISTER_REGION, low) == -EINVAL);
	return 0;
}

static void thirty_two_bits(void **state)
{
	pid_t child = fork();
	int status;

	(void)state;
	if (!child) {
		signal(SIGSEGV, SIG_DFL);
		_exit(thirty_two_bits_child());
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV) {
		print_message("this kernel has no calls of 32 bits\n");
		skip();
	}
	assert_int_equal(status, 0);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, expect_opened, expect_closed)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(open_to_read_only),
		cmocka_unit_test(anybody_may_open),
		TEST(features_are_none),
		TEST(features_before_regions),
		TEST(cookies_are_unique),
		TEST(bad_addresses),
		TEST(features_where_no_writing_is),
		TEST(unknown_calls),
		TEST(other_calls),
		cmocka_unit_test(thirty_two_bits),
	};

	run_limit(600);
	device_need();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
