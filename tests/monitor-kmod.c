/* SPDX-License-Identifier: MIT */
/*
 * monitor-kmod.c - what a monitor on the kernel module grants, refuses, keeps.
 *
 * Needs /dev/ummunotify, and root to set the module's limits.
 */
#define _GNU_SOURCE
#include "monitor-fixture.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "run.h"
#include "witness.h"

#define PARAMETERS "/sys/module/ummunotify/parameters/"
#define LOG_PAGE 127 /* events on one page of the kernel's log */

static unsigned long read_parameter(const char *name)
{
	char path[96], text[32] = "";
	FILE *file;

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	file = fopen(path, "re");
	assert_non_null(file);
	assert_non_null(fgets(text, sizeof(text), file));
	fclose(file);
	return strtoul(text, NULL, 10);
}

/* Returns what it was. */
static unsigned long set_parameter(const char *name, unsigned long value)
{
	unsigned long before = read_parameter(name);
	char path[96];
	FILE *file;

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	file = fopen(path, "we");
	assert_non_null(file);
	assert_true(fprintf(file, "%lu", value) > 0);
	assert_int_equal(fclose(file), 0);
	return before;
}

static void everything_is_claimed(void **state)
{
	struct ummu_caps caps = { .size = sizeof(caps) };
	struct ummu_checkpoint checkpoint;
	struct ummu_watch *handle;
	char *memory = monitor_map(1);

	assert_string_equal(ummu_monitor_backend(*state), "kmod");
	assert_int_equal(ummu_monitor_caps(*state, &caps), 0);
	assert_int_equal(caps.flags, UMMU_CAPS_EXACT | UMMU_CAPS_ONE_LOAD |
					     UMMU_CAPS_ANY_FILE);
	assert_int_equal(caps.grace_ns, 0);
	for (int i = 0; i < UMMU_OP_COUNT; i++)
		assert_int_equal(caps.claims[i], UMMU_CLAIM_CAUGHT);

	/* And the checks are one load. */
	handle = monitor_watch(*state, memory, page, 0);
	assert_null(handle->settle);
	ummu_monitor_checkpoint(*state, &checkpoint);
	assert_null(checkpoint.settle);
	ummu_monitor_unwatch(*state, handle);
	munmap(memory, page);
}

static void addresses_are_watched(void **state)
{
	struct ummu_monitor *monitor = *state;
	char *memory = monitor_map(4);
	struct ummu_watch *handle;

	munmap(memory, 4 * page);
	handle = monitor_watch(monitor, memory, 4 * page, 1);
	assert_ptr_equal(mmap(memory, page, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 memory);
	memory[0] = 1;
	assert_true(ummu_watch_valid(handle));
	munmap(memory, page);
	assert_false(ummu_watch_valid(handle));
	monitor_expect_event(monitor, 1, memory, memory + page,
			     UMMU_REASON_UNMAP);
	ummu_monitor_unwatch(monitor, handle);

	monitor_refuses(monitor, memory, 0, -EINVAL);
	monitor_refuses(monitor, memory, SIZE_MAX, -EINVAL);
	monitor_refuses(monitor, (void *)(UINTPTR_MAX - 10), 11, -EINVAL);
	monitor_refuses(monitor, (void *)(1ULL << 63), page, -EINVAL);
	assert_int_equal(monitor_stats(monitor).refused, 4);
}

/* Watches of @count pages; all are hit by one munmap. */
static void hit_pages(struct ummu_monitor *monitor, size_t count,
		      uint64_t first_cookie, struct ummu_watch **watches)
{
	char *memory = mmap(NULL, count * page, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(memory, MAP_FAILED);
	for (size_t i = 0; i < count; i++)
		watches[i] = monitor_watch(monitor, memory + i * page, page,
					   first_cookie + i);
	munmap(memory, count * page);
	for (size_t i = 0; i < count; i++)
		assert_true(ummu_watch_spent(watches[i]));
}

static void expect_cookies(struct ummu_monitor *monitor, uint64_t first,
			   size_t count)
{
	struct ummu_event events[32];
	size_t seen = 0;
	int got;

	while (seen < count) {
		size_t most = count - seen < 32 ? count - seen : 32;

		got = ummu_monitor_read(monitor, events, most);
		assert_true(got > 0);
		for (int i = 0; i < got; i++)
			assert_int_equal(events[i].cookie, first + seen++);
	}
}

static void unwatch_all(struct ummu_monitor *monitor,
			struct ummu_watch **watches, size_t count)
{
	for (size_t i = 0; i < count; i++)
		ummu_monitor_unwatch(monitor, watches[i]);
}

/*
 * Where a page of the log was read to its end, and that was told, and then the
 * log goes on over more pages than one before anybody looks.
 */
static void the_log_goes_round(void **state)
{
	static const size_t more[] = { 1,
				       LOG_PAGE - 1,
				       LOG_PAGE,
				       LOG_PAGE + 1,
				       2 * LOG_PAGE,
				       2 * LOG_PAGE + 1,
				       3 * LOG_PAGE };
	struct ummu_watch *watches[3 * LOG_PAGE];
	struct ummu_monitor *monitor = *state;
	uint64_t cookie = 1;

	assert_false(monitor_readable(monitor));
	for (size_t i = 0; i < 200; i++) {
		size_t count = more[i % 7];

		/* To the end of a page. */
		size_t left = LOG_PAGE - (cookie - 1) % LOG_PAGE;

		hit_pages(monitor, left, cookie, watches);
		assert_true(monitor_readable(monitor));
		expect_cookies(monitor, cookie, left);
		monitor_expect_silence(monitor);
		unwatch_all(monitor, watches, left);
		cookie += left;

		hit_pages(monitor, count, cookie, watches);
		assert_true(monitor_readable(monitor));
		expect_cookies(monitor, cookie, count);
		monitor_expect_silence(monitor);
		unwatch_all(monitor, watches, count);
		cookie += count;
	}
	assert_int_equal(monitor_stats(monitor).events_read, cookie - 1);
	assert_int_equal(monitor_stats(monitor).invalidations, cookie - 1);
}

/* Nobody reads, and the room in the log is all used up, time and again. */
static void nobody_reads(void **state)
{
	struct ummu_monitor *monitor = *state;
	struct ummu_watch *kept[3];
	uint64_t kernel_log = 0;

	hit_pages(monitor, 3, 1, kept);
	assert_true(monitor_readable(monitor));
	for (int i = 0; i < 3000; i++, kernel_log++) {
		char *memory = monitor_map(1);
		struct ummu_watch *handle = monitor_watch(monitor, memory, page,
							  1000);

		/* Those three wait still, wherever they are kept now. */
		assert_true(monitor_readable(monitor));
		munmap(memory, page);
		ummu_monitor_unwatch(monitor, handle);
	}
	assert_int_equal(monitor_stats(monitor).invalidations, kernel_log + 3);
	expect_cookies(monitor, 1, 3);
	monitor_expect_silence(monitor);

	/* And a later event comes after those that waited. */
	unwatch_all(monitor, kept, 3);
	hit_pages(monitor, 3, 1, kept);
	ummu_monitor_unwatch(monitor, kept[1]);
	expect_cookies(monitor, 1, 1);
	assert_true(monitor_readable(monitor));
	expect_cookies(monitor, 3, 1);
	monitor_expect_silence(monitor);
	ummu_monitor_unwatch(monitor, kept[0]);
	ummu_monitor_unwatch(monitor, kept[2]);
}

/* The same with every one of them kept, in order. */
static void all_wait(void **state)
{
	struct ummu_monitor *monitor = *state;
	struct ummu_watch **watches = calloc(4000, sizeof(*watches));

	assert_non_null(watches);
	for (size_t i = 0; i < 4000; i += 50)
		hit_pages(monitor, 50, i, watches + i);
	assert_true(monitor_readable(monitor));
	expect_cookies(monitor, 0, 3999);
	assert_true(monitor_readable(monitor));
	expect_cookies(monitor, 3999, 1);
	monitor_expect_silence(monitor);
	unwatch_all(monitor, watches, 4000);
	free(watches);
}

static bool named_parameter(const char *name)
{
	return strstr(ummu_monitor_explain(), name);
}

static void limit_of_a_descriptor(void **state)
{
	unsigned long before = set_parameter("watches_per_file", 20);
	struct ummu_monitor *monitor = monitor_open("kmod");
	struct ummu_watch *watches[20];
	char *memory = monitor_map(1);

	(void)state;
	set_parameter("watches_per_file", before);
	for (int i = 0; i < 20; i++)
		watches[i] = monitor_watch(monitor, memory, page, 0);
	monitor_refuses(monitor, memory, page, -ENOSPC);
	assert_true(named_parameter("watches_per_file"));
	/* Spent ones count too, until they are unwatched. */
	munmap(memory, page);
	monitor_refuses(monitor, memory, page, -ENOSPC);
	ummu_monitor_unwatch(monitor, watches[7]);
	watches[7] = monitor_watch(monitor, memory, page, 0);
	unwatch_all(monitor, watches, 20);
	ummu_monitor_close(monitor);
}

static void limit_of_the_process(void **state)
{
	unsigned long before = set_parameter("watches_per_process", 20);
	struct ummu_monitor *monitor = *state;
	struct ummu_monitor *other = monitor_open("kmod");
	struct ummu_watch *watches[20];
	char *memory = monitor_map(1);

	for (int i = 0; i < 20; i++)
		watches[i] = monitor_watch(i % 2 ? monitor : other, memory,
					   page, 0);
	monitor_refuses(monitor, memory, page, -ENOSPC);
	assert_true(named_parameter("watches_per_process"));
	ummu_monitor_close(other);
	watches[0] = monitor_watch(monitor, memory, page, 0);
	ummu_monitor_unwatch(monitor, watches[0]);
	for (int i = 1; i < 20; i += 2)
		ummu_monitor_unwatch(monitor, watches[i]);
	set_parameter("watches_per_process", before);
	munmap(memory, page);
}

/* At the limit a cache registers for each use. */
static void cache_at_the_limit(void **state)
{
	unsigned long before = set_parameter("watches_per_process", 3);
	/* Every other page, or the cache makes one region of all. */
	char *memory = monitor_map(16);
	struct witness witness;
	uint64_t number;

	(void)state;
	assert_int_equal(witness_open(&witness), 0);
	for (int turn = 0; turn < 2; turn++)
		for (int i = 0; i < 8; i++)
			assert_int_equal(witness_get(&witness,
						     memory + 2 * (size_t)i *
								      page,
						     page, &number),
					 turn && i < 3);
	assert_int_equal(witness_stats(&witness).uncached, 10);
	witness_close(&witness);
	set_parameter("watches_per_process", before);
	munmap(memory, 16 * page);
}

/* A child holds the descriptor and the mapping, and watches nothing. */
static void closed_while_a_child_holds_on(void **state)
{
	struct ummu_monitor *monitor = monitor_open("kmod");
	unsigned long before = set_parameter("watches_per_process", 300);
	struct ummu_watch *watches[300];
	char *memory = monitor_map(1);
	pid_t child;

	(void)state;
	for (int i = 0; i < 300; i++)
		watches[i] = monitor_watch(monitor, memory, page, 0);
	ummu_monitor_unwatch(monitor, watches[150]);
	child = fork();
	if (!child) {
		pause();
		_exit(0);
	}
	ummu_monitor_close(monitor);
	monitor = *state;
	for (int i = 0; i < 300; i++)
		watches[i] = monitor_watch(monitor, memory, page, 0);
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, NULL, 0), child);
	unwatch_all(monitor, watches, 300);
	set_parameter("watches_per_process", before);
	munmap(memory, page);
}

/* Whoever sees the generation of an invalidation can read all its events. */
static void generation_comes_after_the_events(void **state)
{
	struct ummu_monitor *monitor = *state;
	struct ummu_watch *watches[200];
	struct ummu_event events[256];
	uint64_t generation;
	int read = 0, got;

	hit_pages(monitor, 200, 0, watches);
	generation = ummu_monitor_generation(monitor);
	while ((got = ummu_monitor_read(monitor, events, 256)) > 0)
		read += got;
	assert_int_equal(read, 200);
	assert_int_equal(ummu_monitor_generation(monitor), generation);
	unwatch_all(monitor, watches, 200);
}

#define ON_KMOD(test) \
	cmocka_unit_test_setup_teardown(test, monitor_set_up, monitor_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_KMOD(everything_is_claimed),
		ON_KMOD(addresses_are_watched),
		ON_KMOD(the_log_goes_round),
		ON_KMOD(nobody_reads),
		ON_KMOD(all_wait),
		ON_KMOD(limit_of_a_descriptor),
		ON_KMOD(limit_of_the_process),
		ON_KMOD(cache_at_the_limit),
		ON_KMOD(closed_while_a_child_holds_on),
		ON_KMOD(generation_comes_after_the_events),
	};

	run_limit(250);
	witness_need_kmod();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
