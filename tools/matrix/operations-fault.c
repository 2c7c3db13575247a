/* SPDX-License-Identifier: MIT */
/*
 * operations-fault.c - brings in another userfaultfd than the monitor's.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/userfaultfd.h>

#include "calls.h"
#include "matrix.h"

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

/* Linux 5.19, 6.4, 6.7 and 6.8; not in the headers of Debian 12. */
#define FEATURE_WP_HUGETLBFS_SHMEM (1ULL << 12)
#define FEATURE_WP_UNPOPULATED (1ULL << 13)
#define FEATURE_WP_ASYNC (1ULL << 15)
#define FEATURE_MOVE (1ULL << 16)

struct move_request {
	__u64 to;
	__u64 from;
	__u64 length;
	__u64 mode;
	__s64 moved;
};

#define MOVE_REQUEST _IOWR(UFFDIO, 0x05, struct move_request)

/* A userfaultfd with these features; -1 and errno. */
static int open_with(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int err,
		fd = (int)syscall(SYS_userfaultfd,
				  O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	if (fd < 0 || !ioctl(fd, UFFDIO_API, &api))
		return fd;
	err = errno;
	close(fd);
	errno = err;
	return -1;
}

static int own(struct matrix_row *row, char *addr, uint64_t mode)
{
	struct uffdio_register range = {
		.range = { .start = (uintptr_t)addr,
			   .len = row->mapping.length },
		.mode = mode,
	};

	if (ioctl(row->other_fd, UFFDIO_REGISTER, &range))
		return ummu_row_refused(row, "UFFDIO_REGISTER");
	return 0;
}

/* One that may own every kind of mapping, where the kernel has it. */
static int open_plain(struct matrix_row *row)
{
	static const uint64_t features[] = {
		UFFD_FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_HUGETLBFS_SHMEM |
			FEATURE_WP_UNPOPULATED | FEATURE_WP_ASYNC,
		UFFD_FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_HUGETLBFS_SHMEM,
		UFFD_FEATURE_PAGEFAULT_FLAG_WP,
	};
	size_t i;

	for (i = 0; i < sizeof(features) / sizeof(*features); i++) {
		row->other_fd = open_with(features[i]);
		if (row->other_fd >= 0)
			return 0;
	}
	return ummu_row_refused(row, "userfaultfd");
}

/* The application's own userfaultfd was there first. */
static int other_owns(struct matrix_row *row)
{
	int err = open_plain(row);

	return err ? err : own(row, row->mapping.addr, UFFDIO_REGISTER_MODE_WP);
}

static int dontneed(struct matrix_row *row)
{
	if (ummu_call_madvise(row->via, row->mapping.addr, row->mapping.length,
			      MADV_DONTNEED))
		return ummu_row_refused(row, "madvise(MADV_DONTNEED)");
	return 0;
}

/* And here it comes later: it may get EBUSY, and must take nothing away. */
static int other_registers(struct matrix_row *row)
{
	return own(row, row->mapping.addr, UFFDIO_REGISTER_MODE_WP);
}

static int prepare_move(struct matrix_row *row)
{
	size_t align = row->mapping.granule;

	if (row->kind == KIND_THP)
		align = row->mapping.length / 2;
	row->other_fd = open_with(FEATURE_MOVE);
	if (row->other_fd < 0)
		return ummu_row_refused(row, "userfaultfd with UFFDIO_MOVE");
	row->other = ummu_mapping_reserve(row->mapping.length, align);
	if (!row->other ||
	    mmap(row->other, row->mapping.length, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		return ummu_row_refused(row, "mmap");
	return own(row, row->other, UFFDIO_REGISTER_MODE_MISSING);
}

/* The kernel moves no page that is pinned. */
static int move_pages(struct matrix_row *row)
{
	struct move_request request = {
		.to = (uintptr_t)row->other,
		.from = (uintptr_t)row->mapping.addr,
		.length = row->mapping.length,
	};

	if (ioctl(row->other_fd, MOVE_REQUEST, &request))
		return ummu_row_refused(row, "UFFDIO_MOVE");
	return 0;
}

const struct matrix_operation ummu_fault_operations[] = {
	{
		.name = "UFFDIO_MOVE",
		.class = UMMU_OP_UFFDIO_MOVE,
		.refusal = true,
		.kinds = ON(KIND_ANONYMOUS) | ON(KIND_THP),
		.vias = BY_LIBC,
		.prepare = prepare_move,
		.run = move_pages,
	},
	{
		.name = "another userfaultfd first",
		.class = UMMU_OP_MADV_DONTNEED,
		.kinds = ON_EVERY,
		.vias = BY_LIBC,
		.prepare = other_owns,
		.run = dontneed,
	},
	{
		.name = "another userfaultfd later",
		.class = NO_CLASS,
		.refusal = true,
		.kinds = ON_EVERY,
		.vias = BY_LIBC,
		.prepare = open_plain,
		.run = other_registers,
	},
	{ .name = NULL },
};
