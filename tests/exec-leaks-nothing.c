/* SPDX-License-Identifier: MIT */
/* exec-leaks-nothing.c - a program that is executed inherits no descriptor. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "child.h"
#include "run.h"
#include "witness.h"

#define MOST 4096

/* 0 or 1 by number: is it open? */
static void look(char open_now[MOST])
{
	for (int fd = 0; fd < MOST; fd++)
		open_now[fd] = fcntl(fd, F_GETFD) >= 0 ? '1' : '0';
}

/* The executed program: finds exactly what it is told to. */
static int compare(const char *expected)
{
	char open_now[MOST];
	int more = 0;

	look(open_now);
	for (int fd = 0; fd < MOST; fd++) {
		if (open_now[fd] == expected[fd])
			continue;
		fprintf(stderr, "descriptor %d: %c, not %c\n", fd, open_now[fd],
			expected[fd]);
		more++;
	}
	return more;
}

static void execute(const char *expected)
{
	char *const arguments[] = { "exec-leaks-nothing",
				    (char *)(uintptr_t)expected, NULL };
	pid_t child = fork();
	int status;

	if (!child) {
		execv("/proc/self/exe", arguments);
		_exit(126);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void nothing_is_inherited(void **state)
{
	static char before[MOST + 1], during[MOST];
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct witness witness;
	uint64_t number;
	char *memory;

	(void)state;
	look(before);
	assert_int_equal(witness_open(&witness), 0);
	memory = mmap(NULL, page, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(memory, MAP_FAILED);
	assert_int_equal(witness_get(&witness, memory, page, &number), 0);
	look(during);
	assert_memory_not_equal(before, during, MOST);
	execute(before);
	witness_close(&witness);
	execute(before);
	munmap(memory, page);
}

/* A process that executes while it watches is not held up. */
static void exec_while_watching(void **state)
{
	char *const arguments[] = { "true", NULL };
	struct witness witness;
	pid_t child = fork();
	uint64_t number;
	char *memory;
	int status;

	(void)state;
	if (!child) {
		run_limit(100);
		if (witness_open(&witness))
			_exit(1);
		memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (memory == MAP_FAILED ||
		    witness_get(&witness, memory, 1 << 20, &number))
			_exit(1);
		execvp("true", arguments);
		_exit(126);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_inherited),
		cmocka_unit_test(exec_while_watching),
	};

	run_limit(250);
	if (argc == 2)
		return compare(argv[1]);
	witness_need_monitor();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
