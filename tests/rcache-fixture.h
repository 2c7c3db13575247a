/* SPDX-License-Identifier: MIT */
/* rcache-fixture.h - a cache over the fake monitor and the fake pinner. */
#ifndef RCACHE_FIXTURE_H
#define RCACHE_FIXTURE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fake-backend.h"
#include "fake-pinner.h"

struct fixture {
	struct fake_monitor *fake;
	struct fake_pinner pinner;
	struct ummu_rcache *rcache;
	size_t page;
};

/** The first byte of page @page of a part of the address space; never touched. */
void *fixture_page(const struct fixture *fixture, size_t page);

/** Setup and teardown of cmocka; no bounds, a monitor that has to settle. */
int fixture_setup(void **state);
/** A monitor like the kernel module's: one load; with _exact, one may merge. */
int fixture_setup_one_load(void **state);
int fixture_setup_exact(void **state);
int fixture_teardown(void **state);

/** In place of the cache of fixture_setup(), one with other options. */
void fixture_replace(struct fixture *fixture, const struct ummu_rcache_ops *ops,
		     const struct ummu_rcache_opts *opts);

/** get of @count pages from page @page on, which must succeed; held. */
struct ummu_region *fixture_get(struct fixture *fixture, size_t page,
				size_t count, uint64_t access);
int fixture_try(struct fixture *fixture, size_t page, size_t count,
		struct ummu_region **region_p);
void fixture_put(struct fixture *fixture, struct ummu_region *region);

/** get and put. */
void fixture_touch(struct fixture *fixture, size_t page, size_t count);

struct ummu_rcache_stats fixture_stats(struct fixture *fixture);

#endif
