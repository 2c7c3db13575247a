/* SPDX-License-Identifier: MIT */
/* foreign-kernel.c - has the kernel change memory for reasons of its own. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "device.h"
#include "foreign.h"
#include "frames.h"

#define HUGE_PAGES (FOREIGN_HUGE / 4096)
#define KHUGEPAGED "/sys/kernel/mm/transparent_hugepage/khugepaged/"
#define KSM "/sys/kernel/mm/ksm/"
#define GROUPS "/sys/fs/cgroup/"
#define GROUP GROUPS "ummunotify-foreign/"
#define OFFLINE "/sys/devices/system/memory/soft_offline_page"
#define MOVE_ALL 4 /* MPOL_MF_MOVE_ALL */
#define TRIES 10
#define SETTLE 60 /* seconds; less where it acts sooner */

/* --------------------------------------------------------------- khugepaged */

static int need_khugepaged(struct foreign_scene *scene)
{
	return access(KHUGEPAGED, F_OK) ?
		       foreign_lacking(scene, "no khugepaged") :
		       0;
}

/*
 * The first call sets a flag of the mapping.  Of shared memory 6.1 looks at that
 * before it tells khugepaged, and before it has set it: so there is another.
 */
static int allow_huge(struct foreign_scene *scene)
{
	for (int i = 0; i < 2; i++)
		if (madvise(scene->addr, foreign_length(scene), MADV_HUGEPAGE))
			return -errno;
	return 0;
}

static int wake_khugepaged(struct foreign_scene *scene)
{
	(void)scene;
	foreign_set(KHUGEPAGED "pages_to_scan", "100000");
	foreign_set(KHUGEPAGED "alloc_sleep_millisecs", "1");
	return foreign_setting(KHUGEPAGED "scan_sleep_millisecs", "1");
}

static void calm_khugepaged(struct foreign_scene *scene)
{
	(void)scene;
	foreign_set(KHUGEPAGED "scan_sleep_millisecs", "10000");
}

/* ---------------------------------------------------------------------- KSM */

static int need_ksm(struct foreign_scene *scene)
{
	return access(KSM, F_OK) ? foreign_lacking(scene, "no KSM") : 0;
}

static int make_alike(struct foreign_scene *scene)
{
	for (size_t i = 0; i < scene->pages; i++)
		memset(scene->addr + i * page, 0x5a, page);
	return madvise(scene->addr, foreign_length(scene), MADV_MERGEABLE) ?
		       -errno :
		       0;
}

static int run_ksm(struct foreign_scene *scene)
{
	(void)scene;
	foreign_set(KSM "pages_to_scan", "10000");
	foreign_set(KSM "sleep_millisecs", "1");
	return foreign_setting(KSM "run", "1");
}

static bool are_merged(const struct foreign_scene *scene)
{
	uint64_t first = frame_of(scene->addr);

	for (size_t i = 1; i < scene->pages; i++)
		if (frame_of(scene->addr + i * page) != first)
			return false;
	return true;
}

static int make_merged(struct foreign_scene *scene)
{
	int error = make_alike(scene);

	if (!error)
		error = run_ksm(scene);
	for (int i = 0; !error && !are_merged(scene); i++) {
		if (i == 1000)
			return -ETIMEDOUT;
		usleep(10000);
	}
	return error;
}

static int unmerge(struct foreign_scene *scene)
{
	(void)scene;
	return foreign_setting(KSM "run", "2");
}

static void stop_ksm(struct foreign_scene *scene)
{
	(void)scene;
	foreign_set(KSM "run", "2");
	foreign_set(KSM "run", "0");
}

/* Of the first page; 0: it is not there. */
static uint64_t frame_of_owner(const struct foreign_scene *scene)
{
	uint64_t word = 0;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", scene->owner);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || pread(fd, &word, sizeof(word),
			    (off_t)((uintptr_t)scene->addr / page *
				    sizeof(word))) != sizeof(word))
		word = 0;
	close(fd);
	return word & 1ULL << 63 ? word & ((1ULL << 55) - 1) : 0;
}

/* --------------------------------------------- memory pressure, by a cgroup */

static int join_group(struct foreign_scene *scene)
{
	if (!foreign_has_swap())
		return foreign_lacking(scene, "no swap space");
	foreign_set(GROUPS "cgroup.subtree_control", "+memory");
	mkdir(GROUP, 0755);
	if (!foreign_set(GROUP "cgroup.procs", "0"))
		return foreign_lacking(scene, "no control group");
	return 0;
}

/*
 * The memory stays charged to the group.  Nobody is in it any more, for the
 * kernel holds up whoever is in a group that has too much.
 */
static int leave_memory(struct foreign_scene *scene)
{
	(void)scene;
	return foreign_setting(GROUPS "cgroup.procs", "0");
}

static void end_group(struct foreign_scene *scene)
{
	(void)scene;
	foreign_set(GROUPS "cgroup.procs", "0");
	rmdir(GROUP);
}

/* EAGAIN: not as much.  Pages that were just used get another chance. */
static int reclaim(struct foreign_scene *scene)
{
	int error = leave_memory(scene);

	for (int i = 0; !error && i < TRIES && frame_of_owner(scene); i++) {
		error = foreign_setting(GROUP "memory.reclaim", "4M");
		if (error == -EAGAIN)
			error = 0;
	}
	return error;
}

static int squeeze(struct foreign_scene *scene)
{
	int error = leave_memory(scene);

	for (int i = 0; !error && i < TRIES && frame_of_owner(scene); i++)
		error = foreign_setting(GROUP "memory.high", "0");
	return error ? error : foreign_setting(GROUP "memory.high", "max");
}

/* ---------------------------------------------------------------- migration */

static int compact(struct foreign_scene *scene)
{
	(void)scene;
	return foreign_setting("/proc/sys/vm/compact_memory", "1");
}

static int need_offline(struct foreign_scene *scene)
{
	return access(OFFLINE, W_OK) ? foreign_lacking(scene, "no " OFFLINE) :
				       0;
}

/* The kernel moves what is there, and never uses that frame again. */
static int take_offline(struct foreign_scene *scene)
{
	char where[32];

	snprintf(where, sizeof(where), "%#llx",
		 (unsigned long long)(frame_of_owner(scene) * page));
	return foreign_setting(OFFLINE, where);
}

static int need_nodes(struct foreign_scene *scene)
{
	if (access("/sys/devices/system/node/node1", F_OK))
		return foreign_lacking(scene,
				       "one NUMA node (boot with numa=fake=2)");
	return 0;
}

/* To each of the two nodes: from where it is, one of them is a move. */
static int move_pages(struct foreign_scene *scene)
{
	void **addrs = calloc(scene->pages, sizeof(*addrs));
	int *nodes = calloc(scene->pages, sizeof(*nodes));
	int *status = calloc(scene->pages, sizeof(*status));

	if (!addrs || !nodes || !status)
		return -ENOMEM;
	for (size_t i = 0; i < scene->pages; i++)
		addrs[i] = scene->addr + i * page;
	for (int node = 0; node < 2; node++) {
		for (size_t i = 0; i < scene->pages; i++)
			nodes[i] = node;
		if (syscall(SYS_move_pages, scene->owner, scene->pages, addrs,
			    nodes, status, MOVE_ALL) < 0)
			return -errno;
	}
	return 0;
}

const struct foreign_act foreign_kernel[] = {
	{ .name = "khugepaged",
	  .must = ON(ANONYMOUS) | ON(MEMFD),
	  .pages = HUGE_PAGES,
	  .settle = SETTLE,
	  .prepare = need_khugepaged,
	  .ready = allow_huge,
	  .run = wake_khugepaged,
	  .finish = calm_khugepaged },
	{ .name = "KSM merges",
	  .must = ON(ANONYMOUS),
	  .settle = SETTLE,
	  .prepare = need_ksm,
	  .ready = make_alike,
	  .run = run_ksm,
	  .finish = stop_ksm },
	{ .name = "KSM unmerges",
	  .must = ON(ANONYMOUS),
	  .prepare = need_ksm,
	  .ready = make_merged,
	  .run = unmerge,
	  .finish = stop_ksm },
	{ .name = "memory.reclaim",
	  .must = ON(ANONYMOUS) | ON(MEMFD),
	  .pages = HUGE_PAGES,
	  .prepare = join_group,
	  .ready = leave_memory,
	  .run = reclaim,
	  .finish = end_group },
	{ .name = "memory.high",
	  .must = ON(ANONYMOUS) | ON(MEMFD) | ON(FILE_COPIED),
	  .may = ON(THP) | ON(FILE_SHARED) | ON(FILE_PRIVATE),
	  .pages = HUGE_PAGES,
	  .prepare = join_group,
	  .ready = leave_memory,
	  .run = squeeze,
	  .finish = end_group },
	{ .name = "compaction",
	  .may = ON_BASE,
	  .pages = HUGE_PAGES,
	  .run = compact },
	{ .name = "soft offline",
	  .must = ON(ANONYMOUS) | ON(MEMFD),
	  .may = ON_ALL,
	  .prepare = need_offline,
	  .run = take_offline },
	{ .name = "move_pages by another process",
	  .must = ON_BASE,
	  .may = ON_HUGE,
	  .prepare = need_nodes,
	  .run = move_pages },
	{ .name = NULL },
};
