/* SPDX-License-Identifier: MIT */
/* rcache-unit.c - what the cache answers while nothing goes wrong. */
#define _GNU_SOURCE
#include "rcache-fixture.h"

#include <stdlib.h>
#include <string.h>

static int create_with(struct fake_monitor *fake,
		       const struct ummu_rcache_ops *ops,
		       const struct ummu_rcache_opts *opts)
{
	struct ummu_rcache *rcache = NULL;
	int error = ummu_rcache_create(&fake->base, ops, NULL, opts, &rcache);

	assert_true(error ? !rcache : rcache != NULL);
	ummu_rcache_destroy(rcache);
	return error;
}

static void create_checks_sizes(void **state)
{
	struct fake_monitor *fake = fake_open(false);
	struct ummu_rcache_ops ops = fake_pinner_ops;
	struct ummu_rcache_opts opts = { .size = sizeof(opts) };
	struct {
		struct ummu_rcache_ops ops;
		uint64_t later;
	} newer = { .ops = fake_pinner_ops };

	(void)state;
	assert_int_equal(create_with(fake, &ops, &opts), 0);

	ops.size = offsetof(struct ummu_rcache_ops, covers) - 1;
	assert_int_equal(create_with(fake, &ops, NULL), -EINVAL);
	ops.size = offsetof(struct ummu_rcache_ops, covers);
	assert_int_equal(create_with(fake, &ops, NULL), 0);

	newer.ops.size = sizeof(newer);
	assert_int_equal(create_with(fake, &newer.ops, NULL), 0);
	newer.later = 1;
	assert_int_equal(create_with(fake, &newer.ops, NULL), -EINVAL);

	ops = fake_pinner_ops;
	ops.reg = NULL;
	assert_int_equal(create_with(fake, &ops, NULL), -EINVAL);
	ops = fake_pinner_ops;
	ops.dereg = NULL;
	assert_int_equal(create_with(fake, &ops, NULL), -EINVAL);
	ops = fake_pinner_ops;
	ops.private_size = SIZE_MAX;
	assert_int_equal(create_with(fake, &ops, NULL), -EINVAL);

	opts.size = sizeof(opts.size) - 1;
	assert_int_equal(create_with(fake, &fake_pinner_ops, &opts), -EINVAL);
	opts.size = sizeof(opts.size);
	assert_int_equal(create_with(fake, &fake_pinner_ops, &opts), 0);
	assert_int_equal(create_with(fake, NULL, NULL), -EINVAL);
	fake_close(fake);
}

/* What an old caller did not know must not be read past its size. */
static void short_ops_have_no_covers(void **state)
{
	struct fixture *fixture = *state;
	size_t size = offsetof(struct ummu_rcache_ops, covers);
	struct ummu_rcache_ops *ops = malloc(size);

	assert_non_null(ops);
	memcpy(ops, &fake_pinner_ops, size);
	/* Not ops->size, as this is less than the struct: the first member. */
	memcpy(ops, &size, sizeof(size));
	fixture_replace(fixture, ops, NULL);
	free(ops);
	fixture_touch(fixture, 0, 1);
	fixture_touch(fixture, 0, 1);
	assert_int_equal(fixture->pinner.calls, 1);
}

static void monitor_serves_one_cache(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(create_with(fixture->fake, &fake_pinner_ops, NULL),
			 -EBUSY);
	fixture_replace(fixture, NULL, NULL);
}

static void create_refuses_dead_monitor(void **state)
{
	struct fake_monitor *fake = fake_open(false);

	(void)state;
	fake->failed = true;
	assert_int_equal(create_with(fake, &fake_pinner_ops, NULL), -EBADF);
	fake->failed = false;
	fake->owner = 1;
	assert_int_equal(create_with(fake, &fake_pinner_ops, NULL), -ECHILD);
	fake_close(fake);
}

static void get_checks_range(void **state)
{
	struct fixture *fixture = *state;
	struct ummu_region *const before = (struct ummu_region *)fixture;
	struct ummu_region *region = before;
	void *top = (void *)(UINTPTR_MAX - 99);
	void *page = fixture_page(fixture, 0);

	assert_int_equal(ummu_rcache_get(fixture->rcache, page, 0, 0, &region),
			 -EINVAL);
	assert_int_equal(ummu_rcache_get(fixture->rcache, top, 101, 0, &region),
			 -EINVAL);
	/* Whole pages of it do not fit into a size_t. */
	assert_int_equal(ummu_rcache_get(fixture->rcache, NULL, SIZE_MAX, 0,
					 &region),
			 -EINVAL);
	assert_ptr_equal(region, before);

	assert_int_equal(ummu_rcache_get(fixture->rcache, top, 100, 0, &region),
			 0);
	assert_true((uintptr_t)region->addr == UINTPTR_MAX - fixture->page + 1);
	assert_int_equal(region->length, fixture->page);
	ummu_rcache_put(fixture->rcache, region);

	assert_int_equal(ummu_rcache_invalidate(fixture->rcache, page, 0),
			 -EINVAL);
	assert_int_equal(ummu_rcache_invalidate(fixture->rcache, top, 101),
			 -EINVAL);
}

static void region_covers_whole_pages(void **state)
{
	struct fixture *fixture = *state;
	char *page = fixture_page(fixture, 3);
	struct ummu_region *region;

	assert_int_equal(ummu_rcache_get(fixture->rcache, page + 100,
					 fixture->page, 5, &region),
			 0);
	assert_ptr_equal(region->addr, page);
	assert_int_equal(region->length, 2 * fixture->page);
	assert_int_equal(region->access, 5);
	assert_true(region->cached);
	assert_true(ummu_region_valid(region));
	ummu_rcache_put(fixture->rcache, region);
}

static void second_get_hits(void **state)
{
	struct fixture *fixture = *state;
	struct ummu_region *whole = fixture_get(fixture, 10, 4, 0);
	struct ummu_region *part = fixture_get(fixture, 11, 2, 0);
	struct ummu_region *beyond = fixture_get(fixture, 13, 2, 0);
	struct ummu_rcache_stats stats;

	assert_ptr_equal(whole, part);
	assert_ptr_not_equal(whole, beyond);
	stats = fixture_stats(fixture);
	assert_int_equal(stats.hits, 1);
	assert_int_equal(stats.misses, 2);
	assert_int_equal(stats.registrations, 2);
	assert_int_equal(stats.regions, 2);
	assert_int_equal(stats.bytes, 6 * fixture->page);
	assert_int_equal(stats.pinned_bytes, 6 * fixture->page);
	fixture_put(fixture, whole);
	fixture_put(fixture, part);
	fixture_put(fixture, beyond);
	assert_int_equal(fixture->pinner.deregistered, 0);
}

static void access_needs_all_bits(void **state)
{
	struct fixture *fixture = *state;
	struct ummu_region *three = fixture_get(fixture, 0, 1, 3);
	struct ummu_region *one = fixture_get(fixture, 0, 1, 1);
	struct ummu_region *six = fixture_get(fixture, 0, 1, 6);

	assert_ptr_equal(three, one);
	assert_ptr_not_equal(three, six);
	fixture_put(fixture, three);
	fixture_put(fixture, one);
	fixture_put(fixture, six);
}

/* Numbers instead of bits: the greater access serves the smaller. */
static bool greater_covers(void *ctx, uint64_t have, uint64_t want)
{
	(void)ctx;
	return have >= want;
}

static void covers_decides(void **state)
{
	struct fixture *fixture = *state;
	struct ummu_rcache_ops ops = fake_pinner_ops;
	struct ummu_region *regions[20];

	ops.covers = greater_covers;
	fixture_replace(fixture, &ops, NULL);
	/* Each is too small for the next one. */
	for (uint64_t i = 0; i < 20; i++)
		regions[i] = fixture_get(fixture, 0, 1, i);
	assert_int_equal(fixture->pinner.registered, 20);
	fixture_put(fixture, fixture_get(fixture, 0, 1, 0));
	assert_int_equal(fixture->pinner.registered, 20);
	for (uint64_t i = 0; i < 20; i++)
		fixture_put(fixture, regions[i]);
}

/*
 * The pinner runs with no lock held: a second thread gets through a call that
 * needs all of them while the pinner waits for it.
 */
static void *use_every_lock(void *arg)
{
	struct fixture *fixture = arg;

	assert_int_equal(ummu_rcache_invalidate(fixture->rcache,
						fixture_page(fixture, 99), 1),
			 0);
	return NULL;
}

static void pass_all_locks(struct fixture *fixture)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, use_every_lock, fixture),
			 0);
	pthread_join(thread, NULL);
}

static void pass_in_pinner(void *arg, struct ummu_region *region)
{
	(void)region;
	pass_all_locks(arg);
}

static bool pass_in_covers(void *ctx, uint64_t have, uint64_t want)
{
	struct fake_pinner *pinner = ctx;

	pass_all_locks(pinner->arg);
	return have == want;
}

static void pinner_runs_without_locks(void **state)
{
	struct fixture *fixture = *state;
	struct ummu_rcache_ops ops = fake_pinner_ops;
	struct ummu_region *region;

	fixture->pinner.arg = fixture;
	fixture->pinner.on_reg = pass_in_pinner;
	fixture->pinner.on_dereg = pass_in_pinner;
	ops.covers = pass_in_covers;
	fixture_replace(fixture, &ops, NULL);
	fixture_touch(fixture, 0, 1);
	fixture_touch(fixture, 0, 1);
	assert_int_equal(ummu_rcache_flush(fixture->rcache, true), 1);

	region = fixture_get(fixture, 0, 1, 0);
	fake_invalidate(fixture->fake, region->addr, 1, UMMU_REASON_UNMAP);
	fixture_touch(fixture, 0, 1);
	fixture_put(fixture, region);
	assert_int_equal(fixture->pinner.registered, 3);
}

static void private_storage(void **state)
{
	struct fixture *fixture = *state;
	struct ummu_region *first = fixture_get(fixture, 0, 1, 0);
	struct ummu_region *second = fixture_get(fixture, 1, 1, 0);
	uintptr_t storage = (uintptr_t)ummu_region_private(first);

	assert_int_equal(storage % _Alignof(max_align_t), 0);
	assert_ptr_not_equal(ummu_region_private(first),
			     ummu_region_private(second));
	fixture_put(fixture, first);
	fixture_put(fixture, second);
}

static void flush_leaves_what_is_used(void **state)
{
	struct fixture *fixture = *state;
	struct ummu_region *held = fixture_get(fixture, 0, 1, 0);

	fixture_touch(fixture, 1, 1);
	fixture_touch(fixture, 2, 1);
	assert_int_equal(ummu_rcache_flush(fixture->rcache, false), 0);
	assert_int_equal(ummu_rcache_flush(fixture->rcache, true), 2);
	assert_int_equal(ummu_rcache_flush(fixture->rcache, true), 0);
	fixture_put(fixture, held);
	assert_int_equal(ummu_rcache_flush(fixture->rcache, true), 1);
	assert_int_equal(fixture_stats(fixture).regions, 0);
	assert_int_equal(fixture_stats(fixture).pinned_bytes, 0);
	assert_int_equal(fixture_stats(fixture).evictions, 0);
}

/* Built with newer headers, and with older ones. */
static void stats_fill_what_has_room(void **state)
{
	struct fixture *fixture = *state;
	struct {
		struct ummu_rcache_stats stats;
		uint64_t later;
	} newer = { .stats.size = sizeof(newer), .later = 9 };
	struct ummu_rcache_stats older = {
		.size = offsetof(struct ummu_rcache_stats, misses),
		.misses = 9,
	};

	fixture_touch(fixture, 0, 1);
	fixture_touch(fixture, 0, 1);
	assert_int_equal(ummu_rcache_stats(fixture->rcache, &newer.stats), 0);
	assert_int_equal(newer.stats.size, sizeof(newer));
	assert_int_equal(newer.stats.hits, 1);
	assert_int_equal(newer.later, 0);
	assert_int_equal(ummu_rcache_stats(fixture->rcache, &older), 0);
	assert_int_equal(older.hits, 1);
	assert_int_equal(older.misses, 9);
	older.size = 0;
	assert_int_equal(ummu_rcache_stats(fixture->rcache, &older), -EINVAL);
}

/* A mistake of the caller: the region stays registered, the cache goes. */
static void destroy_spares_what_is_held(void **state)
{
	static struct ummu_region *never_put;
	struct fake_monitor *fake = fake_open(false);
	static struct fake_pinner pinner;
	struct ummu_rcache *rcache;
	struct ummu_region *region;

	(void)state;
	fake_pinner_init(&pinner);
	assert_int_equal(ummu_rcache_create(&fake->base, &fake_pinner_ops,
					    &pinner, NULL, &rcache),
			 0);
	assert_int_equal(ummu_rcache_get(rcache, fake, 1, 0, &never_put), 0);
	assert_int_equal(ummu_rcache_get(rcache, &pinner, 1, 0, &region), 0);
	ummu_rcache_put(rcache, region);
	ummu_rcache_destroy(rcache);
	assert_int_equal(fake_pinner_live(&pinner), 1);
	assert_false(ummu_region_valid(never_put));
	fake_close(fake); /* no watch was left */
	ummu_rcache_destroy(NULL);
}

#define WITH_FIXTURE(test) \
	cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(create_checks_sizes),
		WITH_FIXTURE(short_ops_have_no_covers),
		WITH_FIXTURE(monitor_serves_one_cache),
		cmocka_unit_test(create_refuses_dead_monitor),
		WITH_FIXTURE(get_checks_range),
		WITH_FIXTURE(region_covers_whole_pages),
		WITH_FIXTURE(second_get_hits),
		WITH_FIXTURE(access_needs_all_bits),
		WITH_FIXTURE(covers_decides),
		WITH_FIXTURE(pinner_runs_without_locks),
		WITH_FIXTURE(private_storage),
		WITH_FIXTURE(flush_leaves_what_is_used),
		WITH_FIXTURE(stats_fill_what_has_room),
		cmocka_unit_test(destroy_spares_what_is_held),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
