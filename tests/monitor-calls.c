/* SPDX-License-Identifier: MIT */
/* monitor-calls.c - what the monitor's calls do before a backend sees them. */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake-backend.h"
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
	};

	run_limit(60);
	page = (size_t)sysconf(_SC_PAGESIZE);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
