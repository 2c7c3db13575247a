/* SPDX-License-Identifier: MIT */
/*
 * demo-input.c - chooses and opens the file that the demo copies.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "demo.h"

/* Larger ones would make the demo long. */
#define LARGEST_DEFAULT (160UL << 20)

/* nftw() has no context argument. */
static char *largest_path;
static off_t largest_size;

static int keep_largest(const char *path, const struct stat *st, int type,
			struct FTW *ftw)
{
	char *copy;

	(void)ftw;
	if (type != FTW_F || !S_ISREG(st->st_mode) ||
	    st->st_size <= largest_size ||
	    (uint64_t)st->st_size > LARGEST_DEFAULT || access(path, R_OK))
		return 0;
	copy = strdup(path);
	if (!copy)
		return -1;
	free(largest_path);
	largest_path = copy;
	largest_size = st->st_size;
	return 0;
}

static char *large_system_file(void)
{
	static const char *const folders[] = { "/usr/lib", "/usr/libexec",
					       "/usr/bin" };
	size_t i;
	char *path;

	for (i = 0; i < sizeof(folders) / sizeof(*folders); i++)
		nftw(folders[i], keep_largest, 16, FTW_PHYS);
	path = largest_path;
	largest_path = NULL;
	largest_size = 0;
	return path;
}

/* Some filesystems take O_DIRECT at open() and refuse the first read. */
static bool reads_directly(int fd)
{
	void *block;
	bool works;

	if (posix_memalign(&block, DEMO_BLOCK, DEMO_BLOCK))
		return false;
	works = pread(fd, block, DEMO_BLOCK, 0) > 0;
	free(block);
	return works;
}

static int open_directly(const char *path, int plain_fd)
{
	int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);

	if (fd >= 0 && reads_directly(fd))
		return fd;
	if (fd >= 0)
		close(fd);
	return plain_fd;
}

static int look_at(struct demo_input *input)
{
	struct stat st;

	if (fstat(input->fd, &st)) {
		demo_say("%s: %s", input->path, strerror(errno));
		return -errno;
	}
	if (!S_ISREG(st.st_mode) || !st.st_size) {
		demo_say("%s is %s; the demo copies a regular file",
			 input->path,
			 S_ISREG(st.st_mode) ? "empty" : "not a regular file");
		return -EINVAL;
	}
	input->size = st.st_size;
	input->blocks = (input->size + DEMO_BLOCK - 1) / DEMO_BLOCK;
	input->passes = (DEMO_MIN_BLOCKS + input->blocks - 1) / input->blocks;
	input->changed = st.st_mtim;
	return 0;
}

int demo_input_open(const char *path, struct demo_input *input)
{
	int ret;

	memset(input, 0, sizeof(*input));
	input->path = path ? strdup(path) : large_system_file();
	if (!input->path) {
		demo_say("no file to copy was found; name one");
		return -ENOENT;
	}
	/* O_NONBLOCK: do not wait for the writer of a FIFO. */
	input->fd = open(input->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (input->fd < 0) {
		ret = -errno;
		demo_say("cannot read %s: %s", input->path, strerror(errno));
		goto free_path;
	}
	ret = look_at(input);
	if (ret)
		goto close_fd;
	input->direct_fd = open_directly(input->path, input->fd);
	return 0;

close_fd:
	close(input->fd);
free_path:
	free(input->path);
	return ret;
}

void demo_input_close(struct demo_input *input)
{
	if (input->direct_fd != input->fd)
		close(input->direct_fd);
	close(input->fd);
	free(input->path);
}

bool demo_input_changed(const struct demo_input *input)
{
	struct stat st;

	return fstat(input->fd, &st) || (uint64_t)st.st_size != input->size ||
	       st.st_mtim.tv_sec != input->changed.tv_sec ||
	       st.st_mtim.tv_nsec != input->changed.tv_nsec;
}
