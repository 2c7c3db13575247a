/* SPDX-License-Identifier: MIT */
/*
 * seccomp-forbids.c - a container's filter refuses userfaultfd: the library
 * says so, in words that name the remedy, and a cache still works without it.
 */
#define _GNU_SOURCE
#include <ummunotify/rcache.h>

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define expect(condition)                                                  \
	do {                                                               \
		if (!(condition)) {                                        \
			fprintf(stderr, "line %d: not so: %s\n", __LINE__, \
				#condition);                               \
			exit(1);                                           \
		}                                                          \
	} while (0)

static void forbid_userfaultfd(unsigned int error)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {
		.len = sizeof(filter) / sizeof(filter[0]),
		.filter = filter,
	};

	expect(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	expect(!prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
}

static int registrations;

static int count_reg(void *ctx, struct ummu_region *region)
{
	(void)ctx, (void)region;
	registrations++;
	return 0;
}

static void count_dereg(void *ctx, struct ummu_region *region)
{
	(void)ctx, (void)region;
	registrations--;
}

/* Slow, never wrong: each get registers, each put deregisters. */
static void cache_without_monitor(void)
{
	const struct ummu_rcache_ops ops = {
		.size = sizeof(ops),
		.reg = count_reg,
		.dereg = count_dereg,
	};
	const struct ummu_monitor_opts none = {
		.size = sizeof(none),
		.backend = "none",
	};
	static char buffer[4096];
	struct ummu_monitor *monitor;
	struct ummu_rcache *cache;
	struct ummu_region *region;

	expect(!ummu_monitor_open(&none, &monitor));
	expect(!ummu_rcache_create(monitor, &ops, NULL, NULL, &cache));
	for (int i = 0; i < 3; i++) {
		expect(!ummu_rcache_get(cache, buffer, sizeof(buffer), 0,
					&region));
		expect(!region->cached && registrations == 1);
		ummu_rcache_put(cache, region);
		expect(registrations == 0);
	}
	ummu_rcache_destroy(cache);
	ummu_monitor_close(monitor);
}

static void refused_with(unsigned int error)
{
	const struct ummu_monitor_opts uffd = {
		.size = sizeof(uffd),
		.backend = "uffd",
	};
	struct ummu_monitor *monitor = NULL;
	int opened;

	forbid_userfaultfd(error);
	opened = ummu_monitor_open(&uffd, &monitor);
	printf("filter says %s: open returns %d, \"%s\"\n",
	       strerror((int)error), opened, ummu_monitor_explain());
	expect(opened == -(int)error);
	expect(!monitor);
	expect(strstr(ummu_monitor_explain(), "seccomp"));
	cache_without_monitor();
}

/* A filter stays for life, so each has a process of its own. */
static int in_child(unsigned int error)
{
	pid_t child;
	int status;

	fflush(stdout);
	child = fork();
	expect(child >= 0);
	if (!child) {
		refused_with(error);
		exit(0);
	}
	expect(waitpid(child, &status, 0) == child);
	return status;
}

int main(void)
{
	alarm(250);
	unsetenv("UMMU_MONITOR");
	expect(in_child(EPERM) == 0);
	expect(in_child(ENOSYS) == 0);
	return 0;
}
