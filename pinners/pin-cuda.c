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
#include "base/lock.h"
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
 * @regions: on it; 0 while one thread registers it or gives it up.  Nobody else
 *           uses it then: who meets its pages waits for @settled
 * @watch:   since before it was registered; NULL where there can be none.
 *           Constant, as is all below, while there are regions on it
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
 * Guards what follows.  It is not held while the driver is called, a watch is
 * made or ended, or memory is had: each of these may allocate.  An address that
 * is being registered or given up stays in the tree meanwhile, and is not up for
 * sharing.  @settled: some registration that had no region has one, or is gone.
 */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t settled = PTHREAD_COND_INITIALIZER;
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

/* The caller holds the lock, and there are regions on the registration. */
static bool serves(const struct registration *registration,
		   const struct ummu_region *region)
{
	return registration->pages.start <= start_of(region) &&
	       registration->pages.last >= last_of(region) &&
	       cuda_covers(NULL, registration->access, region->access) &&
	       registration->watch && ummu_watch_valid(registration->watch);
}

/* In the context, no lock held.  What the driver said. */
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

/* The first registration over the region's pages.  The caller holds the lock. */
static struct registration *find(const struct ummu_region *region)
{
	struct ummu_interval *pages = ummu_interval_first(&registrations,
							  start_of(region),
							  last_of(region));

	return pages ? container_of(pages, struct registration, pages) : NULL;
}

/* The same, when no thread is at work on it.  The caller holds the lock. */
static struct registration *find_settled(const struct ummu_region *region)
{
	struct registration *registration;
	int cancel;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	while ((registration = find(region)) && !registration->regions)
		ummu_cond_wait(&settled, &lock);
	pthread_setcancelstate(cancel, NULL);
	return registration;
}

/*
 * Count the region on a registration that is there; where there is none, put
 * @own in the tree, for the caller to register.  -ENOBUFS: there is one that
 * does not serve.
 */
static int share_or_claim(const struct ummu_region *region,
			  struct registration *own,
			  struct registration **registration_p)
{
	struct registration *registration;
	int error = 0;

	ummu_mutex_lock(&lock);
	registration = find_settled(region);
	if (!registration) {
		ummu_interval_insert(&registrations, &own->pages);
		registration = own;
	} else if (serves(registration, region)) {
		registration->regions++;
	} else {
		error = -ENOBUFS;
	}
	ummu_mutex_unlock(&lock);
	*registration_p = registration;
	return error;
}

/* The registration has its first region.  No lock held. */
static void settle(struct registration *registration)
{
	ummu_mutex_lock(&lock);
	registration->regions = 1;
	pthread_cond_broadcast(&settled);
	ummu_mutex_unlock(&lock);
}

/* A registration without regions, which the driver does not have, goes. */
static void forget(struct registration *registration)
{
	ummu_mutex_lock(&lock);
	ummu_interval_remove(&registrations, &registration->pages);
	pthread_cond_broadcast(&settled);
	ummu_mutex_unlock(&lock);
	ummu_monitor_unwatch(monitor, registration->watch);
	free(registration);
}

static struct registration *new_registration(const struct ummu_pin_cuda *pin,
					     const struct ummu_region *region)
{
	struct registration *registration = calloc(1, sizeof(*registration));

	if (!registration)
		return NULL;
	registration->pages.start = start_of(region);
	registration->pages.last = last_of(region);
	registration->access = region->access;
	registration->device = pin->device;
	return registration;
}

/* In the context.  The registration goes if that fails. */
static int register_claimed(const struct ummu_pin_cuda *pin,
			    const struct ummu_region *region,
			    struct registration *registration)
{
	int error;

	/* Without a watch it is shared with nobody. */
	ummu_monitor_watch(monitor, region->addr, region->length, 0,
			   &registration->watch);
	error = ummu_cuda_error(make(pin, region, registration));
	if (error)
		forget(registration);
	else
		settle(registration);
	return error;
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

/* A region less, and with the last one the registration.  No lock held. */
static void put(const struct cuda_driver *driver,
		struct registration *registration)
{
	bool last;

	ummu_mutex_lock(&lock);
	last = !--registration->regions;
	ummu_mutex_unlock(&lock);
	if (!last)
		return;
	unregister(driver, registration);
	forget(registration);
}

/* One that is there, or a new one.  In the context. */
static int find_or_add(const struct ummu_pin_cuda *pin,
		       const struct ummu_region *region,
		       struct registration **registration_p)
{
	struct registration *own = new_registration(pin, region);
	int error;

	if (!own)
		return -ENOMEM;
	error = share_or_claim(region, own, registration_p);
	if (!error && *registration_p == own)
		return register_claimed(pin, region, own);
	free(own);
	return error;
}

/* In the context. */
static int reg(const struct ummu_pin_cuda *pin, struct ummu_region *region)
{
	struct registration *registration;
	uint64_t device_addr;
	int error;

	error = find_or_add(pin, region, &registration);
	if (error)
		return error;
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
	error = reg(pin, region);
	leave(pin->driver);
	return error;
}

static void cuda_dereg(void *ctx, struct ummu_region *region)
{
	const struct ummu_pin_cuda *pin = ctx;

	put(pin->driver, *registration_of(region));
}

const struct ummu_rcache_ops ummu_pin_cuda_ops = {
	.size = sizeof(struct ummu_rcache_ops),
	.private_size = sizeof(struct registration *),
	.reg = cuda_reg,
	.dereg = cuda_dereg,
	.covers = cuda_covers,
};

/* One pinner more, if there is a monitor already. */
static bool join_others(void)
{
	bool joined;

	ummu_mutex_lock(&lock);
	joined = pinners > 0;
	pinners += joined;
	ummu_mutex_unlock(&lock);
	return joined;
}

/* With the monitor that is there, or @own.  Returns the one not needed. */
static struct ummu_monitor *join_with(struct ummu_monitor *own)
{
	ummu_mutex_lock(&lock);
	if (!pinners++) {
		monitor = own;
		own = NULL;
	}
	ummu_mutex_unlock(&lock);
	return own;
}

static int join(void)
{
	struct ummu_monitor *own;
	int error;

	if (join_others())
		return 0;
	error = ummu_monitor_open(NULL, &own);
	if (error)
		return error;
	ummu_monitor_close(join_with(own));
	return 0;
}

static void part(void)
{
	struct ummu_monitor *unused = NULL;

	ummu_mutex_lock(&lock);
	if (!--pinners) {
		unused = monitor;
		monitor = NULL;
	}
	ummu_mutex_unlock(&lock);
	ummu_monitor_close(unused);
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
