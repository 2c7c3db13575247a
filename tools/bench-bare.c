/* SPDX-License-Identifier: MIT */
/*
 * bench-bare.c - a userfaultfd of its own, to compare the library with.
 *
 * It asks for no events: nobody would read them, and an unmap would wait.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

int bench_bare_open(void)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP,
	};
	int fd = (int)syscall(SYS_userfaultfd,
			      O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	int ret;

	if (fd >= 0 && !ioctl(fd, UFFDIO_API, &api))
		return fd;
	ret = -errno;
	bench_say("cannot open a userfaultfd: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
	return ret;
}

void bench_bare_probe(int fd)
{
	struct uffdio_writeprotect nothing = { .mode = 0 };

	ioctl(fd, UFFDIO_WRITEPROTECT, &nothing);
}

int bench_bare_register(int fd, void *addr)
{
	struct uffdio_register range = {
		.range = { (uintptr_t)addr, BENCH_RANGE_BYTES },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	return ioctl(fd, UFFDIO_REGISTER, &range) ? -errno : 0;
}

void bench_bare_unregister(int fd, void *addr)
{
	struct uffdio_range range = { (uintptr_t)addr, BENCH_RANGE_BYTES };

	ioctl(fd, UFFDIO_UNREGISTER, &range);
}
