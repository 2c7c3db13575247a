/* SPDX-License-Identifier: MIT */
/*
 * pin-cuda.h - the pinner for host memory that a CUDA device reads and writes.
 *
 * A region is registered with cuMemHostRegister(), mapped for the device and
 * portable between contexts: ummu_pin_cuda_device() is its address there, for
 * kernels, and copies from and to it need no staging.  The driver is found at
 * run time, as libcuda.so.1; nothing of CUDA is needed to build or to link.
 *
 * CUDA registers an address once in a process, whoever asks, and refuses ranges
 * that overlap.  So the pinners of a process share: a region inside one that is
 * registered already, with the rights it needs and its pages still there, is
 * counted on that registration, which ends with the last region in it.  Any
 * other overlap is refused with -ENOBUFS, at which a cache gives up its idle
 * regions and tries again; what then remains is in use, of another cache, or
 * (-EBUSY) registered by the application itself.
 *
 * The device's primary context is used, the one of the CUDA runtime, and is
 * current in the calling thread only during a call.
 *
 * Link with -lummunotify-cuda.
 */
#ifndef UMMUNOTIFY_PIN_CUDA_H
#define UMMUNOTIFY_PIN_CUDA_H

#include <ummunotify/rcache.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ummu_pin_cuda; /* opaque */

/** Access bits for ummu_rcache_get(); 0 lets the device read and write. */
enum ummu_pin_cuda_access {
	UMMU_PIN_CUDA_READ_ONLY = 1 << 0, /* the device only reads: for memory
					   * that the process may not write */
};

/**
 * ummu_pin_cuda_create - a pinner for one device
 * @device: its number, as cuDeviceGet() counts
 * @pin_p:  receives the pinner, the ctx of ummu_pin_cuda_ops
 *
 * Keeps the device's primary context until it is destroyed.  Errors:
 *   -ENOENT      there is no libcuda.so.1: no driver is installed
 *   -ENOSYS      there is one without the calls that are needed (CUDA 11 has
 *                them), or a stub
 *   -ENODEV      no device, none of this number, or its driver does not work
 *   -EPERM, -EBUSY, -ENOMEM, -EIO  what the driver said, see ummu_pin_cuda_ops
 *   and those of ummu_monitor_open()
 */
int ummu_pin_cuda_create(int device, struct ummu_pin_cuda **pin_p);

/**
 * ummu_pin_cuda_destroy - after its cache was destroyed.  NULL is allowed.
 *
 * In a child of fork, which cannot use CUDA, it only frees.
 */
void ummu_pin_cuda_destroy(struct ummu_pin_cuda *pin);

/**
 * ummu_pin_cuda_ops - the pinner's calls, with a struct ummu_pin_cuda as ctx
 *
 * reg() returns -ENOBUFS for an overlap as above, -EINVAL for access bits that
 * it does not know, or what the driver said:
 *   -EINVAL      CUDA_ERROR_INVALID_VALUE: also memory that is not mapped, or
 *                may not be written
 *   -ENOMEM      CUDA_ERROR_OUT_OF_MEMORY: also no more may be pinned
 *   -EBUSY       CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED: by the application;
 *                CUDA_ERROR_DEVICE_UNAVAILABLE
 *   -EPERM       CUDA_ERROR_NOT_PERMITTED
 *   -EOPNOTSUPP  CUDA_ERROR_NOT_SUPPORTED
 *   -ENODEV      CUDA_ERROR_NO_DEVICE, _INVALID_DEVICE, _NOT_INITIALIZED,
 *                _DEINITIALIZED, _INVALID_CONTEXT, _SYSTEM_NOT_READY,
 *                _SYSTEM_DRIVER_MISMATCH
 *   -ENOSYS      CUDA_ERROR_STUB_LIBRARY
 *   -EIO         any other
 */
extern const struct ummu_rcache_ops ummu_pin_cuda_ops;

/** ummu_pin_cuda_device - where the device sees region->addr: a CUdeviceptr. */
static inline uint64_t ummu_pin_cuda_device(const struct ummu_region *region)
{
	return region->handle.number;
}

#ifdef __cplusplus
}
#endif

#endif
