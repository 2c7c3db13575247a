/* SPDX-License-Identifier: MIT */
/*
 * descriptor.h - descriptors that this library can recognise as its own.
 *
 * Programs close descriptors that they do not own.  The number may then stand
 * for another file, which this library must not read, write or close.  The
 * device and the inode number together tell files apart.  Each pipe, each file
 * of /proc and, since Linux 5.12, each userfaultfd has an inode of its own.
 * Other anonymous files, such as eventfds, share one inode, so none of them is
 * kept here.
 */
#ifndef UMMU_DESCRIPTOR_H
#define UMMU_DESCRIPTOR_H

#include <sys/types.h>

/**
 * struct ummu_descriptor - a descriptor of this library
 * @fd:     its number, or -1
 * @device, @inode: what fstat() said of it when it was kept
 */
struct ummu_descriptor {
	int fd;
	dev_t device;
	ino_t inode;
};

#define UMMU_NO_DESCRIPTOR ((struct ummu_descriptor){ .fd = -1 })

/**
 * ummu_descriptor_keep - remember a new descriptor under a high number
 * @fd: the descriptor, or -errno, which is returned
 *
 * The kernel gives new descriptors the lowest free number, so that a high
 * number is not given to another file by chance.  Returns 0, or -errno after
 * closing @fd.
 */
int ummu_descriptor_keep(struct ummu_descriptor *descriptor, int fd);

enum ummu_identity {
	UMMU_OURS,     /* the number stands for the file that was kept */
	UMMU_NOT_OURS, /* the number is free, or stands for another file */
	UMMU_NOT_TOLD, /* fstat() is refused, as by a seccomp filter */
};

/** ummu_descriptor_identity - one system call; may run with locks held. */
enum ummu_identity
ummu_descriptor_identity(const struct ummu_descriptor *descriptor);

static inline int
ummu_descriptor_is_ours(const struct ummu_descriptor *descriptor)
{
	return ummu_descriptor_identity(descriptor) == UMMU_OURS;
}

/** ummu_descriptor_number - its number, or -1 if that is not ours any more. */
static inline int
ummu_descriptor_number(const struct ummu_descriptor *descriptor)
{
	return ummu_descriptor_is_ours(descriptor) ? descriptor->fd : -1;
}

/** ummu_descriptor_close - close it if it is still ours; set @fd to -1. */
void ummu_descriptor_close(struct ummu_descriptor *descriptor);

/** ummu_descriptor_move_high - returns a high number for @fd, or @fd itself. */
int ummu_descriptor_move_high(int fd);

#endif
