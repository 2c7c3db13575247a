/* SPDX-License-Identifier: MIT */
/*
 * operations-advise.c - gives pages back and keeps the mapping: madvise.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "calls.h"
#include "matrix.h"

static int advise(struct matrix_row *row, int advice, const char *call)
{
	if (ummu_call_madvise(row->via, row->hit.start, row->hit.length, advice))
		return ummu_row_refused(row, call);
	return 0;
}

static int dontneed(struct matrix_row *row)
{
	return advise(row, MADV_DONTNEED, "madvise(MADV_DONTNEED)");
}

static int aim_at_part(struct matrix_row *row)
{
	size_t granule = row->mapping.granule;

	row->hit.start = row->mapping.addr +
			 row->mapping.length / 2 / granule * granule;
	row->hit.length = granule;
	return 0;
}

static int lock(struct matrix_row *row)
{
	if (mlock(row->mapping.addr, row->mapping.length))
		return ummu_row_refused(row, "mlock");
	return 0;
}

static int dontneed_locked(struct matrix_row *row)
{
	return advise(row, MADV_DONTNEED_LOCKED,
		      "madvise(MADV_DONTNEED_LOCKED)");
}

static int remove_pages(struct matrix_row *row)
{
	return advise(row, MADV_REMOVE, "madvise(MADV_REMOVE)");
}

static int free_lazily(struct matrix_row *row)
{
	return advise(row, MADV_FREE, "madvise(MADV_FREE)");
}

static int guard(struct matrix_row *row)
{
	return advise(row, MADV_GUARD_INSTALL, "madvise(MADV_GUARD_INSTALL)");
}

/* The mapping was made of base pages by MADV_NOHUGEPAGE. */
static int allow_huge(struct matrix_row *row)
{
	if (madvise(row->mapping.addr, row->mapping.length, MADV_HUGEPAGE))
		return ummu_row_refused(row, "madvise(MADV_HUGEPAGE)");
	return 0;
}

static int collapse(struct matrix_row *row)
{
	return advise(row, MADV_COLLAPSE, "madvise(MADV_COLLAPSE)");
}

#define KHUGEPAGED "/sys/kernel/mm/transparent_hugepage/khugepaged/"

/* Wait until khugepaged has been over all memory, with a short sleep. */
static int let_khugepaged_look(struct matrix_row *row)
{
	static const struct timespec moment = { .tv_nsec = 20 * 1000 * 1000 };
	unsigned long sleep_was, before, now;
	int waits;

	if (!ummu_mapping_detail(row->mapping.addr, "THPeligible: %lu")) {
		snprintf(row->reason, sizeof(row->reason),
			 "khugepaged does not look at this mapping here");
		return -EOPNOTSUPP;
	}
	if (!ummu_setting_read(KHUGEPAGED "full_scans", &before) ||
	    !ummu_setting_read(KHUGEPAGED "scan_sleep_millisecs", &sleep_was) ||
	    !ummu_setting_write(KHUGEPAGED "scan_sleep_millisecs", 10))
		return ummu_row_refused(row,
					"making khugepaged look (needs root)");

	now = before;
	for (waits = 0; waits < 150 && now < before + 2; waits++) {
		nanosleep(&moment, NULL);
		ummu_setting_read(KHUGEPAGED "full_scans", &now);
	}
	ummu_setting_write(KHUGEPAGED "scan_sleep_millisecs", sleep_was);
	errno = ETIME;
	return now < before + 2 ? ummu_row_refused(row, "khugepaged") : 0;
}

/*
 * The child runs in this process's memory while this thread waits.  It may
 * only make system calls and end.
 */
static int in_vfork_child(struct matrix_row *row, bool unmap)
{
	pid_t child = vfork();
	int failed;

	if (child < 0)
		return ummu_row_refused(row, "vfork");
	if (!child) {
		if (unmap)
			failed = ummu_call_munmap(row->via, row->mapping.addr,
						  row->mapping.length);
		else
			failed = ummu_call_madvise(row->via, row->mapping.addr,
						   row->mapping.length,
						   MADV_DONTNEED);
		_exit(failed ? errno : 0);
	}
	return ummu_row_reap(row, child, unmap ? "munmap" : "madvise");
}

static int vfork_dontneed(struct matrix_row *row)
{
	return in_vfork_child(row, false);
}

static int vfork_unmap(struct matrix_row *row)
{
	return in_vfork_child(row, true);
}

/* By this process on itself: newer kernels take every advice this way. */
static int process_dontneed(struct matrix_row *row)
{
	int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	int err = 0;

	if (pidfd < 0)
		return ummu_row_refused(row, "pidfd_open");
	if (ummu_call_process_madvise(row->via, pidfd, row->mapping.addr,
				      row->mapping.length, MADV_DONTNEED) < 0)
		err = ummu_row_refused(row, "process_madvise(MADV_DONTNEED)");
	close(pidfd);
	return err;
}

const struct matrix_operation ummu_advise_operations[] = {
	{
		.name = "madvise DONTNEED",
		.class = UMMU_OP_MADV_DONTNEED,
		.kinds = ON_EVERY,
		.vias = BY_BOTH,
		.run = dontneed,
	},
	{
		.name = "madvise DONTNEED a part",
		.class = UMMU_OP_MADV_DONTNEED,
		.kinds = ON_EVERY,
		.vias = BY_BOTH,
		.prepare = aim_at_part,
		.run = dontneed,
	},
	{
		.name = "madvise DONTNEED_LOCKED",
		.class = UMMU_OP_MADV_DONTNEED_LOCKED,
		.kinds = ON_EVERY,
		.vias = BY_BOTH,
		.prepare = lock,
		.run = dontneed_locked,
	},
	{
		.name = "madvise REMOVE",
		.class = UMMU_OP_MADV_REMOVE,
		.kinds = ON_EVERY,
		.vias = BY_BOTH,
		.run = remove_pages,
	},
	{
		.name = "madvise FREE",
		.class = UMMU_OP_MADV_FREE,
		.kinds = ON_EVERY,
		.vias = BY_BOTH,
		.run = free_lazily,
	},
	{
		.name = "madvise GUARD_INSTALL",
		.class = UMMU_OP_MADV_GUARD,
		.kinds = ON_EVERY,
		.vias = BY_BOTH,
		.run = guard,
	},
	{
		.name = "madvise COLLAPSE",
		.class = UMMU_OP_COLLAPSE,
		.refusal = true,
		.needs_pin = true,
		.kinds = ON_EVERY & ~ON(KIND_THP) & ~ON_HUGETLB,
		.vias = BY_BOTH,
		.huge = true,
		.prepare = allow_huge,
		.run = collapse,
	},
	{
		.name = "khugepaged",
		.class = UMMU_OP_COLLAPSE,
		.needs_pin = true,
		.kinds = ON_EVERY & ~ON(KIND_THP) & ~ON_HUGETLB,
		.vias = BY_LIBC,
		.huge = true,
		.prepare = allow_huge,
		.run = let_khugepaged_look,
	},
	{
		.name = "process_madvise DONTNEED",
		.class = UMMU_OP_MADV_DONTNEED,
		.kinds = ON_EVERY,
		.vias = BY_BOTH,
		.run = process_dontneed,
	},
	{
		.name = "vfork child's madvise",
		.class = UMMU_OP_MADV_DONTNEED,
		.kinds = ON_EVERY,
		.vias = BY_BOTH,
		.run = vfork_dontneed,
	},
	{
		.name = "vfork child's munmap",
		.class = UMMU_OP_MUNMAP,
		.kinds = ON_EVERY,
		.vias = BY_BOTH,
		.run = vfork_unmap,
	},
	{ .name = NULL },
};
