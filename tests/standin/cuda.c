/* SPDX-License-Identifier: MIT */
/*
 * cuda.c - a libcuda.so.1 for tests of logic: keeps the rules of the driver
 * about contexts and registrations, and touches no device.
 *
 * Device addresses are those of the host and STANDIN_SHIFT.  Rules that are
 * broken end the program.
 */
#include "tests/standin/cuda.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define RANGES 256
#define STACK 8
#define RULE(holds)                                                         \
	do {                                                                \
		if (!(holds)) {                                             \
			fprintf(stderr, "stand-in for CUDA: %s\n", #holds); \
			abort();                                            \
		}                                                           \
	} while (0)

/* CUresult */
enum {
	OK = 0,
	INVALID_VALUE = 1,
	NOT_INITIALIZED = 3,
	INVALID_DEVICE = 101,
	INVALID_CONTEXT = 201,
	ALREADY_REGISTERED = 712,
	NOT_REGISTERED = 713,
};

struct context {
	int retained;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool initialized;
static struct context contexts[STANDIN_DEVICES];
static struct standin_range ranges[RANGES];
static struct standin_counts counts;
static int next_result;
static const char *next_call;
static void (*meanwhile)(void);
static const char *meanwhile_call;
static _Thread_local struct context *stack[STACK];
static _Thread_local unsigned int depth;

/* The hook for this call, once. */
static void (*take_meanwhile(const char *call))(void)
{
	void (*hook)(void) = NULL;

	pthread_mutex_lock(&lock);
	if (meanwhile && __builtin_strcmp(meanwhile_call, call) == 0) {
		hook = meanwhile;
		meanwhile = NULL;
	}
	pthread_mutex_unlock(&lock);
	return hook;
}

static int result_of(const char *call)
{
	void (*hook)(void) = take_meanwhile(call);
	int result = OK;

	if (hook)
		hook();
	pthread_mutex_lock(&lock);
	if (next_call && __builtin_strcmp(next_call, call) == 0) {
		result = next_result;
		next_call = NULL;
	}
	if (!initialized)
		result = NOT_INITIALIZED;
	pthread_mutex_unlock(&lock);
	return result;
}

/* Such as one uses in a context that is current and alive. */
static int result_in_context(const char *call)
{
	if (!depth || !stack[depth - 1]->retained)
		return INVALID_CONTEXT;
	return result_of(call);
}

int cuInit(unsigned int flags)
{
	RULE(flags == 0);
	initialized = true;
	return result_of("cuInit");
}

int cuDeviceGet(int *device, int ordinal)
{
	if (ordinal < 0 || ordinal >= STANDIN_DEVICES)
		return INVALID_DEVICE;
	*device = ordinal;
	return result_of("cuDeviceGet");
}

int cuDevicePrimaryCtxRetain(struct context **context, int device)
{
	int result = result_of("cuDevicePrimaryCtxRetain");

	pthread_mutex_lock(&lock);
	if (!result) {
		contexts[device].retained++;
		*context = &contexts[device];
	}
	pthread_mutex_unlock(&lock);
	return result;
}

int cuDevicePrimaryCtxRelease_v2(int device)
{
	pthread_mutex_lock(&lock);
	RULE(contexts[device].retained > 0);
	contexts[device].retained--;
	pthread_mutex_unlock(&lock);
	return OK;
}

int cuCtxPushCurrent_v2(struct context *context)
{
	int result = result_of("cuCtxPushCurrent");

	if (result)
		return result;
	RULE(depth < STACK);
	stack[depth++] = context;
	return OK;
}

int cuCtxPopCurrent_v2(struct context **context)
{
	RULE(depth > 0);
	*context = stack[--depth];
	return OK;
}

static struct standin_range *find(const char *addr, size_t bytes)
{
	for (size_t i = 0; i < RANGES; i++)
		if (ranges[i].bytes && ranges[i].addr < addr + bytes &&
		    addr < ranges[i].addr + ranges[i].bytes)
			return &ranges[i];
	return NULL;
}

static int add(char *addr, size_t bytes, unsigned int flags)
{
	if (!bytes)
		return INVALID_VALUE;
	if (find(addr, bytes))
		return ALREADY_REGISTERED;
	for (size_t i = 0; i < RANGES; i++) {
		if (ranges[i].bytes)
			continue;
		ranges[i] = (struct standin_range){ addr, bytes, flags };
		counts.registered++;
		counts.ranges++;
		return OK;
	}
	RULE(!"room for one more range");
	return OK;
}

int cuMemHostRegister_v2(void *addr, size_t bytes, unsigned int flags)
{
	int result = result_in_context("cuMemHostRegister");

	pthread_mutex_lock(&lock);
	if (!result)
		result = add(addr, bytes, flags);
	pthread_mutex_unlock(&lock);
	return result;
}

int cuMemHostUnregister(void *addr)
{
	struct standin_range *range;
	int result = result_in_context("cuMemHostUnregister");

	RULE(!result);
	pthread_mutex_lock(&lock);
	range = find(addr, 1);
	if (range && range->addr == addr) {
		range->bytes = 0;
		counts.ranges--;
	} else {
		result = NOT_REGISTERED;
	}
	pthread_mutex_unlock(&lock);
	RULE(result == OK);
	return result;
}

int cuMemHostGetDevicePointer_v2(uint64_t *device, void *addr,
				 unsigned int flags)
{
	int result = result_in_context("cuMemHostGetDevicePointer");

	RULE(flags == 0);
	pthread_mutex_lock(&lock);
	if (!result && !find(addr, 1))
		result = INVALID_VALUE;
	pthread_mutex_unlock(&lock);
	if (!result)
		*device = (uintptr_t)addr + STANDIN_SHIFT;
	return result;
}

void standin_fail(const char *call, int result)
{
	next_result = result;
	next_call = call;
}

void standin_meanwhile(const char *call, void (*hook)(void))
{
	meanwhile_call = call;
	meanwhile = hook;
}

bool standin_range(const void *addr, struct standin_range *range_p)
{
	const struct standin_range *range;

	pthread_mutex_lock(&lock);
	range = find(addr, 1);
	if (range)
		*range_p = *range;
	pthread_mutex_unlock(&lock);
	return range;
}

struct standin_counts standin_count(void)
{
	struct standin_counts copy;

	pthread_mutex_lock(&lock);
	copy = counts;
	copy.current = depth;
	copy.retained = 0;
	for (int i = 0; i < STANDIN_DEVICES; i++)
		copy.retained += contexts[i].retained;
	pthread_mutex_unlock(&lock);
	return copy;
}
