/* SPDX-License-Identifier: MIT */
/* kmod-device.h - a descriptor of the kernel module's device. */
#ifndef UMMU_KMOD_DEVICE_H
#define UMMU_KMOD_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "../include/uapi/linux/ummunotify.h"

/**
 * struct kmod_device - an open descriptor that was set up, and its mapping
 * @fd:       its number
 * @serial:   which of all that this library has opened
 * @identity: what fstat() said of @fd
 * @setup:    what the module granted
 * @map:      setup.map_length bytes, read-only.  A forked child reads zeros
 * @lost:     somebody has closed the descriptor (atomic).  The mapping, and
 *            what the module writes there, stay as they are
 */
struct kmod_device {
	int fd;
	uint64_t serial;
	struct stat identity;
	struct ummunotify_setup setup;
	const void *map;
	bool lost;
};

/** ummu_kmod_device_open - 0 or -errno, after ummu_explain(). */
int ummu_kmod_device_open(struct kmod_device *device);

/** ummu_kmod_device_close - unmap, and close what is still ours. */
void ummu_kmod_device_close(struct kmod_device *device);

/**
 * ummu_kmod_device_call - ioctl()
 *
 * A count, -errno, or -EBADF once somebody has closed the descriptor, for ever.
 * It explains nothing, as it is called under a lock: for -EBADF the caller calls
 * ummu_kmod_device_status() after it has unlocked.
 */
int ummu_kmod_device_call(struct kmod_device *device, unsigned long request,
			  void *argument);

/** ummu_kmod_device_status - 0, or -EBADF after ummu_explain(). */
int ummu_kmod_device_status(const struct kmod_device *device);

#endif
