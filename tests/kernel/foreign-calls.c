/* SPDX-License-Identifier: MIT */
/* foreign-calls.c - system calls by which others change memory. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "device.h"
#include "foreign.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define HUGE_PAGES (FOREIGN_HUGE / 4096)
#define MUCH 8192 /* pages; long enough to be looked at on the way */

static int advise_owner(struct foreign_scene *scene, int advice)
{
	struct iovec range = { .iov_base = scene->addr,
			       .iov_len = foreign_length(scene) };
	int owner = (int)syscall(SYS_pidfd_open, scene->owner, 0);

	if (owner < 0)
		return -errno;
	return syscall(SYS_process_madvise, owner, &range, 1, advice, 0) < 0 ?
		       -errno :
		       0;
}

static int collapse(struct foreign_scene *scene)
{
	return advise_owner(scene, MADV_COLLAPSE);
}

static int page_out(struct foreign_scene *scene)
{
	return advise_owner(scene, MADV_PAGEOUT);
}

static int cool(struct foreign_scene *scene)
{
	return advise_owner(scene, MADV_COLD);
}

static int give_back_owners(struct foreign_scene *scene)
{
	return advise_owner(scene, MADV_DONTNEED);
}

static int need_swap(struct foreign_scene *scene)
{
	return foreign_has_swap() ? 0 : foreign_lacking(scene, "no swap space");
}

static int allow_huge(struct foreign_scene *scene)
{
	return madvise(scene->addr, foreign_length(scene), MADV_HUGEPAGE) ?
		       -errno :
		       0;
}

/* --------------------------------------- borrowers, in the owner's memory */

static int give_back(struct foreign_scene *scene)
{
	return madvise(scene->addr, foreign_length(scene), MADV_DONTNEED) ?
		       -errno :
		       0;
}

static int unmap(struct foreign_scene *scene)
{
	return munmap(scene->addr, foreign_length(scene)) ? -errno : 0;
}

static int map_over(struct foreign_scene *scene)
{
	return mmap(scene->addr, foreign_length(scene), PROT_READ,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		    0) == MAP_FAILED ?
		       -errno :
		       0;
}

static int move_away(struct foreign_scene *scene)
{
	size_t length = foreign_length(scene);

	return mremap(scene->addr, length, length,
		      MREMAP_MAYMOVE | MREMAP_FIXED,
		      scene->addr + 16 * FOREIGN_HUGE) == MAP_FAILED ?
		       -errno :
		       0;
}

static int protect(struct foreign_scene *scene)
{
	return mprotect(scene->addr, foreign_length(scene), PROT_READ) ?
		       -errno :
		       0;
}

/* ----------------------------------------------- who has nothing but a file */

static int truncate_file(struct foreign_scene *scene)
{
	return ftruncate(scene->file, 0) ? -errno : 0;
}

static int punch(struct foreign_scene *scene)
{
	return fallocate(scene->file,
			 FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			 (off_t)foreign_length(scene)) ?
		       -errno :
		       0;
}

static int write_back(struct foreign_scene *scene)
{
	return fsync(scene->file) ? -errno : 0;
}

/* Others' dirty page cache stays where it is too. */
static int write_file(struct foreign_scene *scene)
{
	return pwrite(scene->file, "written", 7, 0) == 7 ? 0 : -errno;
}

const struct foreign_act foreign_calls[] = {
	{ .name = "process_madvise COLLAPSE",
	  .must = ON(ANONYMOUS),
	  .may = ON(MEMFD) | ON(FILE_COPIED),
	  .pages = HUGE_PAGES,
	  .ready = allow_huge,
	  .run = collapse },
	{ .name = "process_madvise PAGEOUT",
	  .must = ON_BASE | ON(THP),
	  .may = ON(HUGETLB_SHARED),
	  .prepare = need_swap,
	  .run = page_out },
	{ .name = "process_madvise COLD",
	  .quiet = ON(ANONYMOUS) | ON(THP) | ON(MEMFD),
	  .run = cool },
	{ .name = "process_madvise DONTNEED",
	  .may = ON(ANONYMOUS) | ON(THP) | ON(MEMFD),
	  .run = give_back_owners },
	{ .name = "borrower's DONTNEED",
	  .must = ON_ALL,
	  .actor = FOREIGN_BORROWER,
	  .pages = HUGE_PAGES,
	  .run = give_back },
	{ .name = "borrower's DONTNEED of much",
	  .must = ON(ANONYMOUS),
	  .actor = FOREIGN_BORROWER,
	  .pages = MUCH,
	  .run = give_back },
	{ .name = "borrower's munmap",
	  .must = ON_ALL,
	  .actor = FOREIGN_BORROWER,
	  .pages = HUGE_PAGES,
	  .unseen = true,
	  .run = unmap },
	{ .name = "borrower's mmap over it",
	  .must = ON(ANONYMOUS) | ON(THP) | ON(MEMFD),
	  .actor = FOREIGN_BORROWER,
	  .run = map_over },
	{ .name = "borrower's mremap",
	  .must = ON_ALL & ~ON(FILE_SHARED),
	  .actor = FOREIGN_BORROWER,
	  .run = move_away },
	{ .name = "borrower's mprotect",
	  .quiet = ON_BASE | ON(THP),
	  .actor = FOREIGN_BORROWER,
	  .run = protect },
	{ .name = "vfork child's DONTNEED",
	  .must = ON_ALL,
	  .actor = FOREIGN_VFORK,
	  .run = give_back },
	{ .name = "vfork child's munmap",
	  .must = ON(ANONYMOUS) | ON(THP) | ON(MEMFD),
	  .actor = FOREIGN_VFORK,
	  .unseen = true,
	  .run = unmap },
	{ .name = "ftruncate by another process",
	  .must = ON_SHARED_FILES | ON(FILE_PRIVATE) | ON(FILE_COPIED) |
		  ON(HUGETLB_PRIVATE),
	  .pages = HUGE_PAGES,
	  .run = truncate_file },
	{ .name = "PUNCH_HOLE by another process",
	  .must = ON_SHARED_FILES | ON(FILE_PRIVATE),
	  .may = ON(FILE_COPIED),
	  .pages = HUGE_PAGES,
	  .run = punch },
	{ .name = "fsync by another process",
	  .quiet = ON(MEMFD) | ON(FILE_SHARED) | ON(FILE_PRIVATE) |
		   ON(FILE_COPIED),
	  .run = write_back },
	{ .name = "write() by another process",
	  .quiet = ON(MEMFD) | ON(FILE_SHARED) | ON(FILE_PRIVATE) |
		   ON(FILE_COPIED),
	  .run = write_file },
	{ .name = NULL },
};
