/* SPDX-License-Identifier: MIT */
/*
 * demo-scratch.c - files without a name for the copies that the demo makes.
 *
 * A file without a name is freed by the kernel when the program ends, however
 * it ends: an interrupt or a crash leaves nothing behind.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "demo.h"

int demo_scratch_folder(const char *wanted, uint64_t bytes,
			const char **folder_p)
{
	const char *folder = wanted;
	struct statvfs fs;
	uint64_t free_bytes;

	if (!folder)
		folder = getenv("TMPDIR");
	if (!folder || !*folder)
		folder = "/var/tmp";
	if (statvfs(folder, &fs)) {
		int ret = -errno;

		demo_say("cannot use %s for the copies: %s", folder,
			 strerror(errno));
		return ret;
	}
	free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (free_bytes < bytes) {
		demo_say("%s has %llu MiB free and the demo needs %llu MiB; "
			 "name another folder with --directory, or a smaller "
			 "FILE",
			 folder, (unsigned long long)free_bytes >> 20,
			 (unsigned long long)bytes >> 20);
		return -ENOSPC;
	}
	*folder_p = folder;
	return 0;
}

/* For filesystems without O_TMPFILE; no signal may end us in between. */
static int make_and_unlink(const char *folder)
{
	char path[PATH_MAX];
	sigset_t all, before;
	int fd;

	if (snprintf(path, sizeof(path), "%s/ummunotify-demo-XXXXXX", folder) >=
	    (int)sizeof(path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return fd;
}

static int open_nameless(const char *folder)
{
	int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0 &&
	    (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL))
		fd = make_and_unlink(folder);
	return fd;
}

static int reserve(int fd, uint64_t bytes)
{
	if (!fallocate(fd, 0, 0, (off_t)bytes))
		return 0;
	if (errno == EOPNOTSUPP && !ftruncate(fd, (off_t)bytes))
		return 0;
	return -errno;
}

/* Some filesystems take O_DIRECT and refuse the first write. */
static bool writes_directly(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	void *block;
	bool works;

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_DIRECT))
		return false;
	if (posix_memalign(&block, DEMO_BLOCK, DEMO_BLOCK))
		return false;
	memset(block, 0, DEMO_BLOCK);
	works = pwrite(fd, block, DEMO_BLOCK, 0) == DEMO_BLOCK;
	free(block);
	if (!works)
		fcntl(fd, F_SETFL, flags);
	return works;
}

int demo_scratch_open(const char *folder, uint64_t bytes, bool *direct,
		      int *fd_p)
{
	int fd = open_nameless(folder);
	int ret;

	if (fd < 0) {
		ret = -errno;
		demo_say("cannot make a file in %s: %s; name another folder "
			 "with --directory",
			 folder, strerror(errno));
		return ret;
	}
	ret = reserve(fd, bytes);
	if (ret) {
		demo_say("cannot reserve %llu MiB in %s: %s",
			 (unsigned long long)bytes >> 20, folder,
			 strerror(-ret));
		close(fd);
		return ret;
	}
	*direct = *direct && writes_directly(fd);
	*fd_p = fd;
	return 0;
}
