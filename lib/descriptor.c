/* SPDX-License-Identifier: MIT */
/* descriptor.c - keep descriptors out of the way of others. */
#define _GNU_SOURCE
#include "descriptor.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

/* A table of this many descriptors is small. */
#define HIGH_DESCRIPTORS 1024

int ummu_descriptor_move_high(int fd)
{
	struct rlimit limit;
	int high;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur < 64)
		return fd;
	if (limit.rlim_cur > HIGH_DESCRIPTORS)
		limit.rlim_cur = HIGH_DESCRIPTORS;
	high = fcntl(fd, F_DUPFD_CLOEXEC, (int)limit.rlim_cur - 16);
	if (high < 0)
		return fd;
	close(fd);
	return high;
}
