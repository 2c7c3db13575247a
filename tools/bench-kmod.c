/* SPDX-License-Identifier: MIT */
/*
 * bench-kmod.c - the kernel module's device, to compare the library with.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../include/uapi/linux/ummunotify.h"
#include "bench.h"

static int fd = -1;
static const struct ummunotify_shared *shared;
static struct ummunotify_watch watches[BENCH_RANGES];
static volatile uint64_t sink;

static int kmod_open(void)
{
	struct ummunotify_setup setup = {
		.size = sizeof(setup),
		.magic = UMMUNOTIFY_SETUP_MAGIC,
	};
	int ret;

	fd = open("/dev/ummunotify", O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && !ioctl(fd, UMMUNOTIFY_SETUP, &setup)) {
		shared = mmap(NULL, sizeof(*shared), PROT_READ, MAP_SHARED, fd,
			      0);
		if (shared != MAP_FAILED)
			return 0;
	}
	ret = -errno;
	bench_say("cannot set up /dev/ummunotify: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
	return ret;
}

static void kmod_close(void)
{
	munmap((void *)(uintptr_t)shared, sizeof(*shared));
	close(fd);
}

static void kmod_probe(unsigned int ops)
{
	while (ops--)
		sink = __atomic_load_n(&shared->generation, __ATOMIC_ACQUIRE);
}

static int kmod_add(void *addr, unsigned int i)
{
	struct ummunotify_batch batch = {
		.entries = (uintptr_t)&watches[i],
		.count = 1,
	};

	watches[i] = (struct ummunotify_watch){
		.start = (uintptr_t)addr,
		.end = (uintptr_t)addr + BENCH_RANGE_BYTES,
	};
	return ioctl(fd, UMMUNOTIFY_WATCH, &batch) < 0 ? -errno : 0;
}

static void kmod_drop(void *addr, unsigned int i)
{
	struct ummunotify_watch_id id = {
		.state = watches[i].state,
		.slot = watches[i].slot,
	};
	struct ummunotify_batch batch = {
		.entries = (uintptr_t)&id,
		.count = 1,
	};

	(void)addr;
	ioctl(fd, UMMUNOTIFY_UNWATCH, &batch);
}

const struct bench_bare bench_bare_kmod = {
	.backend = "kmod",
	.probe_name = "bare load",
	.add_name = "UMMUNOTIFY_WATCH",
	.drop_name = "UMMUNOTIFY_UNWATCH",
	.open = kmod_open,
	.close = kmod_close,
	.probe = kmod_probe,
	.add = kmod_add,
	.drop = kmod_drop,
};
