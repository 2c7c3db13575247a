/* SPDX-License-Identifier: MIT */
/* foreign-sharers.c - children that share pages, and who reaches into memory. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device.h"
#include "foreign.h"

static int just_exit(struct foreign_scene *scene)
{
	(void)scene;
	return 0;
}

static int unmap_own(struct foreign_scene *scene)
{
	return munmap(scene->addr, foreign_length(scene)) ? -errno : 0;
}

/* Its copies are its own; of shared memory there are none. */
static int write_own(struct foreign_scene *scene)
{
	for (size_t i = 0; i < scene->pages; i++)
		*(volatile char *)(scene->addr + i * page) = 1;
	return 0;
}

static int with_owner_stopped(struct foreign_scene *scene,
			      int (*act)(struct foreign_scene *scene))
{
	int error, status;

	if (ptrace(PTRACE_ATTACH, scene->owner, NULL, NULL))
		return -errno;
	if (waitpid(scene->owner, &status, __WALL) != scene->owner)
		return -errno;
	error = act(scene);
	ptrace(PTRACE_DETACH, scene->owner, NULL, NULL);
	return error;
}

/* As a debugger sets breakpoints. */
static int poke_pages(struct foreign_scene *scene)
{
	for (size_t i = 0; i < scene->pages; i++)
		if (ptrace(PTRACE_POKEDATA, scene->owner,
			   scene->addr + i * page, (void *)1))
			return -errno;
	return 0;
}

static int poke(struct foreign_scene *scene)
{
	return with_owner_stopped(scene, poke_pages);
}

static int write_to_owner(struct foreign_scene *scene, const char *file,
			  const char *what, off_t where)
{
	ssize_t length = (ssize_t)strlen(what), written;
	char path[64];
	int fd, error;

	snprintf(path, sizeof(path), "/proc/%d/%s", scene->owner, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	written = pwrite(fd, what, (size_t)length, where);
	error = written == length ? 0 : written < 0 ? -errno : -EIO;
	close(fd);
	return error;
}

static int write_memory(struct foreign_scene *scene)
{
	int error = 0;

	for (size_t i = 0; i < scene->pages && !error; i++)
		error = write_to_owner(scene, "mem", "x",
				       (off_t)(uintptr_t)(scene->addr +
							  i * page));
	return error;
}

static int clear_referenced(struct foreign_scene *scene)
{
	return write_to_owner(scene, "clear_refs", "1\n", 0);
}

static int clear_soft_dirty(struct foreign_scene *scene)
{
	return write_to_owner(scene, "clear_refs", "4\n", 0);
}

const struct foreign_act foreign_sharers[] = {
	{ .name = "exit of a sharer",
	  .quiet = ON_ALL,
	  .actor = FOREIGN_SHARER,
	  .run = just_exit },
	{ .name = "munmap by a sharer",
	  .quiet = ON(ANONYMOUS) | ON(THP) | ON(MEMFD),
	  .actor = FOREIGN_SHARER,
	  .run = unmap_own },
	{ .name = "write by a sharer",
	  .quiet = ON_ALL,
	  .actor = FOREIGN_SHARER,
	  .run = write_own },
	{ .name = "ptrace POKE",
	  .must = ON(FILE_PRIVATE),
	  .quiet = ON_BASE & ~ON(FILE_PRIVATE),
	  .run = poke },
	{ .name = "ptrace POKE, page shared by fork",
	  .must = ON(ANONYMOUS) | ON(FILE_COPIED) | ON(FILE_PRIVATE),
	  .may = ON(THP),
	  .actor = FOREIGN_SHARER,
	  .run = poke },
	{ .name = "write to /proc/PID/mem",
	  .must = ON(FILE_PRIVATE),
	  .quiet = ON(ANONYMOUS),
	  .run = write_memory },
	{ .name = "clear_refs 1",
	  .quiet = ON(ANONYMOUS) | ON(THP) | ON(MEMFD),
	  .run = clear_referenced },
	{ .name = "clear_refs 4",
	  .quiet = ON_BASE | ON(THP),
	  .run = clear_soft_dirty },
	{ .name = NULL },
};
