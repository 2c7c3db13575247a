/* SPDX-License-Identifier: MIT */
/* kmod-device.c - open the kernel module's device, and know it again. */
#define _GNU_SOURCE
#include "kmod-device.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "descriptor.h"
#include "explain.h"

#define DEVICE "/dev/ummunotify"

/*
 * Which of the descriptors opened here has a number, the latest if there were
 * several: the earlier ones were then closed by somebody else, and to call by
 * their number would be to call the latest.
 */
#define NUMBERS 1024

static uint64_t opened_as[NUMBERS];
static uint64_t last_serial;

static void remember(struct kmod_device *device)
{
	device->serial = __atomic_add_fetch(&last_serial, 1, __ATOMIC_RELAXED);
	if (device->fd < NUMBERS)
		__atomic_store_n(&opened_as[device->fd], device->serial,
				 __ATOMIC_RELAXED);
}

static bool is_lost(const struct kmod_device *device)
{
	return __atomic_load_n(&device->lost, __ATOMIC_RELAXED);
}

static bool is_latest(const struct kmod_device *device)
{
	return device->fd >= NUMBERS ||
	       __atomic_load_n(&opened_as[device->fd], __ATOMIC_RELAXED) ==
		       device->serial;
}

static int explain_open(int error)
{
	switch (error) {
	case ENOENT:
		if (!access("/sys/module/ummunotify", F_OK))
			return ummu_explain(
				-error,
				"the kernel module is loaded, but " DEVICE
				" is not here: give this container the device");
		return ummu_explain(
			-error,
			"the kernel module is not loaded: modprobe ummunotify");
	case ENXIO:
	case ENODEV:
		return ummu_explain(
			-error, DEVICE
			" is there, but the kernel module is not loaded: modprobe ummunotify");
	case EACCES:
	case EPERM:
		return ummu_explain(
			-error,
			"this user may not read " DEVICE
			": chmod 444, or a rule for the container's devices");
	case EMFILE:
		return ummu_explain(-error, "no descriptor left for " DEVICE
					    ": raise ulimit -n");
	default:
		return ummu_explain(-error, DEVICE ": %s", strerror(error));
	}
}

static int explain_setup(int error)
{
	switch (error) {
	case ENOTTY:
	case EINVAL:
	case E2BIG:
		return ummu_explain(
			-EOPNOTSUPP, DEVICE
			" belongs to another release of the kernel module: install that of this library");
	default:
		return ummu_explain(-error, "UMMUNOTIFY_SETUP: %s",
				    strerror(error));
	}
}

static int set_up(struct kmod_device *device)
{
	device->setup = (struct ummunotify_setup){
		.size = sizeof(device->setup),
		.magic = UMMUNOTIFY_SETUP_MAGIC,
	};
	if (ioctl(device->fd, UMMUNOTIFY_SETUP, &device->setup))
		return explain_setup(errno);
	return 0;
}

static int map(struct kmod_device *device)
{
	void *memory = mmap(NULL, device->setup.map_length, PROT_READ,
			    MAP_SHARED, device->fd, 0);

	if (memory == MAP_FAILED)
		return ummu_explain(-errno,
				    "mmap of %llu bytes of " DEVICE ": %m",
				    (unsigned long long)device->setup.map_length);
	device->map = memory;
	return 0;
}

int ummu_kmod_device_open(struct kmod_device *device)
{
	int error;

	device->lost = false;
	/* It is never read; whoever tries does not hang. */
	device->fd = open(DEVICE, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (device->fd < 0)
		return explain_open(errno);
	device->fd = ummu_descriptor_move_high(device->fd);
	error = set_up(device);
	if (error)
		goto close_fd;
	if (fstat(device->fd, &device->identity)) {
		error = ummu_explain(-errno, "fstat of " DEVICE ": %m");
		goto close_fd;
	}
	error = map(device);
	if (error)
		goto close_fd;
	remember(device);
	return 0;

close_fd:
	close(device->fd);
	return error;
}

/* Or was it closed by somebody, and its number perhaps used again? */
static bool is_ours(const struct kmod_device *device)
{
	struct stat now;

	return !is_lost(device) && is_latest(device) &&
	       !fstat(device->fd, &now) &&
	       now.st_rdev == device->identity.st_rdev &&
	       now.st_ino == device->identity.st_ino &&
	       now.st_dev == device->identity.st_dev;
}

void ummu_kmod_device_close(struct kmod_device *device)
{
	munmap((void *)(uintptr_t)device->map, device->setup.map_length);
	if (is_ours(device))
		close(device->fd);
}

int ummu_kmod_device_status(const struct kmod_device *device)
{
	if (!is_lost(device))
		return 0;
	return ummu_explain(-EBADF,
			    "somebody closed this library's descriptor of " DEVICE
			    " (a closefrom() call?): nothing more can be watched");
}

int ummu_kmod_device_call(struct kmod_device *device, unsigned long request,
			  void *argument)
{
	int result;

	if (!is_lost(device) && is_latest(device)) {
		result = ioctl(device->fd, request, argument);
		if (result >= 0)
			return result;
		/* Anything else that may have the number does not know it. */
		if (errno != EBADF && errno != ENOTTY && errno != EIO)
			return -errno;
	}
	__atomic_store_n(&device->lost, true, __ATOMIC_RELAXED);
	return -EBADF;
}
