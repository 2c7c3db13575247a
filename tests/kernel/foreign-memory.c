/* SPDX-License-Identifier: MIT */
/* foreign-memory.c - makes memory of each kind, every page of it mapped. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "device.h"
#include "foreign.h"
#include "frames.h"

#define FEW 64
#define RESERVE ((size_t)1 << 30)

static const char *const names[] = {
	[FOREIGN_ANONYMOUS] = "anonymous",
	[FOREIGN_THP] = "THP",
	[FOREIGN_MEMFD] = "memfd",
	[FOREIGN_FILE_SHARED] = "file, shared",
	[FOREIGN_FILE_PRIVATE] = "file, private",
	[FOREIGN_FILE_COPIED] = "file, copied",
	[FOREIGN_HUGETLB_SHARED] = "hugetlb",
	[FOREIGN_HUGETLB_PRIVATE] = "hugetlb private",
};

const char *foreign_kind_name(enum foreign_kind kind)
{
	return names[kind];
}

size_t foreign_length(const struct foreign_scene *scene)
{
	return scene->pages * page;
}

static bool is_on(const struct foreign_scene *scene, unsigned int kinds)
{
	return kinds & 1U << scene->kind;
}

static int make_file(const struct foreign_scene *scene)
{
	if (is_on(scene, ON(MEMFD)))
		return memfd_create("foreign", MFD_CLOEXEC);
	if (is_on(scene, ON(HUGETLB_SHARED) | ON(HUGETLB_PRIVATE)))
		return memfd_create("foreign", MFD_CLOEXEC | MFD_HUGETLB);
	return open(foreign_directory(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

/* Contents differ from page to page, so that nobody merges them. */
static int fill_file(const struct foreign_scene *scene)
{
	uint64_t content[512];

	for (size_t i = 0; i < scene->pages; i++) {
		memset(content, 0, sizeof(content));
		content[0] = i + 1;
		if (pwrite(scene->file, content, page, (off_t)(i * page)) !=
		    (ssize_t)page)
			return -errno;
	}
	return 0;
}

static int plan_file(struct foreign_scene *scene)
{
	scene->file = make_file(scene);
	if (scene->file < 0 ||
	    ftruncate(scene->file, (off_t)foreign_length(scene)))
		return -errno;
	/* Nobody writes to hugetlb but through a mapping. */
	return scene->huge ? 0 : fill_file(scene);
}

/** foreign_memory_plan - where it will be, and its file; before it is mapped. */
int foreign_memory_plan(struct foreign_scene *scene)
{
	char *hole = mmap(NULL, RESERVE, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (hole == MAP_FAILED)
		return -errno;
	munmap(hole, RESERVE);
	scene->addr = (char *)(((uintptr_t)hole + RESERVE / 2) & -FOREIGN_HUGE);
	scene->huge = is_on(scene, ON_HUGE);
	scene->pages = scene->huge	 ? FOREIGN_HUGE / page :
		       scene->act->pages ? scene->act->pages :
					   FEW;
	scene->file = -1;
	return is_on(scene, ON(ANONYMOUS) | ON(THP)) ? 0 : plan_file(scene);
}

static bool is_huge_page(const struct foreign_scene *scene)
{
	size_t pages = FOREIGN_HUGE / page;
	uint64_t *frames = calloc(pages, sizeof(*frames));
	bool huge = frames != NULL;

	if (!frames)
		return false;
	frames_read(scene->addr, pages, frames);
	for (size_t i = 0; i < pages; i++)
		huge &= frames[i] == frames[0] + i;
	huge &= frames[0] % pages == 0;
	free(frames);
	return huge;
}

static void touch(const struct foreign_scene *scene)
{
	for (size_t i = 0; i < scene->pages; i++) {
		volatile uint64_t *at = (volatile uint64_t *)(scene->addr +
							      i * page);

		if (is_on(scene, ON(FILE_PRIVATE)))
			(void)*at;
		else
			*at = i + 1;
	}
}

/** foreign_memory_make - 0 or -errno; -ENOMEM if there is no huge page. */
int foreign_memory_make(struct foreign_scene *scene)
{
	int flags = MAP_FIXED_NOREPLACE;
	size_t length = foreign_length(scene);

	if (is_on(scene, ON_SHARED_FILES))
		flags |= MAP_SHARED;
	else
		flags |= MAP_PRIVATE | (scene->file < 0 ? MAP_ANONYMOUS : 0);
	if (mmap(scene->addr, length, PROT_READ | PROT_WRITE, flags,
		 scene->file, 0) != scene->addr)
		return -errno;
	if (scene->kind == FOREIGN_THP)
		madvise(scene->addr, length, MADV_HUGEPAGE);
	else if (!scene->huge)
		madvise(scene->addr, length, MADV_NOHUGEPAGE);
	touch(scene);
	return !scene->huge || is_huge_page(scene) ? 0 : -ENOMEM;
}
