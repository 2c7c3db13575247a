/* SPDX-License-Identifier: MIT */
/* rcache-limits.c - bounds, eviction, and pinners that fail. */
#define _GNU_SOURCE
#include "rcache-fixture.h"

#include <stdlib.h>
#include <string.h>

/* So that the sanitizers' allocators answer NULL, as malloc does. */
const char *__asan_default_options(void);
const char *__tsan_default_options(void);

const char *__asan_default_options(void)
{
	return "allocator_may_return_null=1";
}

const char *__tsan_default_options(void)
{
	return "allocator_may_return_null=1";
}

static void bound(struct fixture *fixture, uint64_t pages, uint64_t regions)
{
	const struct ummu_rcache_opts opts = {
		.size = sizeof(opts),
		.max_bytes = pages * fixture->page,
		.max_regions = regions,
	};

	fixture_replace(fixture, NULL, &opts);
}

/* Is the page registered?  Looks without disturbing the order. */
static bool is_kept(struct fixture *fixture, size_t page)
{
	uint64_t address = (uintptr_t)fixture_page(fixture, page);
	struct fake_pin *pin;

	for (pin = LIST_FIRST(&fixture->pinner.live); pin;
	     pin = LIST_NEXT(pin, member))
		if (pin->start <= address && address <= pin->last)
			return true;
	return false;
}

static void regions_are_bounded(void **state)
{
	struct fixture *fixture = *state;
	struct ummu_rcache_stats stats;

	bound(fixture, 0, 3);
	for (size_t i = 0; i < 10; i++) {
		fixture_touch(fixture, i, 1);
		assert_true(fixture_stats(fixture).regions <= 3);
	}
	stats = fixture_stats(fixture);
	assert_int_equal(stats.regions, 3);
	assert_int_equal(stats.evictions, 7);
	assert_int_equal(stats.uncached, 0);
	/* Nobody came back to any: first in, first out. */
	for (size_t i = 0; i < 10; i++)
		assert_int_equal(is_kept(fixture, i), i >= 7);
}

static void bytes_are_bounded(void **state)
{
	struct fixture *fixture = *state;

	bound(fixture, 10, 0);
	for (size_t i = 0; i < 5; i++)
		fixture_touch(fixture, 2 * i, 2);
	assert_int_equal(fixture_stats(fixture).evictions, 0);
	fixture_touch(fixture, 20, 5);
	assert_int_equal(fixture_stats(fixture).evictions, 3);
	assert_int_equal(fixture_stats(fixture).bytes, 9 * fixture->page);
	/* All that may be: the rest leaves. */
	fixture_touch(fixture, 40, 10);
	assert_int_equal(fixture_stats(fixture).regions, 1);
	assert_int_equal(fixture_stats(fixture).bytes, 10 * fixture->page);
}

static void what_was_used_gets_a_second_chance(void **state)
{
	struct fixture *fixture = *state;

	bound(fixture, 0, 4);
	for (size_t i = 0; i < 4; i++)
		fixture_touch(fixture, i, 1);
	for (size_t i = 4; i < 40; i++) {
		fixture_touch(fixture, 1, 1);
		fixture_touch(fixture, i, 1);
		assert_true(is_kept(fixture, 1));
	}
	assert_int_equal(fixture_stats(fixture).registrations, 40);
}

static void larger_than_the_cache_goes_uncached(void **state)
{
	struct fixture *fixture = *state;
	struct ummu_region *region;

	bound(fixture, 4, 0);
	fixture_touch(fixture, 0, 4);
	region = fixture_get(fixture, 10, 5, 0);
	assert_false(region->cached);
	assert_int_equal(fixture_stats(fixture).evictions, 0);
	assert_true(is_kept(fixture, 0));
	assert_int_equal(fixture_stats(fixture).pinned_bytes, 9 * fixture->page);
	fixture_put(fixture, region);
}

static void all_in_use_goes_uncached(void **state)
{
	struct fixture *fixture = *state;
	struct ummu_region *held[3], *extra, *again;

	bound(fixture, 4, 0);
	held[0] = fixture_get(fixture, 0, 1, 0);
	held[1] = fixture_get(fixture, 1, 1, 0);
	held[2] = fixture_get(fixture, 2, 1, 0);
	fixture_touch(fixture, 3, 1);
	/* One page could be had, two could not: then that one stays as well. */
	extra = fixture_get(fixture, 10, 2, 0);
	assert_false(extra->cached);
	assert_true(is_kept(fixture, 3));
	assert_int_equal(fixture_stats(fixture).evictions, 0);
	/* Each uncached one is its own. */
	again = fixture_get(fixture, 10, 2, 0);
	assert_ptr_not_equal(extra, again);
	/* Nobody will ask whether they are valid: they are not watched. */
	assert_int_equal(fixture->fake->live, 4);
	fixture_put(fixture, again);
	fixture_put(fixture, extra);
	/* What was put back in the ring still leaves. */
	fixture_touch(fixture, 20, 1);
	assert_false(is_kept(fixture, 3));
	for (size_t i = 0; i < 3; i++)
		fixture_put(fixture, held[i]);
	fixture_touch(fixture, 30, 4);
	assert_int_equal(fixture_stats(fixture).regions, 1);
}

/* A pinner with little room gets back what is idle, for each kind of "no". */
static void full_pinner_evicts(void **state)
{
	struct fixture *fixture = *state;
	const int full[] = { -ENOMEM, -EAGAIN, -ENOBUFS };
	struct ummu_region *held, *region;
	struct ummu_rcache_stats stats;

	for (size_t i = 0; i < sizeof(full) / sizeof(full[0]); i++) {
		fixture_replace(fixture, NULL, NULL);
		fixture->pinner.max_bytes = 8 * fixture->page;
		fixture->pinner.full_error = full[i];
		held = fixture_get(fixture, 0, 2, 0);
		for (size_t page = 2; page < 8; page++)
			fixture_touch(fixture, page, 1);
		region = fixture_get(fixture, 20, 3, 0);
		assert_true(region->cached);
		stats = fixture_stats(fixture);
		assert_int_equal(stats.evictions, 3);
		assert_int_equal(stats.regions, 5);
		/* Uncached ones get room in the same way, */
		fixture->fake->refuse = 1;
		fixture->fake->refuse_error = -EOPNOTSUPP;
		fixture_touch(fixture, 30, 2);
		assert_int_equal(fixture_stats(fixture).evictions, 5);
		/* and what is in use is never taken. */
		assert_int_equal(fixture_try(fixture, 40, 4, &region), full[i]);
		assert_int_equal(fixture_stats(fixture).evictions, 6);
		assert_int_equal(fixture_stats(fixture).regions, 2);
		fixture_put(fixture, held);
		region = fixture_get(fixture, 20, 3, 0);
		fixture_put(fixture, region);
		fixture_put(fixture, region);
		assert_int_equal(fixture_stats(fixture).hits, 1);
	}
}

/* Other errors evict nothing, and the next get starts afresh. */
static void failing_pinner_changes_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct ummu_region *region;

	fixture_touch(fixture, 0, 1);
	fixture->pinner.fail_count = 1;
	fixture->pinner.fail_error = -EFAULT;
	assert_int_equal(fixture_try(fixture, 1, 1, &region), -EFAULT);
	assert_true(is_kept(fixture, 0));
	assert_int_equal(fixture->fake->live, 1);
	fixture_touch(fixture, 1, 1);
	/* A number that is no -errno must not pass for success. */
	fixture->pinner.fail_count = 1;
	fixture->pinner.fail_error = 5;
	assert_int_equal(fixture_try(fixture, 2, 1, &region), -EINVAL);
}

/*
 * The same program over and over, with the reg() call of each number failing
 * once, twice and for ever.  The pinner checks each dereg, teardown that none
 * is missing.
 */
static void some_program(struct fixture *fixture)
{
	struct ummu_region *held[6] = { NULL };

	for (size_t i = 0; i < 24; i++) {
		struct ummu_region **slot = &held[i % 6];

		if (*slot)
			fixture_put(fixture, *slot);
		*slot = NULL;
		if (fixture_try(fixture, (i * 7) % 20, 1 + i % 3, slot))
			*slot = NULL;
		if (i % 5 == 0)
			fake_invalidate_in_flight(fixture->fake,
						  fixture_page(fixture,
							       (i * 7) % 20),
						  1, UMMU_REASON_UNMAP);
		if (i % 4 == 3)
			fixture->fake->unsettled = 1;
		if (i % 6 == 5) {
			fixture->fake->refuse = 1;
			fixture->fake->refuse_error = -EBUSY;
		}
	}
	for (size_t i = 0; i < 6; i++)
		if (held[i])
			fixture_put(fixture, held[i]);
	fixture->fake->unsettled = 0;
	fixture->fake->refuse = 0;
}

static void inject(struct fixture *fixture, int error, unsigned int call,
		   unsigned int count)
{
	struct ummu_rcache_stats stats;

	bound(fixture, 12, 5);
	fixture->pinner.calls = 0;
	fixture->pinner.fail_at = call;
	fixture->pinner.fail_count = count;
	fixture->pinner.fail_error = error;
	some_program(fixture);
	fixture->pinner.fail_count = 0;

	stats = fixture_stats(fixture);
	assert_int_equal(stats.pinned_bytes, fixture->pinner.bytes);
	assert_int_equal(stats.pinned_bytes, stats.bytes);
	assert_int_equal(stats.registrations - stats.deregistrations,
			 fake_pinner_live(&fixture->pinner));
	assert_int_equal(fixture->fake->live, stats.regions);
	fixture_touch(fixture, 0, 1);
}

static void each_reg_call_can_fail(void **state)
{
	struct fixture *fixture = *state;
	const int errors[] = { -ENOMEM, -EAGAIN, -ENOBUFS, -EFAULT };
	unsigned int calls;

	inject(fixture, 0, 1, 0);
	calls = fixture->pinner.calls;
	assert_true(calls > 15);
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		for (unsigned int call = 1; call <= calls; call++) {
			inject(fixture, errors[i], call, 1);
			inject(fixture, errors[i], call, 2);
			inject(fixture, errors[i], call, 1000);
		}
}

static void no_memory_for_a_region(void **state)
{
	struct fixture *fixture = *state;
	struct ummu_rcache_ops ops = fake_pinner_ops;
	struct ummu_region *region;

	ops.private_size = SIZE_MAX / 4;
	fixture_replace(fixture, &ops, NULL);
	assert_int_equal(fixture_try(fixture, 0, 1, &region), -ENOMEM);
	assert_int_equal(fixture->pinner.calls, 0);
	assert_int_equal(fixture->fake->live, 0);
}

#define WITH_FIXTURE(test) \
	cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FIXTURE(regions_are_bounded),
		WITH_FIXTURE(bytes_are_bounded),
		WITH_FIXTURE(what_was_used_gets_a_second_chance),
		WITH_FIXTURE(larger_than_the_cache_goes_uncached),
		WITH_FIXTURE(all_in_use_goes_uncached),
		WITH_FIXTURE(full_pinner_evicts),
		WITH_FIXTURE(failing_pinner_changes_nothing),
		WITH_FIXTURE(each_reg_call_can_fail),
		WITH_FIXTURE(no_memory_for_a_region),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
