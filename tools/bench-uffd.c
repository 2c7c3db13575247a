/* SPDX-License-Identifier: MIT */
/*
 * bench-uffd.c - a userfaultfd of its own, to compare the library with.
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

static int fd = -1;

static int uffd_open(void)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP,
	};
	int ret;

	fd = (int)syscall(SYS_userfaultfd,
			  O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	if (fd >= 0 && !ioctl(fd, UFFDIO_API, &api))
		return 0;
	ret = -errno;
	bench_say("cannot open a userfaultfd: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
	return ret;
}

static void uffd_close(void)
{
	close(fd);
}

static void uffd_probe(unsigned int ops)
{
	struct uffdio_writeprotect nothing = { .mode = 0 };

	while (ops--)
		ioctl(fd, UFFDIO_WRITEPROTECT, &nothing);
}

static int uffd_add(void *addr, unsigned int i)
{
	struct uffdio_register range = {
		.range = { (uintptr_t)addr, BENCH_RANGE_BYTES },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	(void)i;
	return ioctl(fd, UFFDIO_REGISTER, &range) ? -errno : 0;
}

static void uffd_drop(void *addr, unsigned int i)
{
	struct uffdio_range range = { (uintptr_t)addr, BENCH_RANGE_BYTES };

	(void)i;
	ioctl(fd, UFFDIO_UNREGISTER, &range);
}

const struct bench_bare bench_bare_uffd = {
	.backend = "uffd",
	.probe_name = BENCH_PROBE,
	.add_name = "UFFDIO_REGISTER",
	.drop_name = "UFFDIO_UNREGISTER",
	.open = uffd_open,
	.close = uffd_close,
	.probe = uffd_probe,
	.add = uffd_add,
	.drop = uffd_drop,
};
