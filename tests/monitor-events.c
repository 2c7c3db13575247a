/* SPDX-License-Identifier: MIT */
/* monitor-events.c - what a monitor tells of memory that leaves. */
#define _GNU_SOURCE
#include "monitor-fixture.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "run.h"
#include "witness.h"

static void hint_is_clipped(void **state)
{
	struct ummu_monitor *monitor = *state;
	char *memory = monitor_map(8);
	/* Not of whole pages: widened. */
	struct ummu_watch *middle = monitor_watch(monitor,
						  memory + 2 * page + 5,
						  3 * page, 77);

	munmap(memory, 3 * page);
	assert_false(ummu_watch_valid(middle));
	assert_true(ummu_watch_spent(middle));
	monitor_expect_event(monitor, 77, memory + 2 * page, memory + 3 * page,
			     UMMU_REASON_UNMAP);

	/* It is spent: what happens to the rest is not reported. */
	munmap(memory + 3 * page, 5 * page);
	monitor_expect_silence(monitor);
	ummu_monitor_unwatch(monitor, middle);
}

static void unmap_of_all_hints_at_all(void **state)
{
	struct ummu_monitor *monitor = *state;
	char *memory = monitor_map(4);
	struct ummu_watch *inner = monitor_watch(monitor, memory + page,
						 2 * page, 5);

	munmap(memory, 4 * page);
	assert_false(ummu_watch_valid(inner));
	monitor_expect_event(monitor, 5, memory + page, memory + 3 * page,
			     UMMU_REASON_UNMAP);
	ummu_monitor_unwatch(monitor, inner);
}

static void several_watches_in_one_unmap(void **state)
{
	struct ummu_monitor *monitor = *state;
	char *memory = monitor_map(8);
	struct ummu_watch *watches[6];
	struct ummu_event events[8];
	unsigned int seen = 0;
	int count;

	/* Equal, nested, side by side; the last two are out of it. */
	watches[0] = monitor_watch(monitor, memory, page, 0);
	watches[1] = monitor_watch(monitor, memory, page, 1);
	watches[2] = monitor_watch(monitor, memory, 4 * page, 2);
	watches[3] = monitor_watch(monitor, memory + 3 * page, page, 3);
	watches[4] = monitor_watch(monitor, memory + 4 * page, page, 4);
	watches[5] = monitor_watch(monitor, memory + 7 * page, page, 5);
	munmap(memory, 4 * page);
	for (int i = 0; i < 6; i++)
		assert_int_equal(ummu_watch_valid(watches[i]), i >= 4);

	/* In two reads: the descriptor stays readable between them. */
	assert_int_equal(ummu_monitor_read(monitor, events, 3), 3);
	assert_true(monitor_readable(monitor));
	count = ummu_monitor_read(monitor, events + 3, 5);
	assert_int_equal(count, 1);
	for (int i = 0; i < 4; i++)
		seen |= 1U << events[i].cookie;
	assert_int_equal(seen, 0xf);
	monitor_expect_silence(monitor);
	assert_int_equal(monitor_stats(monitor).invalidations, 4);
	assert_int_equal(monitor_stats(monitor).events_read, 4);
	assert_int_equal(monitor_stats(monitor).watches, 6);
	for (int i = 0; i < 6; i++)
		ummu_monitor_unwatch(monitor, watches[i]);
	/* Not what is unmapped already: it may be another's by now. */
	munmap(memory + 4 * page, 4 * page);
	monitor_expect_silence(monitor);
	assert_int_equal(monitor_stats(monitor).watches, 0);
}

static void unwatch_drops_the_event(void **state)
{
	struct ummu_monitor *monitor = *state;
	char *memory = monitor_map(2);
	struct ummu_watch *first = monitor_watch(monitor, memory, page, 1);
	struct ummu_watch *second = monitor_watch(monitor, memory + page, page,
						  2);

	munmap(memory, 2 * page);
	assert_false(ummu_watch_valid(first));
	assert_true(monitor_readable(monitor));
	ummu_monitor_unwatch(monitor, first);
	assert_true(monitor_readable(monitor));
	monitor_expect_event(monitor, 2, memory + page, memory + 2 * page,
			     UMMU_REASON_UNMAP);
	assert_false(monitor_readable(monitor));
	ummu_monitor_unwatch(monitor, second);

	memory = monitor_map(1);
	first = monitor_watch(monitor, memory, page, 3);
	munmap(memory, page);
	assert_false(ummu_watch_valid(first));
	assert_true(monitor_readable(monitor));
	ummu_monitor_unwatch(monitor, first);
	monitor_expect_silence(monitor);
}

/* The last of several watches of a page ends the kernel's reports, not before. */
static void unwatch_leaves_the_others(void **state)
{
	struct ummu_monitor *monitor = *state;
	char *memory = monitor_map(4);
	struct ummu_watch *all = monitor_watch(monitor, memory, 4 * page, 1);
	struct ummu_watch *one = monitor_watch(monitor, memory + page, page, 2);
	uint64_t reported;

	ummu_monitor_unwatch(monitor, all);
	assert_true(ummu_watch_valid(one));
	munmap(memory + page, page);
	assert_false(ummu_watch_valid(one));
	monitor_expect_event(monitor, 2, memory + page, memory + 2 * page,
			     UMMU_REASON_UNMAP);
	ummu_monitor_unwatch(monitor, one);

	one = monitor_watch(monitor, memory + 2 * page, page, 3);
	ummu_monitor_unwatch(monitor, one);
	assert_int_equal(ummu_monitor_release(monitor, memory + 2 * page, page),
			 0);
	reported = monitor_stats(monitor).kernel_events;
	munmap(memory + 2 * page, page);
	monitor_expect_silence(monitor);
	assert_int_equal(monitor_stats(monitor).kernel_events, reported);
	munmap(memory, page);
	munmap(memory + 3 * page, page);
}

static void descriptor_wakes_a_poller(void **state)
{
	struct ummu_monitor *monitor = *state;
	struct pollfd poller = { .fd = ummu_monitor_fd(monitor),
				 .events = POLLIN };
	char *memory = monitor_map(1);
	struct ummu_watch *handle = monitor_watch(monitor, memory, page, 9);

	assert_false(monitor_readable(monitor));
	munmap(memory, page);
	/* Nobody asks the library: its reader or the kernel tells. */
	assert_int_equal(poll(&poller, 1, 100000), 1);
	monitor_expect_event(monitor, 9, memory, memory + page,
			     UMMU_REASON_UNMAP);
	monitor_expect_silence(monitor);
	ummu_monitor_unwatch(monitor, handle);
}

static void reasons(void **state)
{
	struct ummu_monitor *monitor = *state;
	char *memory = monitor_map(2), *moved, *target = monitor_map(1);
	struct ummu_watch *handle = monitor_watch(monitor, memory, page, 1);

	munmap(target, page);
	moved = mremap(memory, page, page, MREMAP_MAYMOVE | MREMAP_FIXED,
		       target);
	assert_ptr_equal(moved, target);
	assert_false(ummu_watch_valid(handle));
	/* What the kernel tells its module is that the pages are unmapped. */
	monitor_expect_event(monitor, 1, memory, memory + page,
			     witness_on(monitor, "uffd") ? UMMU_REASON_MOVE :
							   UMMU_REASON_UNMAP);
	ummu_monitor_unwatch(monitor, handle);

	handle = monitor_watch(monitor, memory + page, page, 2);
	assert_int_equal(madvise(memory + page, page, MADV_DONTNEED), 0);
	assert_false(ummu_watch_valid(handle));
	monitor_expect_event(monitor, 2, memory + page, memory + 2 * page,
			     UMMU_REASON_CLEAR);
	ummu_monitor_unwatch(monitor, handle);
	munmap(moved, page);
	/*
	 * The second page stays: the next test might map memory there, and for
	 * a while after the madvise() the monitor refuses to watch it.
	 */
}

static void generation_grows(void **state)
{
	struct ummu_monitor *monitor = *state;
	struct ummu_monitor *other = monitor_open(NULL);
	struct ummu_checkpoint here, there;
	char *memory = monitor_map(4), *unwatched = monitor_map(1);
	struct ummu_watch *handle[2];
	uint64_t before;

	assert_int_equal(ummu_monitor_generation(monitor), 1);
	handle[0] = monitor_watch(monitor, memory, page, 0);
	handle[1] = monitor_watch(monitor, memory, 2 * page, 0);
	ummu_monitor_checkpoint(monitor, &here);
	ummu_monitor_checkpoint(other, &there);
	munmap(unwatched, page);
	munmap(memory + 2 * page, page);
	assert_false(ummu_changed(&here));
	munmap(memory + page, page);
	assert_true(ummu_changed(&here));
	assert_false(ummu_changed(&there));
	before = ummu_monitor_generation(monitor);
	assert_int_equal(before, 2);
	munmap(memory, page);
	assert_int_equal(ummu_monitor_generation(monitor), 3);
	assert_int_equal(ummu_monitor_generation(other), 1);
	ummu_monitor_checkpoint(monitor, &here);
	assert_false(ummu_changed(&here));
	assert_int_equal(here.seen, 3);
	for (int i = 0; i < 2; i++)
		ummu_monitor_unwatch(monitor, handle[i]);
	munmap(memory + 3 * page, page);
	ummu_monitor_close(other);
}

#define ON_MONITOR(test) \
	cmocka_unit_test_setup_teardown(test, monitor_set_up, monitor_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_MONITOR(hint_is_clipped),
		ON_MONITOR(unmap_of_all_hints_at_all),
		ON_MONITOR(several_watches_in_one_unmap),
		ON_MONITOR(unwatch_drops_the_event),
		ON_MONITOR(unwatch_leaves_the_others),
		ON_MONITOR(descriptor_wakes_a_poller),
		ON_MONITOR(reasons),
		ON_MONITOR(generation_grows),
	};

	run_limit(250);
	witness_need_monitor();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
