/* SPDX-License-Identifier: MIT */
/* cuda-driver.c - the CUDA driver, found at run time. */
#define _GNU_SOURCE
#include "pinners/cuda-driver.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "base/lock.h"

#define LIBRARY "libcuda.so.1"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct cuda_driver driver; /* constant once loaded */
static bool loaded;		  /* guarded by lock */

/* POSIX has functions fit into a void pointer; C does not say how. */
static bool find(void *library, const char *name, void *function)
{
	void *symbol = dlsym(library, name);

	memcpy(function, &symbol, sizeof(symbol));
	return symbol;
}

static bool find_all(void *library, struct cuda_driver *found)
{
	return find(library, "cuInit", &found->init) &&
	       find(library, "cuDeviceGet", &found->device_get) &&
	       find(library, "cuDevicePrimaryCtxRetain",
		    &found->primary_retain) &&
	       find(library, "cuDevicePrimaryCtxRelease_v2",
		    &found->primary_release) &&
	       find(library, "cuCtxPushCurrent_v2", &found->push) &&
	       find(library, "cuCtxPopCurrent_v2", &found->pop) &&
	       find(library, "cuMemHostRegister_v2", &found->host_register) &&
	       find(library, "cuMemHostUnregister", &found->host_unregister) &&
	       find(library, "cuMemHostGetDevicePointer_v2",
		    &found->device_pointer);
}

/*
 * No lock is held, as loading allocates and calls out.  What failed may be there
 * at the next try.
 */
static int load(struct cuda_driver *found)
{
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);

	if (!library)
		return -ENOENT;
	if (!find_all(library, found)) {
		dlclose(library);
		return -ENOSYS;
	}
	return ummu_cuda_error(found->init(0));
}

static bool is_loaded(void)
{
	bool answer;

	ummu_mutex_lock(&lock);
	answer = loaded;
	ummu_mutex_unlock(&lock);
	return answer;
}

/* Of several threads that loaded it the first one is heard; it is one driver. */
static void keep(const struct cuda_driver *found)
{
	ummu_mutex_lock(&lock);
	if (!loaded)
		driver = *found;
	loaded = true;
	ummu_mutex_unlock(&lock);
}

int ummu_cuda_driver(const struct cuda_driver **driver_p)
{
	struct cuda_driver found;
	int error;

	if (!is_loaded()) {
		error = load(&found);
		if (error)
			return error;
		keep(&found);
	}
	*driver_p = &driver;
	return 0;
}

int ummu_cuda_error(int result)
{
	switch (result) {
	case CUDA_OK:
		return 0;
	case CUDA_INVALID_VALUE:
		return -EINVAL;
	case CUDA_OUT_OF_MEMORY:
		return -ENOMEM;
	case CUDA_STUB_LIBRARY:
		return -ENOSYS;
	case CUDA_DEVICE_UNAVAILABLE:
	case CUDA_HOST_MEMORY_ALREADY_REGISTERED:
		return -EBUSY;
	case CUDA_NOT_INITIALIZED:
	case CUDA_DEINITIALIZED:
	case CUDA_NO_DEVICE:
	case CUDA_INVALID_DEVICE:
	case CUDA_INVALID_CONTEXT:
	case CUDA_SYSTEM_NOT_READY:
	case CUDA_SYSTEM_DRIVER_MISMATCH:
		return -ENODEV;
	case CUDA_NOT_PERMITTED:
		return -EPERM;
	case CUDA_NOT_SUPPORTED:
		return -EOPNOTSUPP;
	default:
		return -EIO;
	}
}
