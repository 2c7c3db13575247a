/* SPDX-License-Identifier: MIT */
/*
 * rcache-clock.c - to a cache, a while passes from each look at the coarse clock
 * to the next.
 *
 * So no hit leaves invalidations for later, and a model can say what is left.
 * Linked into a program, this is taken in place of the C library's.
 */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time)
{
	static __thread time_t looks;

	if (clock != CLOCK_MONOTONIC_COARSE)
		return (int)syscall(SYS_clock_gettime, clock, time);
	time->tv_sec = ++looks;
	time->tv_nsec = 0;
	return 0;
}
