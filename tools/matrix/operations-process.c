/* SPDX-License-Identifier: MIT */
/*
 * operations-process.c - has another process act on this one's memory.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "calls.h"
#include "matrix.h"

static int advise_parent(struct matrix_row *row, int advice)
{
	if (ummu_call_process_madvise(row->via, row->other_fd, row->mapping.addr,
				      row->mapping.length, advice) < 0)
		return -errno;
	return 0;
}

static int act_dontneed(struct matrix_row *row)
{
	return advise_parent(row, MADV_DONTNEED);
}

static int act_pageout(struct matrix_row *row)
{
	return advise_parent(row, MADV_PAGEOUT);
}

static int act_cold(struct matrix_row *row)
{
	return advise_parent(row, MADV_COLD);
}

static int act_collapse(struct matrix_row *row)
{
	return advise_parent(row, MADV_COLLAPSE);
}

static int open_self(struct matrix_row *row)
{
	row->other_fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	return row->other_fd < 0 ? ummu_row_refused(row, "pidfd_open") : 0;
}

static int prepare_collapse(struct matrix_row *row)
{
	if (madvise(row->mapping.addr, row->mapping.length, MADV_HUGEPAGE))
		return ummu_row_refused(row, "madvise(MADV_HUGEPAGE)");
	return open_self(row);
}

static int dontneed_by_other(struct matrix_row *row)
{
	return ummu_row_in_child(row, "process_madvise(MADV_DONTNEED)",
				 act_dontneed);
}

static int pageout_by_other(struct matrix_row *row)
{
	return ummu_row_in_child(row, "process_madvise(MADV_PAGEOUT)",
				 act_pageout);
}

static int cold_by_other(struct matrix_row *row)
{
	return ummu_row_in_child(row, "process_madvise(MADV_COLD)", act_cold);
}

static int collapse_by_other(struct matrix_row *row)
{
	return ummu_row_in_child(row, "process_madvise(MADV_COLLAPSE)",
				 act_collapse);
}

/*
 * The children below leave.  What they do to their own memory, a copy or the
 * parent's for a while, must not be taken for the parent's.
 */
static int vfork_exit(struct matrix_row *row)
{
	pid_t child = vfork();

	if (child < 0)
		return ummu_row_refused(row, "vfork");
	if (!child)
		_exit(0);
	return ummu_row_reap(row, child, "exit");
}

static int vfork_exec(struct matrix_row *row)
{
	static char *const argv[] = { "true", NULL };
	pid_t child = vfork();

	if (child < 0)
		return ummu_row_refused(row, "vfork");
	if (!child) {
		if (row->via == VIA_LIBC)
			execvp("true", argv);
		else
			syscall(SYS_execve, "/bin/true", argv, environ);
		_exit(errno);
	}
	return ummu_row_reap(row, child, "exec");
}

static int act_nothing(struct matrix_row *row)
{
	(void)row;
	return 0;
}

static int act_exec(struct matrix_row *row)
{
	static char *const argv[] = { "true", NULL };

	if (row->via == VIA_LIBC)
		execvp("true", argv);
	else
		syscall(SYS_execve, "/bin/true", argv, environ);
	return -errno;
}

static int fork_exit(struct matrix_row *row)
{
	return ummu_row_in_child(row, "exit", act_nothing);
}

static int fork_exec(struct matrix_row *row)
{
	return ummu_row_in_child(row, "exec", act_exec);
}

const struct matrix_operation ummu_process_operations[] = {
	{
		.name = "DONTNEED by another process",
		.class = UMMU_OP_PROCESS_MADVISE,
		.kinds = ON_EVERY,
		.vias = BY_BOTH,
		.prepare = open_self,
		.run = dontneed_by_other,
	},
	{
		.name = "PAGEOUT by another process",
		.class = UMMU_OP_PROCESS_MADVISE,
		.needs_pin = true,
		.kinds = ON_EVERY,
		.vias = BY_BOTH,
		.prepare = open_self,
		.run = pageout_by_other,
	},
	{
		.name = "COLLAPSE by another process",
		.class = UMMU_OP_COLLAPSE,
		.refusal = true,
		.needs_pin = true,
		.kinds = ON_EVERY & ~ON(KIND_THP) & ~ON_HUGETLB,
		.vias = BY_BOTH,
		.huge = true,
		.prepare = prepare_collapse,
		.run = collapse_by_other,
	},
	{
		.name = "COLD by another process",
		.class = NO_CLASS,
		.quiet = true,
		.needs_pin = true,
		.kinds = ON_EVERY,
		.vias = BY_BOTH,
		.prepare = open_self,
		.run = cold_by_other,
	},
	{
		.name = "exit of a vfork child",
		.class = NO_CLASS,
		.quiet = true,
		.kinds = ON_EVERY,
		.vias = BY_LIBC,
		.run = vfork_exit,
	},
	{
		.name = "exec of a vfork child",
		.class = NO_CLASS,
		.quiet = true,
		.kinds = ON_EVERY,
		.vias = BY_BOTH,
		.run = vfork_exec,
	},
	{
		.name = "exit of a fork child",
		.class = NO_CLASS,
		.quiet = true,
		.kinds = ON_EVERY,
		.vias = BY_LIBC,
		.run = fork_exit,
	},
	{
		.name = "exec of a fork child",
		.class = NO_CLASS,
		.quiet = true,
		.kinds = ON_EVERY,
		.vias = BY_BOTH,
		.run = fork_exec,
	},
	{ .name = NULL },
};
