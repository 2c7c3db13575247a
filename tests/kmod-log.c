/* SPDX-License-Identifier: MIT */
/*
 * kmod-log.c - the reader of the kernel module's log loses its way.
 *
 * Against memory laid out as <linux/ummunotify.h> says; the module itself is
 * used in tests/monitor-kmod.c.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/kmod-log.h"
#include "run.h"

#define PAGES 8
#define FIRST 3 /* page of the mapping on which the log begins */

/* A mapping, and where its writer is. */
struct written {
	_Alignas(UMMUNOTIFY_LOG_PAGE) char map[PAGES * UMMUNOTIFY_LOG_PAGE];
	uint64_t logged;
	unsigned int page, index;
};

static struct written *written_new(void)
{
	struct written *written = aligned_alloc(UMMUNOTIFY_LOG_PAGE,
						sizeof(*written));

	assert_non_null(written);
	memset(written, 0xee, sizeof(*written));
	memset(written->map, 0, sizeof(struct ummunotify_shared));
	written->logged = 0;
	written->page = FIRST;
	written->index = 0;
	return written;
}

static struct ummunotify_log_entry *
entry_at(struct written *written, unsigned int page, unsigned int index)
{
	struct ummunotify_log_entry
		*entries = (void *)(written->map + page * UMMUNOTIFY_LOG_PAGE);

	return &entries[index];
}

/* Not in the order of their addresses; no page soon after it was left. */
static void next_page(struct written *written)
{
	unsigned int page = 1 + (written->page + 2) % (PAGES - 1);

	entry_at(written, written->page, UMMUNOTIFY_LOG_ENTRIES)
		->state = (uint64_t)page * UMMUNOTIFY_LOG_PAGE;
	written->page = page;
	written->index = 0;
}

/* Event number n has state n + 1. */
static void append(struct written *written)
{
	struct ummunotify_shared *shared = (void *)written->map;
	struct ummunotify_log_entry *entry;

	if (written->index == UMMUNOTIFY_LOG_ENTRIES)
		next_page(written);
	entry = entry_at(written, written->page, written->index++);
	*entry = (struct ummunotify_log_entry){
		.state = written->logged + 1,
		.slot = (uint32_t)written->logged,
	};
	__atomic_store_n(&shared->logged, ++written->logged, __ATOMIC_RELEASE);
}

static void expect_next(struct kmod_log *log, uint64_t number)
{
	const struct ummunotify_log_entry *entry = ummu_kmod_log_next(log);

	assert_non_null(entry);
	assert_int_equal(entry->state, number + 1);
	assert_int_equal(entry->slot, (uint32_t)number);
	assert_int_equal(log->read, number + 1);
}

static void init(struct kmod_log *log, struct written *written)
{
	ummu_kmod_log_init(log, written->map, FIRST * UMMUNOTIFY_LOG_PAGE);
	assert_null(ummu_kmod_log_next(log));
	assert_int_equal(ummu_kmod_log_total(log), 0);
}

static void one_by_one(void **state)
{
	struct written *written = written_new();
	struct kmod_log log;

	(void)state;
	init(&log, written);
	for (uint64_t i = 0; i < 1000; i++) {
		append(written);
		expect_next(&log, i);
		assert_null(ummu_kmod_log_next(&log));
		assert_int_equal(ummu_kmod_log_total(&log), i + 1);
	}
	free(written);
}

/* The link is written only when an event follows. */
static void a_page_to_its_end(void **state)
{
	struct written *written = written_new();
	struct kmod_log log;
	uint64_t i;

	(void)state;
	init(&log, written);
	for (i = 0; i < UMMUNOTIFY_LOG_ENTRIES; i++)
		append(written);
	for (i = 0; i < UMMUNOTIFY_LOG_ENTRIES; i++)
		expect_next(&log, i);
	for (int j = 0; j < 3; j++)
		assert_null(ummu_kmod_log_next(&log));
	append(written);
	expect_next(&log, UMMUNOTIFY_LOG_ENTRIES);
	assert_null(ummu_kmod_log_next(&log));
	free(written);
}

/* So many at a time that pages are skipped neither here nor there. */
static void in_bursts(void **state)
{
	struct written *written = written_new();
	uint64_t read = 0, random = run_seed();
	struct kmod_log log;

	(void)state;
	init(&log, written);
	for (int i = 0; i < 10000; i++) {
		uint64_t burst = run_random(&random) % 127;
		uint64_t most = run_random(&random) % 260;

		while (burst--)
			append(written);
		while (most-- && read < written->logged)
			expect_next(&log, read++);
		/* So that what was not read is not written over. */
		while (written->logged - read > UMMUNOTIFY_LOG_ENTRIES)
			expect_next(&log, read++);
	}
	while (read < written->logged)
		expect_next(&log, read++);
	assert_null(ummu_kmod_log_next(&log));
	print_message("%llu events\n", (unsigned long long)read);
	free(written);
}

/* What a forked child sees: it has read more than there is. */
static void of_zeros(void **state)
{
	struct written *written = written_new();
	struct kmod_log log;

	(void)state;
	init(&log, written);
	for (uint64_t i = 0; i < 5; i++) {
		append(written);
		expect_next(&log, i);
	}
	memset(written->map, 0, sizeof(written->map));
	assert_null(ummu_kmod_log_next(&log));
	assert_int_equal(ummu_kmod_log_total(&log), 0);
	free(written);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_by_one),
		cmocka_unit_test(a_page_to_its_end),
		cmocka_unit_test(in_bursts),
		cmocka_unit_test(of_zeros),
	};

	run_limit(250);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
