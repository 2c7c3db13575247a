/* SPDX-License-Identifier: MIT */
/*
 * descriptor.h - descriptors that are known again if others close them.
 *
 * Programs close descriptors that they do not own, and the number then stands
 * for another file: it must be neither read nor written nor closed by us.  What
 * tells files apart is the pair of device and inode number.  Pipes, files of
 * /proc and, since Linux 5.12, userfaultfds have an inode of their own; other
 * anonymous files, as eventfds, share one and cannot be told apart by it, so
 * none of them is kept here.
 */
#ifndef UMMU_DESCRIPTOR_H
#define UMMU_DESCRIPTOR_H

#include <sys/types.h>

/**
 * struct ummu_descriptor - a descriptor of this library's
 * @fd:     its number, or -1
 * @device, @inode: what fstat() said of it when it was opened
 */
struct ummu_descriptor {
	int fd;
	dev_t device;
	ino_t inode;
};

#define UMMU_NO_DESCRIPTOR ((struct ummu_descriptor){ .fd = -1 })

/**
 * ummu_descriptor_keep - remember a new descriptor under a high number
 * @fd: the descriptor; a negative number is passed on
 *
 * New descriptors get the lowest free number, so one near the top is not taken
 * by another file by chance.  Returns 0, or -errno after closing @fd.
 */
int ummu_descriptor_keep(struct ummu_descriptor *descriptor, int fd);

enum ummu_identity {
	UMMU_OURS,     /* the number stands for the file that was kept */
	UMMU_NOT_OURS, /* it is closed, or stands for another file */
	UMMU_NOT_TOLD, /* this thread may not ask: a seccomp filter */
};

/** ummu_descriptor_identity - one system call; any context, errno changes. */
enum ummu_identity
ummu_descriptor_identity(const struct ummu_descriptor *descriptor);

static inline int
ummu_descriptor_is_ours(const struct ummu_descriptor *descriptor)
{
	return ummu_descriptor_identity(descriptor) == UMMU_OURS;
}

/** ummu_descriptor_close - if it is still ours; its number is -1 afterwards. */
void ummu_descriptor_close(struct ummu_descriptor *descriptor);

/** ummu_descriptor_move_high - the new number of @fd, or @fd without room. */
int ummu_descriptor_move_high(int fd);

#endif
