/* SPDX-License-Identifier: MIT */
/* abi-today-batch.c - many entries a call: those before a bad one are done. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "expect-today.h"
#include "tests/run.h"

#define MOST 100

/* Memory of MOST pages, and an entry for each of them. */
struct scene {
	struct today *today;
	char *memory;
	struct ummunotify_watch watches[MOST];
	struct ummunotify_watch_id ids[MOST];
};

static void fill(struct scene *scene, void **state)
{
	scene->today = *state;
	scene->memory = device_pages(MOST);
	for (size_t i = 0; i < MOST; i++)
		scene->watches[i] = (struct ummunotify_watch){
			.start = (uintptr_t)scene->memory + i * page,
			.end = (uintptr_t)scene->memory + (i + 1) * page,
		};
}

static void watch_all(struct scene *scene)
{
	assert_int_equal(today_watches(scene->today, scene->watches, MOST),
			 MOST);
	for (int i = 0; i < MOST; i++)
		scene->ids[i] = (struct ummunotify_watch_id){
			.state = scene->watches[i].state,
			.slot = scene->watches[i].slot,
		};
}

/* All is unmapped: the first so many of the scene's watches are hit. */
static void expect_watched_first(struct scene *scene, int count)
{
	struct ummunotify_log_entry entry;
	int logged = 0;

	munmap(scene->memory, MOST * page);
	for (int i = 0; i < count; i++)
		assert_false(today_valid(scene->today, &scene->watches[i]));
	while (today_next(scene->today, &entry)) {
		uint64_t which = (entry.hint_start - (uintptr_t)scene->memory) /
				 page;

		assert_true(which < (uint64_t)count);
		assert_int_equal(entry.state, scene->watches[which].state);
		logged++;
	}
	assert_int_equal(logged, count);
}

static const int bad_at[] = { 0, 1, 2, 15, 16, 17, 31, 32, 63, 99 };

static void watch_with_a_bad_one(void **state)
{
	for (int i = 0; i < 10; i++) {
		static struct scene scene;
		struct ummunotify_watch untouched;
		int bad = bad_at[i];

		fill(&scene, state);
		scene.watches[bad].end = scene.watches[bad].start;
		untouched = scene.watches[bad];
		assert_int_equal(today_watches(scene.today, scene.watches, MOST),
				 bad ? bad : -EINVAL);
		for (int j = 0; j < bad; j++)
			assert_true(today_valid(scene.today, &scene.watches[j]));
		assert_memory_equal(&scene.watches[bad], &untouched,
				    sizeof(untouched));
		for (int j = bad + 1; j < MOST; j++)
			assert_int_equal(scene.watches[j].state, 0);
		expect_watched_first(&scene, bad);
	}
}

static void unwatch_with_a_bad_one(void **state)
{
	for (int i = 0; i < 10; i++) {
		static struct scene scene;
		int bad = bad_at[i];

		fill(&scene, state);
		watch_all(&scene);
		scene.ids[bad].state++;
		assert_int_equal(today_unwatches(scene.today, scene.ids, MOST),
				 bad ? bad : -EINVAL);
		for (int j = 0; j < MOST; j++)
			assert_int_equal(today_valid(scene.today,
						     &scene.watches[j]),
					 j >= bad);
		scene.ids[bad].state--;
		assert_int_equal(today_unwatches(scene.today, scene.ids + bad,
						 (uint32_t)(MOST - bad)),
				 MOST - bad);
		expect_watched_first(&scene, 0);
	}
}

static void rearm_with_a_bad_one(void **state)
{
	for (int i = 0; i < 10; i++) {
		static struct scene scene;
		struct ummunotify_watch_id before[MOST];
		struct ummunotify_log_entry entry;
		int bad = bad_at[i];

		fill(&scene, state);
		watch_all(&scene);
		madvise(scene.memory, MOST * page, MADV_DONTNEED);
		while (today_next(scene.today, &entry))
			continue;
		memset(scene.memory, 1, MOST * page);
		scene.ids[bad].reserved = 1;
		memcpy(before, scene.ids, sizeof(before));
		assert_int_equal(today_rearms(scene.today, scene.ids, MOST),
				 bad ? bad : -EINVAL);
		for (int j = 0; j < bad; j++) {
			assert_int_not_equal(scene.ids[j].state,
					     before[j].state);
			scene.watches[j].state = scene.ids[j].state;
			assert_true(today_valid(scene.today, &scene.watches[j]));
		}
		for (int j = bad; j < MOST; j++) {
			assert_memory_equal(&scene.ids[j], &before[j],
					    sizeof(before[j]));
			assert_int_equal(today_state(scene.today,
						     scene.ids[j].slot),
					 0);
		}
		expect_watched_first(&scene, bad);
		scene.ids[bad].reserved = 0;
		assert_int_equal(today_unwatches(scene.today, scene.ids, MOST),
				 MOST);
	}
}

/* The second of two equal names has ended by the time it is looked at. */
static void the_same_name_twice(void **state)
{
	static struct scene scene;
	struct ummunotify_log_entry entry;
	struct ummunotify_watch_id twice[3];

	fill(&scene, state);
	watch_all(&scene);
	twice[0] = scene.ids[0];
	twice[1] = scene.ids[0];
	twice[2] = scene.ids[1];
	assert_int_equal(today_unwatches(scene.today, twice, 3), 1);
	assert_true(today_valid(scene.today, &scene.watches[1]));

	munmap(scene.memory, MOST * page);
	while (today_next(scene.today, &entry))
		continue;
	twice[0] = scene.ids[2];
	twice[1] = scene.ids[2];
	twice[2] = scene.ids[3];
	assert_int_equal(today_rearms(scene.today, twice, 3), 1);
	assert_int_not_equal(twice[0].state, scene.ids[2].state);
	assert_int_equal(twice[1].state, scene.ids[2].state);
}

static int call(const struct today *today, unsigned long number,
		uint64_t entries, uint32_t count, uint32_t reserved)
{
	struct ummunotify_batch batch = {
		.entries = entries,
		.count = count,
		.reserved = reserved,
	};
	int done = ioctl(today->fd, number, &batch);

	return done < 0 ? -errno : done;
}

static const unsigned long calls[] = { UMMUNOTIFY_WATCH, UMMUNOTIFY_UNWATCH,
				       UMMUNOTIFY_REARM };

static void odd_counts_and_addresses(void **state)
{
	static struct scene scene;
	const struct today *today = *state;

	fill(&scene, state);
	for (int i = 0; i < 3; i++) {
		uint64_t entries = (uintptr_t)scene.watches;
		unsigned long number = calls[i];

		assert_int_equal(ioctl(today->fd, number, NULL), -1);
		assert_int_equal(errno, EFAULT);
		assert_int_equal(call(today, number, 0, 0, 0), 0);
		assert_int_equal(call(today, number, ~0ULL, 0, 0), 0);
		assert_int_equal(call(today, number, entries, 0, 1), -EINVAL);
		assert_int_equal(call(today, number, entries, 1, 1), -EINVAL);
		assert_int_equal(call(today, number, 0, 1, 0), -EFAULT);
		assert_int_equal(call(today, number, ~0ULL - 100, 1000, 0),
				 -EFAULT);
		assert_int_equal(call(today, number, 0xffff888000000000, 5, 0),
				 -EFAULT);
		assert_int_equal(call(today, number, 1ULL << 63, ~0U, 0),
				 -EFAULT);
	}
	assert_int_equal(device_statistic("watches"), 0);
	expect_watched_first(&scene, 0);
}

/* Entries up to the end of a page, and a count that goes on for ever. */
static void entries_that_end_too_early(void **state)
{
	static const size_t there[] = { 0, 1, 15, 16, 17, 40, 100 };

	for (int i = 0; i < 7; i++) {
		static struct scene scene;
		char *memory = device_pages(2), *end = memory + page;
		size_t size = there[i] * sizeof(struct ummunotify_watch);
		long before = device_statistic("watches");
		int done;

		munmap(end, page);
		fill(&scene, state);
		memcpy(end - size, scene.watches, size);
		done = call(scene.today, UMMUNOTIFY_WATCH,
			    (uintptr_t)end - size, i % 2 ? ~0U : MOST + 1, 0);
		print_message("%zu entries: %d\n", there[i], done);
		if (done == -EFAULT)
			done = 0;
		assert_true(done >= 0 && (size_t)done <= there[i]);
		assert_int_equal(device_statistic("watches"), before + done);
		memcpy(scene.watches, end - size, size);
		for (size_t j = (size_t)done; j < there[i]; j++)
			assert_int_equal(scene.watches[j].state, 0);
		expect_watched_first(&scene, done);
		munmap(memory, page);
	}
}

/* The names cannot be told to the program: then there is no such watch. */
static void answers_that_cannot_be_written(void **state)
{
	static struct scene scene;
	char *memory = device_pages(1);
	long before = device_statistic("watches");
	size_t size = MOST * sizeof(struct ummunotify_watch);

	fill(&scene, state);
	memcpy(memory, scene.watches, size);
	mprotect(memory, page, PROT_READ);
	assert_int_equal(today_watches(scene.today, (void *)memory, MOST),
			 -EFAULT);
	assert_int_equal(device_statistic("watches"), before);
	assert_memory_equal(memory, scene.watches, size);
	expect_watched_first(&scene, 0);

	/* Nor was it armed again: it is spent, and by its old name. */
	mprotect(memory, page, PROT_READ | PROT_WRITE);
	fill(&scene, state);
	watch_all(&scene);
	munmap(scene.memory, MOST * page);
	scene.today->read = today_logged(scene.today);
	memcpy(memory, scene.ids, sizeof(scene.ids));
	mprotect(memory, page, PROT_READ);
	assert_int_equal(today_rearms(scene.today, (void *)memory, MOST),
			 -EFAULT);
	for (int i = 0; i < MOST; i++)
		assert_int_equal(today_state(scene.today, scene.ids[i].slot), 0);
	assert_ptr_equal(device_pages_at(scene.memory, MOST), scene.memory);
	munmap(scene.memory, MOST * page);
	expect_none_logged(scene.today);
	assert_int_equal(today_rearms(scene.today, scene.ids, MOST), MOST);
	assert_int_equal(today_unwatches(scene.today, scene.ids, MOST), MOST);
	munmap(memory, page);
}

/* By name only: the answer of an unwatch is its count. */
static void unwatch_of_read_only_entries(void **state)
{
	static struct scene scene;
	char *memory = device_pages(1);

	fill(&scene, state);
	watch_all(&scene);
	memcpy(memory, scene.ids, sizeof(scene.ids));
	mprotect(memory, page, PROT_READ);
	assert_int_equal(today_unwatches(scene.today, (void *)memory, MOST),
			 MOST);
	expect_watched_first(&scene, 0);
	munmap(memory, page);
}

/* The entries are in memory that one of them watches. */
static void entries_within_the_range(void **state)
{
	struct today *today = *state;
	struct ummunotify_watch *entry = (void *)device_pages(1);
	struct ummunotify_watch copy;

	entry->start = (uintptr_t)entry;
	entry->end = (uintptr_t)entry + page;
	entry->flags = 0;
	assert_int_equal(today_watches(today, entry, 1), 1);
	copy = *entry;
	assert_true(today_valid(today, &copy));
	munmap(entry, page);
	assert_false(today_valid(today, &copy));
}

#define TEST(name)                                                 \
	cmocka_unit_test_setup_teardown(name, expect_today_opened, \
					expect_today_closed)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(watch_with_a_bad_one),
		TEST(unwatch_with_a_bad_one),
		TEST(rearm_with_a_bad_one),
		TEST(the_same_name_twice),
		TEST(odd_counts_and_addresses),
		TEST(entries_that_end_too_early),
		TEST(answers_that_cannot_be_written),
		TEST(unwatch_of_read_only_entries),
		TEST(entries_within_the_range),
	};

	run_limit(600);
	device_need();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
