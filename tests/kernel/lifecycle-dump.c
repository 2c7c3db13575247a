/* SPDX-License-Identifier: MIT */
/* lifecycle-dump.c - shared pages in a core dump, and seen by a debugger. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "expect-2010.h"
#include "expect-today.h"
#include "tests/child.h"

#define PATTERN "/proc/sys/kernel/core_pattern"

/* Is this flag in the VmFlags of the mapping at @start? */
static bool has_flag(const volatile void *start, const char *flag)
{
	FILE *file = fopen("/proc/self/smaps", "re");
	char line[512], wanted[32];
	bool here = false, found = false;
	size_t length;

	assert_non_null(file);
	length = (size_t)snprintf(wanted, sizeof(wanted), "%lx-",
				  (unsigned long)(uintptr_t)start);
	while (fgets(line, sizeof(line), file)) {
		if (!strncmp(line, wanted, length))
			here = true;
		if (!here || strncmp(line, "VmFlags:", 8))
			continue;
		print_message("%s", line);
		found = strstr(line + 8, flag);
		break;
	}
	fclose(file);
	return found;
}

static void flags(void **state)
{
	static const char *const wanted[] = { " dd ", " de ", " io " };
	struct today today;
	int fd = expect_fd(state);
	const volatile uint64_t *counter = device_counter(fd);

	assert_int_equal(today_open(&today, 0, 0), 0);
	for (int i = 0; i < 3; i++) {
		assert_true(has_flag(counter, wanted[i]));
		assert_true(has_flag(today.map, wanted[i]));
	}
	/* May be written: never. */
	assert_false(has_flag(counter, " mw "));
	assert_false(has_flag(today.map, " mw "));
	today_close(&today);
}

/* Returns how many bytes of what is at @address are in the dump, or -1. */
static long dumped(const char *path, uint64_t address)
{
	FILE *file = fopen(path, "re");
	Elf64_Ehdr header;
	Elf64_Phdr part;
	long found = -1;

	assert_non_null(file);
	assert_int_equal(fread(&header, sizeof(header), 1, file), 1);
	assert_int_equal(header.e_type, ET_CORE);
	assert_int_equal(fseek(file, (long)header.e_phoff, SEEK_SET), 0);
	for (int i = 0; i < header.e_phnum; i++) {
		assert_int_equal(fread(&part, sizeof(part), 1, file), 1);
		if (part.p_type == PT_LOAD && part.p_vaddr <= address &&
		    address < part.p_vaddr + part.p_memsz)
			found = (long)part.p_filesz;
	}
	fclose(file);
	return found;
}

/* What the dump is to be asked for. */
struct addresses {
	uint64_t counter, map, ordinary;
};

static void crash(int fd, int say)
{
	const struct rlimit no_limit = { RLIM_INFINITY, RLIM_INFINITY };
	struct addresses addresses;
	struct today today;
	FILE *file = fopen("/proc/self/coredump_filter", "we");

	/* All that can be dumped. */
	CHILD_REQUIRE(file && fprintf(file, "0x7f\n") > 0 && !fclose(file));
	CHILD_REQUIRE(!setrlimit(RLIMIT_CORE, &no_limit));
	close(fd);
	fd = device_open(0);
	CHILD_REQUIRE(!today_open(&today, 0, 0));
	addresses = (struct addresses){
		.counter = (uintptr_t)device_counter(fd),
		.map = (uintptr_t)today.map,
		.ordinary = (uintptr_t)device_pages(2),
	};
	(void)*(const volatile uint64_t *)addresses.counter;
	CHILD_REQUIRE(write(say, &addresses, sizeof(addresses)) ==
		      sizeof(addresses));
	signal(SIGABRT, SIG_DFL);
	abort();
}

static void not_in_a_core_dump(void **state)
{
	char before[128] = "", directory[] = "/tmp/core-XXXXXX", path[64];
	struct addresses addresses;
	FILE *file = fopen(PATTERN, "r+e");
	int status, heard[2];
	pid_t child;

	if (!file) {
		print_message("not root: no core pattern\n");
		skip();
	}
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/core", directory);
	assert_non_null(fgets(before, sizeof(before), file));
	rewind(file);
	fprintf(file, "%s\n", path);
	fclose(file);

	assert_int_equal(pipe(heard), 0);
	child = fork();
	if (!child)
		crash(expect_fd(state), heard[1]);
	assert_int_equal(waitpid(child, &status, 0), child);
	file = fopen(PATTERN, "we");
	fputs(before, file);
	fclose(file);
	assert_true(WIFSIGNALED(status) && WCOREDUMP(status));
	assert_int_equal(read(heard[0], &addresses, sizeof(addresses)),
			 sizeof(addresses));
	print_message("dumped: counter %ld, mapping %ld, ordinary memory %ld\n",
		      dumped(path, addresses.counter),
		      dumped(path, addresses.map),
		      dumped(path, addresses.ordinary));
	assert_int_equal(dumped(path, addresses.counter), 0);
	assert_int_equal(dumped(path, addresses.map), 0);
	assert_true(dumped(path, addresses.ordinary) >= 8192);
	unlink(path);
	rmdir(directory);
}

/* A debugger, and another process: they cannot write, nor keep a page. */
static void debugged(void **state)
{
	int fd = expect_fd(state), said[2];
	struct addresses addresses;
	uint64_t word = 42;
	struct iovec local = { &word, 8 }, remote = { .iov_len = 8 };
	pid_t child;

	(void)fd;
	assert_int_equal(pipe(said), 0);
	child = fork();
	if (!child) {
		struct today today;

		CHILD_REQUIRE(!today_open(&today, 0, 0));
		fd = device_open(0);
		addresses.counter = (uintptr_t)device_counter(fd);
		addresses.map = (uintptr_t)today.map;
		CHILD_REQUIRE(today_generation(&today) == 1);
		(void)*(const volatile uint64_t *)addresses.counter;
		CHILD_REQUIRE(write(said[1], &addresses, sizeof(addresses)) ==
			      sizeof(addresses));
		CHILD_REQUIRE(!ptrace(PTRACE_TRACEME, 0, 0, 0));
		raise(SIGSTOP);
		CHILD_REQUIRE(today_generation(&today) == 1);
		_exit(0);
	}
	assert_int_equal(read(said[0], &addresses, sizeof(addresses)),
			 sizeof(addresses));
	assert_int_equal(waitpid(child, NULL, 0), child);
	for (int i = 0; i < 2; i++) {
		uint64_t at = i ? addresses.map : addresses.counter;
		void *there = (void *)at;

		errno = 0;
		assert_int_equal(ptrace(PTRACE_PEEKDATA, child, there, 0), -1);
		assert_int_equal(errno, EIO);
		assert_int_equal(ptrace(PTRACE_POKEDATA, child, there, 0), -1);
		assert_int_equal(errno, EIO);
		remote.iov_base = there;
		assert_int_equal(process_vm_readv(child, &local, 1, &remote, 1,
						  0),
				 -1);
		assert_int_equal(errno, EFAULT);
		assert_int_equal(process_vm_writev(child, &local, 1, &remote, 1,
						   0),
				 -1);
		assert_int_equal(errno, EFAULT);
	}
	assert_int_equal(ptrace(PTRACE_DETACH, child, 0, 0), 0);
	expect_child(child);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, expect_opened, expect_closed)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(flags),
		TEST(not_in_a_core_dump),
		TEST(debugged),
	};

	run_limit(600);
	device_need();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
