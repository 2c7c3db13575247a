/* SPDX-License-Identifier: MIT */
/* descriptor.c - descriptors that this library can recognise as its own. */
#define _GNU_SOURCE
#include "descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Numbers stay below this, so that the kernel's table stays small. */
#define HIGH_DESCRIPTORS 1024

int ummu_descriptor_move_high(int fd)
{
	struct rlimit limit;
	int high;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur < 64)
		return fd;
	if (limit.rlim_cur > HIGH_DESCRIPTORS)
		limit.rlim_cur = HIGH_DESCRIPTORS;
	high = fcntl(fd, F_DUPFD_CLOEXEC, (int)limit.rlim_cur - 16);
	if (high < 0)
		return fd;
	close(fd);
	return high;
}

int ummu_descriptor_keep(struct ummu_descriptor *descriptor, int fd)
{
	struct stat identity;
	int error;

	if (fd < 0)
		return fd;
	fd = ummu_descriptor_move_high(fd);
	if (fstat(fd, &identity)) {
		error = -errno;
		close(fd);
		return error;
	}
	*descriptor = (struct ummu_descriptor){
		.fd = fd,
		.device = identity.st_dev,
		.inode = identity.st_ino,
	};
	return 0;
}

enum ummu_identity
ummu_descriptor_identity(const struct ummu_descriptor *descriptor)
{
	struct stat now;

	if (descriptor->fd < 0)
		return UMMU_NOT_OURS;
	if (fstat(descriptor->fd, &now))
		return errno == EBADF ? UMMU_NOT_OURS : UMMU_NOT_TOLD;
	return now.st_dev == descriptor->device &&
			       now.st_ino == descriptor->inode ?
		       UMMU_OURS :
		       UMMU_NOT_OURS;
}

void ummu_descriptor_close(struct ummu_descriptor *descriptor)
{
	if (ummu_descriptor_is_ours(descriptor))
		close(descriptor->fd);
	descriptor->fd = -1;
}
