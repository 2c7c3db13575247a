/* SPDX-License-Identifier: MIT */
/*
 * cuda.h - what a test may ask the stand-in for CUDA, and tell it.
 *
 * The test finds these with dlsym() in the library that the pinner has found.
 */
#ifndef STANDIN_CUDA_H
#define STANDIN_CUDA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STANDIN_DEVICES 2
#define STANDIN_SHIFT (UINT64_C(1) << 60)

/** struct standin_range - a registration; bytes is 0 where there is none */
struct standin_range {
	char *addr;
	size_t bytes;
	unsigned int flags;
};

/**
 * struct standin_counts - so far and now
 * @registered: registrations so far
 * @ranges:     that there are
 * @retained:   primary contexts, all devices
 * @current:    contexts on the calling thread's stack
 */
struct standin_counts {
	unsigned int registered;
	unsigned int ranges;
	int retained;
	unsigned int current;
};

/** The next call of this name, without a suffix, answers so. */
void standin_fail(const char *call, int result);

/** The next call of this name runs @hook first, with no lock of the stand-in. */
void standin_meanwhile(const char *call, void (*hook)(void));

/** The registration at an address. */
bool standin_range(const void *addr, struct standin_range *range_p);

struct standin_counts standin_count(void);

struct context;
int cuInit(unsigned int flags);
int cuDeviceGet(int *device, int ordinal);
int cuDevicePrimaryCtxRetain(struct context **context, int device);
int cuDevicePrimaryCtxRelease_v2(int device);
int cuCtxPushCurrent_v2(struct context *context);
int cuCtxPopCurrent_v2(struct context **context);
int cuMemHostRegister_v2(void *addr, size_t bytes, unsigned int flags);
int cuMemHostUnregister(void *addr);
int cuMemHostGetDevicePointer_v2(uint64_t *device, void *addr,
				 unsigned int flags);

#endif
