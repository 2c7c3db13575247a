/* SPDX-License-Identifier: MIT */
/* fake-pinner.c - a pinner that remembers what it registered. */
#define _GNU_SOURCE
#include "fake-pinner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t next_handle = 1;

static void require(bool truth, const char *what)
{
	if (truth)
		return;
	fprintf(stderr, "pinner: %s\n", what);
	abort();
}

static int may_register(struct fake_pinner *pinner, uint64_t length)
{
	unsigned int call = ++pinner->calls;

	if (pinner->fail_count && call >= pinner->fail_at) {
		pinner->fail_count--;
		return pinner->fail_error;
	}
	if (pinner->max_bytes && pinner->bytes + length > pinner->max_bytes)
		return pinner->full_error;
	return 0;
}

static int fake_reg(void *ctx, struct ummu_region *region)
{
	struct fake_pin *pin = ummu_region_private(region);
	struct fake_pinner *pinner = ctx;
	int error;

	require(!pin->region && !pin->users, "storage is not zeroed");
	if (pinner->on_reg)
		pinner->on_reg(pinner->arg, region);
	pthread_mutex_lock(&pinner->lock);
	error = may_register(pinner, region->length);
	if (!error) {
		pinner->registered++;
		pinner->bytes += region->length;
		pin->region = region;
		pin->start = (uintptr_t)region->addr;
		pin->last = pin->start + region->length - 1;
		pin->access = region->access;
		pin->handle = __atomic_fetch_add(&next_handle, 1,
						 __ATOMIC_RELAXED);
		region->handle.number = pin->handle;
		LIST_INSERT_HEAD(&pinner->live, pin, member);
	}
	pthread_mutex_unlock(&pinner->lock);
	return error;
}

static void fake_dereg(void *ctx, struct ummu_region *region)
{
	struct fake_pin *pin = ummu_region_private(region);
	struct fake_pinner *pinner = ctx;
	bool valid = ummu_region_valid(region);

	require(pin->region == region, "dereg of what is not registered");
	require(pin->handle == region->handle.number, "the handle changed");
	require(!__atomic_load_n(&pin->users, __ATOMIC_ACQUIRE),
		"dereg while in use");
	if (pinner->on_dereg)
		pinner->on_dereg(pinner->arg, region);
	pthread_mutex_lock(&pinner->lock);
	LIST_REMOVE(pin, member);
	pin->region = NULL;
	__atomic_fetch_add(&pinner->deregistered, 1, __ATOMIC_RELAXED);
	pinner->bytes -= region->length;
	pinner->last_valid = valid;
	pthread_mutex_unlock(&pinner->lock);
}

const struct ummu_rcache_ops fake_pinner_ops = {
	.size = sizeof(fake_pinner_ops),
	.private_size = sizeof(struct fake_pin),
	.reg = fake_reg,
	.dereg = fake_dereg,
};

void fake_pinner_init(struct fake_pinner *pinner)
{
	*pinner = (struct fake_pinner){ .fail_at = 1 };
	pthread_mutex_init(&pinner->lock, NULL);
	LIST_INIT(&pinner->live);
}

void fake_pinner_hold(struct ummu_region *region)
{
	struct fake_pin *pin = ummu_region_private(region);

	require(pin->region == region, "handed out but not registered");
	__atomic_fetch_add(&pin->users, 1, __ATOMIC_ACQ_REL);
}

void fake_pinner_release(struct ummu_region *region)
{
	struct fake_pin *pin = ummu_region_private(region);

	require(pin->region == region, "deregistered while in use");
	__atomic_fetch_sub(&pin->users, 1, __ATOMIC_ACQ_REL);
}

unsigned int fake_pinner_live(struct fake_pinner *pinner)
{
	unsigned int live;

	pthread_mutex_lock(&pinner->lock);
	live = pinner->registered - pinner->deregistered;
	pthread_mutex_unlock(&pinner->lock);
	return live;
}
