/* SPDX-License-Identifier: MIT */
/* rcache-invalidate.c - regions whose memory goes away, at every step of theirs. */
#define _GNU_SOURCE
#include "rcache-fixture.h"

#include <stdlib.h>

static void unmap(struct fixture *fixture, size_t page, size_t count)
{
	fake_invalidate_in_flight(fixture->fake, fixture_page(fixture, page),
				  count * fixture->page, UMMU_REASON_UNMAP);
}

/* Each call of the cache deregisters what was invalidated while idle. */
static void reap_by_get(struct fixture *fixture)
{
	fixture_put(fixture, fixture_get(fixture, 50, 1, 0));
}

static void reap_by_flush(struct fixture *fixture)
{
	assert_int_equal(ummu_rcache_flush(fixture->rcache, false), 1);
}

static void reap_by_invalidate(struct fixture *fixture)
{
	assert_int_equal(ummu_rcache_invalidate(fixture->rcache,
						fixture_page(fixture, 70), 1),
			 0);
}

static void reap_after_failure(struct fixture *fixture)
{
	struct ummu_region *region;

	fixture->fake->failed = true;
	assert_int_equal(fixture_try(fixture, 50, 1, &region), -EBADF);
	fixture->fake->failed = false;
}

static void every_call_reaps(void **state)
{
	struct fixture *fixture = *state;
	void (*const calls[])(struct fixture *) = {
		reap_by_get, /* a miss, */
		reap_by_get, /* and then a hit */
		reap_by_flush, reap_by_invalidate, reap_after_failure,
	};
	unsigned int before;

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		fixture_touch(fixture, 0, 2);
		before = fixture->pinner.deregistered;
		unmap(fixture, 1, 1);
		calls[i](fixture);
		assert_int_equal(fixture->pinner.deregistered, before + 1);
	}
}

static void put_reaps(void **state)
{
	struct fixture *fixture = *state;
	struct ummu_region *held = fixture_get(fixture, 50, 1, 0);

	fixture_touch(fixture, 0, 1);
	unmap(fixture, 0, 1);
	fixture_put(fixture, held);
	assert_int_equal(fixture->pinner.deregistered, 1);
	assert_int_equal(fixture_stats(fixture).regions, 1);
}

static void reasons_are_counted(void **state)
{
	struct fixture *fixture = *state;
	struct ummu_rcache_stats stats;

	for (int reason = UMMU_REASON_UNMAP; reason <= UMMU_REASON_FAILED;
	     reason++) {
		/* 1 of the first reason, 2 of the second ... */
		for (int i = 0; i < reason; i++)
			fixture_touch(fixture, (size_t)(10 * i), 1);
		fake_invalidate(fixture->fake, fixture_page(fixture, 0),
				100 * fixture->page, (enum ummu_reason)reason);
		assert_int_equal(ummu_rcache_flush(fixture->rcache, false),
				 reason);
	}
	stats = fixture_stats(fixture);
	assert_int_equal(stats.invalidated_unmap, 1);
	assert_int_equal(stats.invalidated_clear, 2);
	assert_int_equal(stats.invalidated_move, 3);
	assert_int_equal(stats.invalidated_other, 4);
	assert_int_equal(stats.evictions, 0);
	assert_int_equal(stats.retries, 0);
}

static void in_use_leaves_lookup_now_and_dereg_later(void **state)
{
	struct fixture *fixture = *state;
	struct ummu_region *old = fixture_get(fixture, 0, 4, 0);
	struct ummu_region *young;

	unmap(fixture, 3, 1);
	assert_false(ummu_region_valid(old));
	young = fixture_get(fixture, 0, 2, 0);
	assert_ptr_not_equal(old, young);
	assert_true(ummu_region_valid(young));
	assert_int_equal(fixture->pinner.registered, 2);
	assert_int_equal(fixture->pinner.deregistered, 0);
	fixture_put(fixture, old);
	assert_int_equal(fixture->pinner.deregistered, 1);
	fixture_put(fixture, young);
	assert_int_equal(fixture->pinner.deregistered, 1);
}

/* More events than one hold of the lock handles. */
static void many_at_once(void **state)
{
	struct fixture *fixture = *state;
	const size_t count = 2500;

	for (size_t i = 0; i < count; i++)
		fixture_touch(fixture, i, 1);
	unmap(fixture, 0, count);
	assert_int_equal(ummu_rcache_flush(fixture->rcache, false), count);
	assert_int_equal(fixture_stats(fixture).invalidated_unmap, count);
	assert_int_equal(fixture_stats(fixture).regions, 0);
}

/* The watch is spent before its event can be read. */
static void lookup_retires_what_no_event_named(void **state)
{
	struct fixture *fixture = *state;

	fixture_touch(fixture, 0, 1);
	fixture->fake->mute = true;
	unmap(fixture, 0, 1);
	fixture_touch(fixture, 0, 1);
	assert_int_equal(fixture->pinner.registered, 2);
	assert_int_equal(fixture->pinner.deregistered, 1);
	assert_int_equal(fixture_stats(fixture).invalidated_other, 1);
}

/* What happens during reg(), @times times. */
struct meddler {
	struct fixture *fixture;
	unsigned int times;
	void (*act)(struct fixture *);
};

static void meddle(void *arg, struct ummu_region *region)
{
	struct meddler *meddler = arg;

	(void)region;
	if (!meddler->times)
		return;
	meddler->times--;
	meddler->act(meddler->fixture);
}

static void set_meddler(struct fixture *fixture, struct meddler *meddler)
{
	meddler->fixture = fixture;
	fixture->pinner.on_reg = meddle;
	fixture->pinner.arg = meddler;
}

static void unmap_all(struct fixture *fixture)
{
	unmap(fixture, 0, 100);
}

/* Somebody else reads the event before the owner looks. */
static void *reap_elsewhere(void *arg)
{
	struct fixture *fixture = arg;

	assert_int_equal(ummu_rcache_flush(fixture->rcache, false), 0);
	return NULL;
}

static void unmap_and_reap(struct fixture *fixture)
{
	pthread_t thread;

	unmap_all(fixture);
	pthread_create(&thread, NULL, reap_elsewhere, fixture);
	pthread_join(thread, NULL);
}

static void invalidate_by_request(struct fixture *fixture)
{
	/* PENDING: it does not leave, it never comes in. */
	assert_int_equal(ummu_rcache_invalidate(fixture->rcache,
						fixture_page(fixture, 1), 1),
			 0);
}

static void moved_while_registering_is_retried(void **state)
{
	struct fixture *fixture = *state;
	void (*const acts[])(struct fixture *) = {
		unmap_all,
		unmap_and_reap,
		invalidate_by_request,
	};
	struct meddler meddler;
	struct ummu_region *region;
	struct ummu_rcache_stats stats;

	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
		meddler = (struct meddler){ .times = 3, .act = acts[i] };
		set_meddler(fixture, &meddler);
		region = fixture_get(fixture, 0, 3, 0);
		assert_true(ummu_region_valid(region));
		fixture_put(fixture, region);
		assert_int_equal(ummu_rcache_flush(fixture->rcache, true), 1);
		stats = fixture_stats(fixture);
		assert_int_equal(stats.retries, 3 * (i + 1));
		assert_int_equal(stats.registrations, 4 * (i + 1));
		assert_int_equal(stats.deregistrations, 4 * (i + 1));
		assert_int_equal(stats.misses, i + 1);
	}
}

static void meddle_once(void *arg)
{
	struct fixture *fixture = arg;

	fixture->fake->on_watched = NULL;
	unmap_all(fixture);
}

/* It is watched and not linked yet, so that no event finds it. */
static void moved_before_it_is_linked_is_retried(void **state)
{
	struct fixture *fixture = *state;
	struct ummu_region *region;

	fixture->fake->arg = fixture;
	fixture->fake->on_watched = meddle_once;
	region = fixture_get(fixture, 0, 3, 0);
	assert_true(ummu_region_valid(region));
	fixture_put(fixture, region);
	assert_int_equal(fixture_stats(fixture).registrations, 2);
	assert_int_equal(fixture_stats(fixture).retries, 1);
	assert_int_equal(ummu_rcache_flush(fixture->rcache, true), 1);
}

static void retries_are_bounded(void **state)
{
	struct fixture *fixture = *state;
	struct meddler meddler = { .times = 1000, .act = unmap_all };
	struct ummu_region *region;

	set_meddler(fixture, &meddler);
	assert_int_equal(fixture_try(fixture, 0, 1, &region), -EAGAIN);
	assert_int_equal(fixture->pinner.registered, 9);
	assert_int_equal(fixture->pinner.deregistered, 9);
	assert_int_equal(fixture_stats(fixture).retries, 9);
	assert_int_equal(fixture_stats(fixture).regions, 0);
	assert_int_equal(fixture->fake->live, 0);
}

static void unsettled_lookup_goes_uncached(void **state)
{
	struct fixture *fixture = *state;
	struct ummu_region *region;

	fixture_touch(fixture, 0, 1);
	fixture->fake->unsettled = 1;
	region = fixture_get(fixture, 0, 1, 0);
	assert_false(region->cached);
	assert_false(ummu_region_valid(region));
	fixture_put(fixture, region);
	assert_int_equal(fixture->pinner.deregistered, 1);
	assert_int_equal(fixture_stats(fixture).uncached, 1);
	/* The region was not thrown away. */
	fixture_touch(fixture, 0, 1);
	assert_int_equal(fixture_stats(fixture).hits, 1);
}

static void unsettled_validation_goes_uncached(void **state)
{
	struct fixture *fixture = *state;
	struct ummu_region *region;

	fixture->fake->unsettled = 1;
	region = fixture_get(fixture, 0, 1, 0);
	assert_false(region->cached);
	assert_int_equal(fixture_stats(fixture).regions, 0);
	assert_int_equal(fixture_stats(fixture).uncached, 1);
	assert_int_equal(fixture->fake->live, 0);
	fixture_put(fixture, region);
	assert_int_equal(fixture->pinner.deregistered, 1);
}

static void invalidate_by_request_of_live(void **state)
{
	struct fixture *fixture = *state;
	struct ummu_region *held = fixture_get(fixture, 2, 2, 0);

	fixture_touch(fixture, 0, 2);
	fixture_touch(fixture, 4, 2);
	assert_int_equal(ummu_rcache_invalidate(fixture->rcache,
						fixture_page(fixture, 3),
						fixture->page + 1),
			 2);
	assert_int_equal(fixture->pinner.deregistered, 1);
	assert_false(ummu_region_valid(held));
	fixture_touch(fixture, 2, 2);
	assert_int_equal(fixture->pinner.registered, 4);
	fixture_put(fixture, held);
	assert_false(fixture->pinner.last_valid);
	assert_int_equal(fixture->pinner.deregistered, 2);
	assert_int_equal(fixture_stats(fixture).invalidated_other, 2);
	/* An event of it comes late, and finds nothing. */
	unmap(fixture, 0, 100);
	assert_int_equal(ummu_rcache_flush(fixture->rcache, false), 2);
}

/* A pinner that only unlocks pages that are still there asks in dereg. */
/* What a release finds: the watches left, and that the cache can be used. */
static void when_released(void *arg)
{
	struct fixture *fixture = arg;

	assert_int_equal(fixture->fake->live, 1);
	assert_int_equal(fixture->pinner.deregistered, 2);
	/* Hangs if a lock is held. */
	fixture_touch(fixture, 100, 1);
}

/* Idle regions have ended their watches before the kernel is asked. */
static void invalidate_by_request_gives_back(void **state)
{
	struct fixture *fixture = *state;
	struct ummu_region *held = fixture_get(fixture, 2, 1, 0);

	fixture_touch(fixture, 0, 1);
	fixture_touch(fixture, 1, 1);
	fixture->fake->arg = fixture;
	fixture->fake->on_release = when_released;
	assert_int_equal(ummu_rcache_invalidate(fixture->rcache,
						fixture_page(fixture, 0),
						3 * fixture->page),
			 3);
	assert_int_equal(fixture->fake->released.start,
			 (uintptr_t)fixture_page(fixture, 0));
	assert_int_equal(fixture->fake->released.last,
			 (uintptr_t)fixture_page(fixture, 3) - 1);
	fixture_put(fixture, held);
}

static bool is_unmapped(const struct ummu_region *region)
{
	void *const untouched = (void *)(uintptr_t)1;
	void *addr = untouched;
	size_t length = 0;

	if (!ummu_region_unmapped(region, &addr, &length)) {
		assert_ptr_equal(addr, untouched);
		return false;
	}
	assert_ptr_equal(addr, region->addr);
	assert_int_equal(length, region->length);
	return true;
}

/* What a pinner has to leave alone: not what stays mapped, or may. */
static void unmapped_part_is_told(void **state)
{
	struct fixture *fixture = *state;

	for (int reason = UMMU_REASON_UNMAP; reason <= UMMU_REASON_OTHER;
	     reason++) {
		struct ummu_region *region = fixture_get(fixture, 0, 2, 0);

		assert_false(is_unmapped(region));
		fake_invalidate(fixture->fake, region->addr, region->length,
				(enum ummu_reason)reason);
		ummu_rcache_flush(fixture->rcache, false);
		assert_int_equal(is_unmapped(region),
				 reason == UMMU_REASON_UNMAP ||
					 reason == UMMU_REASON_MOVE);
		fixture_put(fixture, region);
	}
}

static void dereg_can_ask_for_validity(void **state)
{
	struct fixture *fixture = *state;

	fixture_touch(fixture, 0, 1);
	ummu_rcache_flush(fixture->rcache, true);
	assert_true(fixture->pinner.last_valid);
	fixture_touch(fixture, 0, 1);
	unmap(fixture, 0, 1);
	ummu_rcache_flush(fixture->rcache, false);
	assert_false(fixture->pinner.last_valid);
}

static void refused_watches_go_uncached(void **state)
{
	struct fixture *fixture = *state;
	const int refusals[] = { -EOPNOTSUPP, -EBUSY,  -EPERM,
				 -ENOMEM,     -ENOSPC, -EAGAIN };
	struct ummu_region *region;

	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		fixture->fake->refuse = 1;
		fixture->fake->refuse_error = refusals[i];
		region = fixture_get(fixture, 0, 1, 0);
		assert_false(region->cached);
		assert_int_equal(fixture_stats(fixture).regions, 0);
		fixture_put(fixture, region);
		assert_int_equal(fixture->pinner.deregistered, i + 1);
		assert_int_equal(fixture_stats(fixture).uncached, i + 1);
	}
}

static void other_refusals_are_errors(void **state)
{
	struct fixture *fixture = *state;
	const int errors[] = { -EFAULT, -EINVAL, -ECHILD, -EBADF };
	struct ummu_region *region;

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		fixture->fake->refuse = 1;
		fixture->fake->refuse_error = errors[i];
		assert_int_equal(fixture_try(fixture, 0, 1, &region), errors[i]);
	}
	assert_int_equal(fixture->pinner.calls, 0);
}

#define WITH_FIXTURE(test) \
	cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FIXTURE(every_call_reaps),
		WITH_FIXTURE(put_reaps),
		WITH_FIXTURE(reasons_are_counted),
		WITH_FIXTURE(in_use_leaves_lookup_now_and_dereg_later),
		WITH_FIXTURE(many_at_once),
		WITH_FIXTURE(lookup_retires_what_no_event_named),
		WITH_FIXTURE(moved_before_it_is_linked_is_retried),
		WITH_FIXTURE(moved_while_registering_is_retried),
		WITH_FIXTURE(retries_are_bounded),
		WITH_FIXTURE(unsettled_lookup_goes_uncached),
		WITH_FIXTURE(unsettled_validation_goes_uncached),
		WITH_FIXTURE(invalidate_by_request_of_live),
		WITH_FIXTURE(invalidate_by_request_gives_back),
		WITH_FIXTURE(unmapped_part_is_told),
		WITH_FIXTURE(dereg_can_ask_for_validity),
		WITH_FIXTURE(refused_watches_go_uncached),
		WITH_FIXTURE(other_refusals_are_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
