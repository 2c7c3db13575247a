/* SPDX-License-Identifier: MIT */
/*
 * cuda-driver.h - the calls of the CUDA driver that the pinner makes.
 */
#ifndef UMMU_CUDA_DRIVER_H
#define UMMU_CUDA_DRIVER_H

#include <stddef.h>
#include <stdint.h>

/* What a CUDA header would say; part of the driver's binary interface. */
enum {
	CUDA_MEMHOSTREGISTER_PORTABLE = 0x01,
	CUDA_MEMHOSTREGISTER_DEVICEMAP = 0x02,
	CUDA_MEMHOSTREGISTER_READ_ONLY = 0x08,
};

enum {
	CUDA_OK = 0,
	CUDA_INVALID_VALUE = 1,
	CUDA_OUT_OF_MEMORY = 2,
	CUDA_NOT_INITIALIZED = 3,
	CUDA_DEINITIALIZED = 4,
	CUDA_STUB_LIBRARY = 34,
	CUDA_DEVICE_UNAVAILABLE = 46,
	CUDA_NO_DEVICE = 100,
	CUDA_INVALID_DEVICE = 101,
	CUDA_INVALID_CONTEXT = 201,
	CUDA_HOST_MEMORY_ALREADY_REGISTERED = 712,
	CUDA_NOT_PERMITTED = 800,
	CUDA_NOT_SUPPORTED = 801,
	CUDA_SYSTEM_NOT_READY = 802,
	CUDA_SYSTEM_DRIVER_MISMATCH = 803,
};

struct cuda_context; /* CUcontext is a pointer to it */

/** struct cuda_driver - its calls, which return one of the numbers above */
struct cuda_driver {
	int (*init)(unsigned int flags);
	int (*device_get)(int *device, int ordinal);
	int (*primary_retain)(struct cuda_context **context, int device);
	int (*primary_release)(int device);
	int (*push)(struct cuda_context *context);
	int (*pop)(struct cuda_context **context);
	int (*host_register)(void *addr, size_t bytes, unsigned int flags);
	int (*host_unregister)(void *addr);
	int (*device_pointer)(uint64_t *device_addr, void *addr,
			      unsigned int flags);
};

/**
 * ummu_cuda_driver - load the driver, once, and initialise it
 *
 * 0, -ENOENT, -ENOSYS, or what the driver said.  It is never unloaded.
 */
int ummu_cuda_driver(const struct cuda_driver **driver_p);

/** ummu_cuda_error - 0 or -errno for what a call returned. */
int ummu_cuda_error(int result);

#endif
