/* SPDX-License-Identifier: MIT */
/*
 * pin-cuda.c - registers regions with the CUDA driver.
 *
 * A registration is CUDA's and the process's, not a pinner's: they are kept in
 * one tree, with the number of regions on each.  Whether its pages are still
 * there is not for its regions to say, which belong to different caches, so the
 * tree has a monitor of its own and each registration a watch that is older.
 */
#define _GNU_SOURCE
#include <ummunotify/pin-cuda.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/call.h"
#include "base/containerof.h"
#include "base/interval.h"
#include "pinners/cuda-driver.h"

#define KNOWN ((uint64_t)UMMU_PIN_CUDA_READ_ONLY) /* access bits */

/**
 * struct ummu_pin_cuda - a device
 * @device:  the driver's number for it
 * @context: its primary context, retained
 * @process: in a child of fork CUDA does not work
 */
struct ummu_pin_cuda {
	const struct cuda_driver *driver;
	int device;
	struct cuda_context *context;
	pid_t process;
};

/**
 * struct registration - what CUDA knows a range as
 * @pages:   in the tree
 * @access:  that it was registered with
 * @regions: on it
 * @watch:   since before it was registered; NULL where there can be none
 * @device:  whose primary context is retained for it, a pinner may go before
 * @context: that context
 */
struct registration {
	struct ummu_interval pages;
	uint64_t access;
	unsigned int regions;
	struct ummu_watch *watch;
	int device;
	struct cuda_context *context;
};

/*
 * Guards what follows, and is held across the driver's calls: an address that
 * is being registered or given up is not up for sharing.
 */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct ummu_interval_tree registrations;
static struct ummu_monitor *monitor;
static unsigned int pinners;

static int enter(const struct cuda_driver *driver, struct cuda_context *context)
{
	return ummu_cuda_error(driver->push(context));
}

static void leave(const struct cuda_driver *driver)
{
	struct cuda_context *context;

	driver->pop(&context);
}

static struct registration **registration_of(const struct ummu_region *region)
{
	return ummu_region_private(region);
}

static unsigned int flags_of(uint64_t access)
{
	return CUDA_MEMHOSTREGISTER_PORTABLE | CUDA_MEMHOSTREGISTER_DEVICEMAP |
	       (access & UMMU_PIN_CUDA_READ_ONLY ?
			CUDA_MEMHOSTREGISTER_READ_ONLY :
			0);
}

/* What is no right at all goes to reg(), which says so. */
static bool cuda_covers(void *ctx, uint64_t have, uint64_t want)
{
	(void)ctx;
	return !(want & ~KNOWN) && !(have & ~want & UMMU_PIN_CUDA_READ_ONLY);
}

static uint64_t start_of(const struct ummu_region *region)
{
	return (uintptr_t)region->addr;
}

static uint64_t last_of(const struct ummu_region *region)
{
	return (uintptr_t)region->addr + region->length - 1;
}

static bool serves(const struct registration *registration,
		   const struct ummu_region *region)
{
	return registration->pages.start <= start_of(region) &&
	       registration->pages.last >= last_of(region) &&
	       cuda_covers(NULL, registration->access, region->access) &&
	       registration->watch && ummu_watch_valid(registration->watch);
}

/* Called locked, in the context.  What the driver said. */
static int make(const struct ummu_pin_cuda *pin,
		const struct ummu_region *region,
		struct registration *registration)
{
	const struct cuda_driver *driver = pin->driver;
	int result;

	/* Of its own, for as long as it is there. */
	result = driver->primary_retain(&registration->context, pin->device);
	if (result)
		return result;
	result = driver->host_register(region->addr, region->length,
				       flags_of(region->access));
	if (result)
		driver->primary_release(pin->device);
	return result;
}

static int add(const struct ummu_pin_cuda *pin,
	       const struct ummu_region *region,
	       struct registration **registration_p)
{
	struct registration *registration = calloc(1, sizeof(*registration));
	int error;

	if (!registration)
		return -ENOMEM;
	/* Without a watch it is shared with nobody. */
	ummu_monitor_watch(monitor, region->addr, region->length, 0,
			   &registration->watch);
	error = ummu_cuda_error(make(pin, region, registration));
	if (error) {
		ummu_monitor_unwatch(monitor, registration->watch);
		free(registration);
		return error;
	}
	registration->pages.start = start_of(region);
	registration->pages.last = last_of(region);
	registration->access = region->access;
	registration->device = pin->device;
	ummu_interval_insert(&registrations, &registration->pages);
	*registration_p = registration;
	return 0;
}

/* In the context that it was made in, if that still works. */
static void unregister(const struct cuda_driver *driver,
		       const struct registration *registration)
{
	const int error = enter(driver, registration->context);

	driver->host_unregister((void *)(uintptr_t)registration->pages.start);
	if (!error)
		leave(driver);
	driver->primary_release(registration->device);
}

/* A region less, and with the last one the registration.  Called locked. */
static void put(const struct cuda_driver *driver,
		struct registration *registration)
{
	if (--registration->regions)
		return;
	unregister(driver, registration);
	ummu_interval_remove(&registrations, &registration->pages);
	ummu_monitor_unwatch(monitor, registration->watch);
	free(registration);
}

/* One that is there, or a new one.  Called locked, in the context. */
static int find_or_add(const struct ummu_pin_cuda *pin,
		       const struct ummu_region *region,
		       struct registration **registration_p)
{
	struct ummu_interval *pages;

	pages = ummu_interval_first(&registrations, start_of(region),
				    last_of(region));
	if (!pages)
		return add(pin, region, registration_p);
	*registration_p = container_of(pages, struct registration, pages);
	return serves(*registration_p, region) ? 0 : -ENOBUFS;
}

/* Called locked, in the context. */
static int reg(const struct ummu_pin_cuda *pin, struct ummu_region *region)
{
	struct registration *registration;
	uint64_t device_addr;
	int error;

	error = find_or_add(pin, region, &registration);
	if (error)
		return error;
	registration->regions++;
	error = ummu_cuda_error(
		pin->driver->device_pointer(&device_addr, region->addr, 0));
	if (error) {
		put(pin->driver, registration);
		return error;
	}
	*registration_of(region) = registration;
	region->handle.number = device_addr;
	return 0;
}

static int cuda_reg(void *ctx, struct ummu_region *region)
{
	const struct ummu_pin_cuda *pin = ctx;
	int error;

	if (region->access & ~KNOWN)
		return -EINVAL;
	error = enter(pin->driver, pin->context);
	if (error)
		return error;
	pthread_mutex_lock(&lock);
	error = reg(pin, region);
	pthread_mutex_unlock(&lock);
	leave(pin->driver);
	return error;
}

static void cuda_dereg(void *ctx, struct ummu_region *region)
{
	const struct ummu_pin_cuda *pin = ctx;

	pthread_mutex_lock(&lock);
	put(pin->driver, *registration_of(region));
	pthread_mutex_unlock(&lock);
}

const struct ummu_rcache_ops ummu_pin_cuda_ops = {
	.size = sizeof(struct ummu_rcache_ops),
	.private_size = sizeof(struct registration *),
	.reg = cuda_reg,
	.dereg = cuda_dereg,
	.covers = cuda_covers,
};

static int join(void)
{
	int error = 0;

	pthread_mutex_lock(&lock);
	if (!pinners)
		error = ummu_monitor_open(NULL, &monitor);
	if (!error)
		pinners++;
	pthread_mutex_unlock(&lock);
	return error;
}

static void part(void)
{
	pthread_mutex_lock(&lock);
	if (!--pinners) {
		ummu_monitor_close(monitor);
		monitor = NULL;
	}
	pthread_mutex_unlock(&lock);
}

static int create(int device, struct ummu_pin_cuda **pin_p)
{
	struct ummu_pin_cuda *pin = calloc(1, sizeof(*pin));
	int error;

	if (!pin)
		return -ENOMEM;
	error = ummu_cuda_driver(&pin->driver);
	if (error)
		goto free_pin;
	error = ummu_cuda_error(pin->driver->device_get(&pin->device, device));
	if (error)
		goto free_pin;
	error = join();
	if (error)
		goto free_pin;
	error = ummu_cuda_error(
		pin->driver->primary_retain(&pin->context, pin->device));
	if (error)
		goto part;
	pin->process = getpid();
	*pin_p = pin;
	return 0;

part:
	part();
free_pin:
	free(pin);
	return error;
}

int ummu_pin_cuda_create(int device, struct ummu_pin_cuda **pin_p)
{
	const struct ummu_call call = ummu_call_begin();

	return ummu_call_return(&call, create(device, pin_p));
}

void ummu_pin_cuda_destroy(struct ummu_pin_cuda *pin)
{
	const struct ummu_call call = ummu_call_begin();

	if (pin && pin->process == getpid()) {
		pin->driver->primary_release(pin->device);
		part();
	}
	free(pin);
	ummu_call_end(&call);
}
