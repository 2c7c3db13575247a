/* SPDX-License-Identifier: MIT */
/* child.h - make children of a test, and hear from them; one program each. */
#ifndef CHILD_H
#define CHILD_H

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "run.h"

#if RUN_TSAN
/* A child that starts threads ends otherwise. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "die_after_fork=0";
}
#endif

/* A child says which line was not true; exit status 0: all were. */
#define CHILD_REQUIRE(truth)                                              \
	do {                                                              \
		if (!(truth)) {                                           \
			fprintf(stderr, "child: line %d: %s\n", __LINE__, \
				#truth);                                  \
			_exit(1);                                         \
		}                                                         \
	} while (0)

static inline pid_t plain_fork(void)
{
	return fork();
}

/* Runs no handler. */
static inline pid_t raw_clone(void)
{
	return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static inline void expect_child(pid_t child)
{
	int status;

	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFSIGNALED(status))
		fail_msg("the child died of signal %d", WTERMSIG(status));
	assert_int_equal(status, 0);
}

#endif
