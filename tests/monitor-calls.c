/* SPDX-License-Identifier: MIT */
/* monitor-calls.c - what the monitor's calls do before a backend sees them. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake-backend.h"
#include "fake-pinner.h"
#include "run.h"

static size_t page;

static int set_up(void **state)
{
	*state = fake_open(false);
	return 0;
}

static int set_up_one_load(void **state)
{
	*state = fake_open(true);
	return 0;
}

static int tear_down(void **state)
{
	fake_close(*state);
	return 0;
}

static void is_explained(void)
{
	assert_true(strlen(ummu_monitor_explain()) > 10);
}

static void release_is_of_whole_pages(void **state)
{
	struct fake_monitor *fake = *state;
	const uint64_t start = 16 * page;

	assert_int_equal(ummu_monitor_release(&fake->base, (void *)(start + 1),
					      page),
			 0);
	assert_int_equal(fake->released.start, start);
	assert_int_equal(fake->released.last, start + 2 * page - 1);
	fake->failed = true;
	assert_int_equal(ummu_monitor_release(&fake->base, (void *)start, 1),
			 -EBADF);
	fake->failed = false;
}

static void release_refuses_no_range(void **state)
{
	struct fake_monitor *fake = *state;

	assert_int_equal(ummu_monitor_release(&fake->base, (void *)page, 0),
			 -EINVAL);
	is_explained();
	assert_int_equal(ummu_monitor_release(&fake->base,
					      (void *)(UINTPTR_MAX - 10), 12),
			 -EINVAL);
	assert_int_equal(fake->released.last, 0);
}

/* Where nothing outlives a watch there is nothing to give back. */
static void release_of_a_backend_without(void **state)
{
	struct fake_monitor *fake = *state;

	assert_int_equal(ummu_monitor_release(&fake->base, (void *)page, 1), 0);
}

/* Made at the first call, and refused by the backend's own error. */
static void descriptor_is_the_backends(void **state)
{
	struct fake_monitor *fake = *state;

	fake->base.event_fd = 77;
	fake->fd_error = -EMFILE;
	assert_int_equal(ummu_monitor_fd(&fake->base), -EMFILE);
	fake->fd_error = 5;
	assert_int_equal(ummu_monitor_fd(&fake->base), 5);
}

static void descriptor_made_at_open(void **state)
{
	struct fake_monitor *fake = *state;

	fake->base.event_fd = 77;
	assert_int_equal(ummu_monitor_fd(&fake->base), 77);
}

static struct ummu_watch *watch(struct fake_monitor *fake, uint64_t cookie)
{
	struct ummu_watch *handle;

	assert_int_equal(ummu_monitor_watch(&fake->base, (void *)page, 1,
					    cookie, &handle),
			 0);
	return handle;
}

static void claim_refused(struct fake_monitor *fake, int error, const char *why)
{
	struct ummu_reader *reader = NULL;

	assert_int_equal(ummu_monitor_claim(&fake->base, &reader), error);
	assert_null(reader);
	if (why)
		assert_non_null(strstr(ummu_monitor_explain(), why));
}

/* Whose events would be the claimer's to read; read or not, spent or not. */
static void watches_of_others_refuse_a_claim(void **state)
{
	struct fake_monitor *fake = *state;
	struct ummu_watch *live = watch(fake, 1), *spent = watch(fake, 2);
	struct ummu_reader *reader;
	struct ummu_event event;

	claim_refused(fake, -EBUSY, "watches");
	ummu_monitor_unwatch(&fake->base, live);
	claim_refused(fake, -EBUSY, "watches");
	fake_invalidate(fake, (void *)page, page, UMMU_REASON_UNMAP);
	claim_refused(fake, -EBUSY, "watches");
	assert_int_equal(ummu_monitor_read(&fake->base, &event, 1), 1);
	claim_refused(fake, -EBUSY, "watches");
	ummu_monitor_unwatch(&fake->base, spent);

	/* A watch that was refused is none. */
	fake->refuse = 1;
	fake->refuse_error = -EAGAIN;
	assert_int_equal(ummu_monitor_watch(&fake->base, (void *)page, 1, 3,
					    &live),
			 -EAGAIN);
	assert_int_equal(ummu_monitor_watch(&fake->base, NULL, 0, 3, &live),
			 -EINVAL);
	assert_int_equal(ummu_monitor_claim(&fake->base, &reader), 0);
	ummu_reader_drop(reader);
	ummu_reader_drop(NULL);
}

/* A claimed monitor is its reader's; with that it has what others had. */
static void claimed_is_refused_to_others(void **state)
{
	struct fake_monitor *fake = *state;
	struct ummu_watch *handle = NULL, *own;
	struct ummu_reader *reader;
	struct ummu_event event;

	assert_int_equal(ummu_monitor_claim(&fake->base, &reader), 0);
	claim_refused(fake, -EBUSY, "reader already");
	assert_int_equal(ummu_monitor_watch(&fake->base, (void *)page, 1, 42,
					    &handle),
			 -EBUSY);
	assert_null(handle);
	assert_non_null(strstr(ummu_monitor_explain(), "claimed"));
	assert_int_equal(ummu_monitor_read(&fake->base, &event, 1), -EBUSY);
	is_explained();

	assert_int_equal(ummu_reader_watch(reader, (void *)page, 1, 7, &own), 0);
	assert_true(ummu_watch_valid(own));
	fake_invalidate(fake, (void *)page, page, UMMU_REASON_UNMAP);
	assert_int_equal(ummu_monitor_read(&fake->base, &event, 1), -EBUSY);
	assert_int_equal(ummu_reader_read(reader, &event, 1), 1);
	assert_int_equal(event.cookie, 7);

	/* What the reader leaves counts as a watch of anybody's. */
	ummu_reader_drop(reader);
	claim_refused(fake, -EBUSY, "watches");
	ummu_monitor_unwatch(&fake->base, own);
	ummu_monitor_unwatch(&fake->base, watch(fake, 1));
	assert_int_equal(ummu_monitor_read(&fake->base, &event, 1), 0);
	assert_int_equal(ummu_monitor_claim(&fake->base, &reader), 0);
	ummu_reader_drop(reader);
}

static void try_to_claim(void *arg)
{
	claim_refused(arg, -EBUSY, "is reading it");
}

/* A read that began before the claim could take its first event away. */
static void reads_of_others_refuse_a_claim(void **state)
{
	struct fake_monitor *fake = *state;
	struct ummu_reader *reader;
	struct ummu_event event;

	fake->arg = fake;
	fake->on_reading = try_to_claim;
	assert_int_equal(ummu_monitor_read(&fake->base, &event, 1), 0);
	fake->on_reading = NULL;
	assert_int_equal(ummu_monitor_claim(&fake->base, &reader), 0);
	ummu_reader_drop(reader);
}

static void nobody_claims_what_failed(void **state)
{
	struct fake_monitor *fake = *state;
	struct ummu_watch *handle;
	struct ummu_reader *reader;

	fake->failed = true;
	claim_refused(fake, -EBADF, NULL);
	fake->failed = false;
	assert_int_equal(ummu_monitor_claim(&fake->base, &reader), 0);
	/* The cause, where there is a better one. */
	fake->failed = true;
	assert_int_equal(ummu_monitor_watch(&fake->base, (void *)page, 1, 1,
					    &handle),
			 -EBADF);
	fake->failed = false;
	ummu_reader_drop(reader);
}

/* A cache takes cookies for pointers: it must never see another's. */
static void cache_has_its_monitor_alone(void **state)
{
	struct fake_monitor *fake = *state;
	struct ummu_rcache *rcache = NULL;
	struct fake_pinner pinner;
	struct ummu_watch *handle = watch(fake, 42);

	fake_pinner_init(&pinner);
	assert_int_equal(ummu_rcache_create(&fake->base, &fake_pinner_ops,
					    &pinner, NULL, &rcache),
			 -EBUSY);
	ummu_monitor_unwatch(&fake->base, handle);
	assert_int_equal(ummu_rcache_create(&fake->base, &fake_pinner_ops,
					    &pinner, NULL, &rcache),
			 0);
	assert_int_equal(ummu_monitor_watch(&fake->base, (void *)page, 1, 42,
					    &handle),
			 -EBUSY);
	fake_invalidate(fake, (void *)page, page, UMMU_REASON_UNMAP);
	assert_int_equal(ummu_rcache_flush(rcache, false), 0);
	ummu_rcache_destroy(rcache);
	ummu_monitor_unwatch(&fake->base, watch(fake, 42));
}

/**
 * struct turns - what two threads that take turns with a monitor have met
 * @strange: events that were not of the thread's own watch, or were not there
 * @others, @readers: turns of the one and of the other
 */
struct turns {
	struct fake_monitor *fake;
	unsigned int strange, others, readers;
	bool end;
};

static bool is_strange(int count, const struct ummu_event *event,
		       uint64_t cookie)
{
	return count > 0 && event->cookie != cookie;
}

/* Watches and reads as anybody may. */
static void *be_another(void *arg)
{
	struct turns *turns = arg;
	struct ummu_monitor *monitor = &turns->fake->base;
	struct ummu_watch *handle;
	struct ummu_event event;

	while (!__atomic_load_n(&turns->end, __ATOMIC_RELAXED)) {
		if (is_strange(ummu_monitor_read(monitor, &event, 1), &event, 1))
			__atomic_fetch_add(&turns->strange, 1, __ATOMIC_RELAXED);
		if (ummu_monitor_watch(monitor, (void *)page, 1, 1, &handle))
			continue;
		fake_invalidate(turns->fake, (void *)page, page,
				UMMU_REASON_UNMAP);
		if (is_strange(ummu_monitor_read(monitor, &event, 1), &event, 1))
			__atomic_fetch_add(&turns->strange, 1, __ATOMIC_RELAXED);
		ummu_monitor_unwatch(monitor, handle);
		__atomic_fetch_add(&turns->others, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void be_reader(struct turns *turns)
{
	struct ummu_monitor *monitor = &turns->fake->base;
	struct ummu_reader *reader;
	struct ummu_watch *handle;
	struct ummu_event event;

	if (ummu_monitor_claim(monitor, &reader))
		return;
	assert_int_equal(ummu_reader_watch(reader, (void *)page, 1, 2, &handle),
			 0);
	fake_invalidate(turns->fake, (void *)page, page, UMMU_REASON_UNMAP);
	/* Exactly one, and not taken by the other thread. */
	if (ummu_reader_read(reader, &event, 1) != 1 || event.cookie != 2)
		__atomic_fetch_add(&turns->strange, 1, __ATOMIC_RELAXED);
	ummu_monitor_unwatch(monitor, handle);
	ummu_reader_drop(reader);
	turns->readers++;
}

static void events_reach_their_own(void **state)
{
	struct turns turns = { .fake = *state };
	pthread_t thread;
	double end = run_seconds() + 20;

	assert_int_equal(pthread_create(&thread, NULL, be_another, &turns), 0);
	/* Until each has had its share; a busy machine takes longer. */
	while ((turns.readers < run_scaled(10000) ||
		__atomic_load_n(&turns.others, __ATOMIC_RELAXED) <
			run_scaled(1000)) &&
	       run_seconds() < end)
		be_reader(&turns);
	__atomic_store_n(&turns.end, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	print_message("claimed %u times, used by another %u times, %u strange events\n",
		      turns.readers, turns.others, turns.strange);
	assert_int_equal(turns.strange, 0);
	assert_true(turns.readers && turns.others);
}

#define ON_FAKE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define ON_ONE_LOAD(test) \
	cmocka_unit_test_setup_teardown(test, set_up_one_load, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_FAKE(release_is_of_whole_pages),
		ON_FAKE(release_refuses_no_range),
		ON_ONE_LOAD(release_of_a_backend_without),
		ON_FAKE(descriptor_is_the_backends),
		ON_ONE_LOAD(descriptor_made_at_open),
		ON_FAKE(watches_of_others_refuse_a_claim),
		ON_FAKE(claimed_is_refused_to_others),
		ON_FAKE(reads_of_others_refuse_a_claim),
		ON_FAKE(nobody_claims_what_failed),
		ON_FAKE(cache_has_its_monitor_alone),
		ON_FAKE(events_reach_their_own),
	};

	run_limit(60);
	page = (size_t)sysconf(_SC_PAGESIZE);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
