/* SPDX-License-Identifier: MIT */
/* rcache-fixture.c - a cache over the fake monitor and the fake pinner. */
#define _GNU_SOURCE
#include "rcache-fixture.h"

#include <stdlib.h>
#include <unistd.h>

#define FIRST_PAGE ((uintptr_t)1 << 32)

void *fixture_page(const struct fixture *fixture, size_t page)
{
	return (void *)(FIRST_PAGE + page * fixture->page);
}

static int setup_with(void **state, bool one_load, bool exact)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	assert_non_null(fixture);
	fixture->page = (size_t)sysconf(_SC_PAGESIZE);
	fixture->fake = fake_open(one_load);
	fixture->fake->exact = exact;
	fake_pinner_init(&fixture->pinner);
	assert_int_equal(ummu_rcache_create(&fixture->fake->base,
					    &fake_pinner_ops, &fixture->pinner,
					    NULL, &fixture->rcache),
			 0);
	*state = fixture;
	return 0;
}

int fixture_setup(void **state)
{
	return setup_with(state, false, false);
}

int fixture_setup_one_load(void **state)
{
	return setup_with(state, true, false);
}

int fixture_setup_exact(void **state)
{
	return setup_with(state, true, true);
}

int fixture_teardown(void **state)
{
	struct fixture *fixture = *state;

	ummu_rcache_destroy(fixture->rcache);
	assert_int_equal(fake_pinner_live(&fixture->pinner), 0);
	fake_close(fixture->fake);
	free(fixture);
	return 0;
}

void fixture_replace(struct fixture *fixture, const struct ummu_rcache_ops *ops,
		     const struct ummu_rcache_opts *opts)
{
	ummu_rcache_destroy(fixture->rcache);
	fixture->rcache = NULL;
	assert_int_equal(ummu_rcache_create(&fixture->fake->base,
					    ops ? ops : &fake_pinner_ops,
					    &fixture->pinner, opts,
					    &fixture->rcache),
			 0);
}

int fixture_try(struct fixture *fixture, size_t page, size_t count,
		struct ummu_region **region_p)
{
	int error = ummu_rcache_get(fixture->rcache,
				    fixture_page(fixture, page),
				    count * fixture->page, 0, region_p);

	if (!error)
		fake_pinner_hold(*region_p);
	return error;
}

struct ummu_region *fixture_get(struct fixture *fixture, size_t page,
				size_t count, uint64_t access)
{
	struct ummu_region *region = NULL;
	uintptr_t start = (uintptr_t)fixture_page(fixture, page);

	assert_int_equal(ummu_rcache_get(fixture->rcache, (void *)start,
					 count * fixture->page, access, &region),
			 0);
	assert_non_null(region);
	fake_pinner_hold(region);
	assert_true((uintptr_t)region->addr <= start);
	assert_true((uintptr_t)region->addr + region->length >=
		    start + count * fixture->page);
	return region;
}

void fixture_put(struct fixture *fixture, struct ummu_region *region)
{
	fake_pinner_release(region);
	ummu_rcache_put(fixture->rcache, region);
}

void fixture_touch(struct fixture *fixture, size_t page, size_t count)
{
	fixture_put(fixture, fixture_get(fixture, page, count, 0));
}

struct ummu_rcache_stats fixture_stats(struct fixture *fixture)
{
	struct ummu_rcache_stats stats = { .size = sizeof(stats) };

	assert_int_equal(ummu_rcache_stats(fixture->rcache, &stats), 0);
	return stats;
}
