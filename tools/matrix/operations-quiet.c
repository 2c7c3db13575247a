/* SPDX-License-Identifier: MIT */
/*
 * operations-quiet.c - does what must not take a pinned page away.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "calls.h"
#include "matrix.h"

static int act_write(struct matrix_row *row)
{
	ummu_mapping_touch(row->mapping.addr, row->mapping.length);
	return 0;
}

static int child_writes(struct matrix_row *row)
{
	return ummu_row_in_child(row, "fork", act_write);
}

static int act_unmap(struct matrix_row *row)
{
	if (ummu_call_munmap(row->via, row->mapping.addr, row->mapping.length))
		return -errno;
	return 0;
}

static int child_unmaps(struct matrix_row *row)
{
	return ummu_row_in_child(row, "munmap", act_unmap);
}

static int act_dontneed(struct matrix_row *row)
{
	if (ummu_call_madvise(row->via, row->mapping.addr, row->mapping.length,
			      MADV_DONTNEED))
		return -errno;
	return 0;
}

static int child_gives_back(struct matrix_row *row)
{
	return ummu_row_in_child(row, "madvise", act_dontneed);
}

/* The parent writes while a child shares its pages. */
static int parent_writes(struct matrix_row *row)
{
	int pipe_fds[2], err;
	pid_t child;
	char byte;

	if (pipe2(pipe_fds, O_CLOEXEC))
		return ummu_row_refused(row, "pipe");
	child = fork();
	if (!child) {
		close(pipe_fds[1]);
		_exit(read(pipe_fds[0], &byte, 1) != 0);
	}
	close(pipe_fds[0]);
	if (child > 0)
		ummu_mapping_touch(row->mapping.addr, row->mapping.length);
	close(pipe_fds[1]);
	err = child < 0 ? ummu_row_refused(row, "fork") :
			  ummu_row_reap(row, child, "fork");
	return err;
}

static int protect(struct matrix_row *row, int prot)
{
	if (ummu_call_mprotect(row->via, row->hit.start, row->hit.length,
			       prot) ||
	    ummu_call_mprotect(row->via, row->hit.start, row->hit.length,
			       PROT_READ | PROT_WRITE))
		return ummu_row_refused(row, "mprotect");
	return 0;
}

static int protect_from_writes(struct matrix_row *row)
{
	return protect(row, PROT_READ);
}

static int protect_from_all(struct matrix_row *row)
{
	return protect(row, PROT_NONE);
}

static int aim_at_middle(struct matrix_row *row)
{
	size_t granule = row->mapping.granule;

	row->hit.start = row->mapping.addr +
			 row->mapping.length / 2 / granule * granule;
	row->hit.length = granule;
	return 0;
}

#define SOFT_DIRTY (1ULL << 55)

/* A page just written is soft-dirty, where the kernel keeps track. */
static int need_soft_dirty(struct matrix_row *row)
{
	off_t offset = (off_t)((uintptr_t)row->mapping.addr / ummu_page_size() *
			       sizeof(uint64_t));
	uint64_t word = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || pread(fd, &word, sizeof(word), offset) != sizeof(word))
		word = 0;
	if (fd >= 0)
		close(fd);
	if (word & SOFT_DIRTY)
		return 0;
	snprintf(row->reason, sizeof(row->reason),
		 "this kernel does not track soft-dirty pages");
	return -EOPNOTSUPP;
}

static int clear_soft_dirty(struct matrix_row *row)
{
	int err = 0, fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return ummu_row_refused(row, "/proc/self/clear_refs");
	if (write(fd, "4", 1) != 1)
		err = ummu_row_refused(row, "/proc/self/clear_refs");
	close(fd);
	return err;
}

static int cold(struct matrix_row *row)
{
	if (ummu_call_madvise(row->via, row->mapping.addr, row->mapping.length,
			      MADV_COLD))
		return ummu_row_refused(row, "madvise(MADV_COLD)");
	return 0;
}

static int lock(struct matrix_row *row)
{
	if (ummu_call_mlock(row->via, row->mapping.addr, row->mapping.length) ||
	    ummu_call_munlock(row->via, row->mapping.addr, row->mapping.length))
		return ummu_row_refused(row, "mlock");
	return 0;
}

static int dont_fork(struct matrix_row *row)
{
	int err;

	if (ummu_call_madvise(row->via, row->mapping.addr, row->mapping.length,
			      MADV_DONTFORK))
		return ummu_row_refused(row, "madvise(MADV_DONTFORK)");
	err = child_unmaps(row);
	if (ummu_call_madvise(row->via, row->mapping.addr, row->mapping.length,
			      MADV_DOFORK))
		return ummu_row_refused(row, "madvise(MADV_DOFORK)");
	return err;
}

/* Watch the first half; the last page of the same mapping will go. */
static int watch_half(struct matrix_row *row)
{
	size_t half = row->mapping.length / 2;

	row->watched[0].start = row->mapping.addr;
	row->watched[0].length = half;
	row->watches = 1;
	row->hit.start = row->mapping.addr + row->mapping.length -
			 row->mapping.granule;
	row->hit.length = row->mapping.granule;
	return 0;
}

static int unmap_neighbour(struct matrix_row *row)
{
	if (ummu_call_munmap(row->via, row->hit.start, row->hit.length))
		return ummu_row_refused(row, "munmap");
	return 0;
}

static int dontneed_neighbour(struct matrix_row *row)
{
	if (ummu_call_madvise(row->via, row->hit.start, row->hit.length,
			      MADV_DONTNEED))
		return ummu_row_refused(row, "madvise(MADV_DONTNEED)");
	return 0;
}

/* The rows of the list that only differ in what is run. */
#define QUIET(what, by, before, does)                                          \
	{                                                                      \
		.name = what, .class = NO_CLASS, .quiet = true,                \
		.kinds = ON_EVERY, .vias = by, .prepare = before, .run = does, \
	}

const struct matrix_operation ummu_quiet_operations[] = {
	QUIET("fork, child writes", BY_LIBC, NULL, child_writes),
	{
		/* a copy is made of a page that is not pinned */
		.name = "fork, parent writes",
		.class = NO_CLASS,
		.quiet = true,
		.needs_pin = true,
		.kinds = ON_EVERY,
		.vias = BY_LIBC,
		.run = parent_writes,
	},
	QUIET("fork, child unmaps", BY_BOTH, NULL, child_unmaps),
	QUIET("fork, child gives back", BY_BOTH, NULL, child_gives_back),
	QUIET("mprotect READ", BY_BOTH, NULL, protect_from_writes),
	QUIET("mprotect NONE", BY_BOTH, NULL, protect_from_all),
	QUIET("mprotect a part", BY_BOTH, aim_at_middle, protect_from_writes),
	QUIET("clear_refs, soft-dirty", BY_LIBC, need_soft_dirty,
	      clear_soft_dirty),
	QUIET("madvise COLD", BY_BOTH, NULL, cold),
	QUIET("mlock and munlock", BY_BOTH, NULL, lock),
	QUIET("madvise DONTFORK", BY_BOTH, NULL, dont_fork),
	QUIET("munmap of a neighbour", BY_BOTH, watch_half, unmap_neighbour),
	QUIET("DONTNEED of a neighbour", BY_BOTH, watch_half,
	      dontneed_neighbour),
	{ .name = NULL },
};
