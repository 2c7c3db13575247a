/* SPDX-License-Identifier: MIT */
/* witness.c - a cache over the real monitor whose handles tell their pages. */
#define _GNU_SOURCE
#include "witness.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/uffd-abi.h"

__thread unsigned int witness_registered;

static int witness_reg(void *ctx, struct ummu_region *region)
{
	struct witness *witness = ctx;

	region->handle.number = *(volatile uint64_t *)region->addr;
	__atomic_fetch_add(&witness->registered, 1, __ATOMIC_RELAXED);
	witness_registered++;
	return 0;
}

static void witness_dereg(void *ctx, struct ummu_region *region)
{
	struct witness *witness = ctx;

	(void)region;
	__atomic_fetch_add(&witness->deregistered, 1, __ATOMIC_RELAXED);
}

static const struct ummu_rcache_ops witness_ops = {
	.size = sizeof(witness_ops),
	.reg = witness_reg,
	.dereg = witness_dereg,
};

static void need_userfaultfd(void)
{
	int fd = (int)syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY);

	if (fd < 0) {
		perror("skipped: userfaultfd");
		exit(77);
	}
	close(fd);
}

void witness_need_monitor(void)
{
	if (!getenv("UMMU_MONITOR") && access("/dev/ummunotify", F_OK))
		need_userfaultfd();
}

void witness_need_uffd(void)
{
	need_userfaultfd();
	setenv("UMMU_MONITOR", "uffd", 1);
}

void witness_need_kmod(void)
{
	if (access("/dev/ummunotify", F_OK)) {
		perror("skipped: /dev/ummunotify");
		exit(77);
	}
	setenv("UMMU_MONITOR", "kmod", 1);
}

bool witness_on(const struct ummu_monitor *monitor, const char *backend)
{
	return !strcmp(ummu_monitor_backend(monitor), backend);
}

int witness_open(struct witness *witness)
{
	int error;

	*witness = (struct witness){ .monitor = NULL };
	error = ummu_monitor_open(NULL, &witness->monitor);
	if (error) {
		fprintf(stderr, "monitor: %s\n", ummu_monitor_explain());
		return error;
	}
	error = ummu_rcache_create(witness->monitor, &witness_ops, witness,
				   NULL, &witness->rcache);
	if (error) {
		fprintf(stderr, "cache: error %d\n", error);
		ummu_monitor_close(witness->monitor);
	}
	return error;
}

void witness_close(struct witness *witness)
{
	ummu_rcache_destroy(witness->rcache);
	ummu_monitor_close(witness->monitor);
	witness->rcache = NULL;
	witness->monitor = NULL;
}

int witness_get(struct witness *witness, void *addr, size_t length,
		uint64_t *number)
{
	struct ummu_region *region;
	int error;

	witness_registered = 0;
	error = ummu_rcache_get(witness->rcache, addr, length, 0, &region);
	if (error)
		return error;
	*number = region->handle.number;
	ummu_rcache_put(witness->rcache, region);
	return !witness_registered;
}

struct ummu_rcache_stats witness_stats(const struct witness *witness)
{
	struct ummu_rcache_stats stats = { .size = sizeof(stats) };

	ummu_rcache_stats(witness->rcache, &stats);
	return stats;
}
