/* SPDX-License-Identifier: MIT */
/* abi-today-classes.c - who asks for a class of invalidations gets those. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "expect-today.h"
#include "tests/child.h"

#define PAGES 8

static void by_munmap(char *memory)
{
	munmap(memory, PAGES * page);
}

static void by_dontneed(char *memory)
{
	madvise(memory, PAGES * page, MADV_DONTNEED);
}

static void by_free(char *memory)
{
	madvise(memory, PAGES * page, MADV_FREE);
}

static void by_mapping_over(char *memory)
{
	mmap(memory, PAGES * page, PROT_READ,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

static void by_moving(char *memory)
{
	char *to = device_pages(PAGES);

	mremap(memory, PAGES * page, PAGES * page,
	       MREMAP_MAYMOVE | MREMAP_FIXED, to);
	munmap(to, PAGES * page);
}

static void by_mprotect(char *memory)
{
	mprotect(memory, PAGES * page, PROT_READ);
}

static void by_fork(char *memory)
{
	pid_t child = fork();

	(void)memory;
	if (!child)
		_exit(0);
	expect_child(child);
}

static void by_clear_refs(char *memory)
{
	FILE *file = fopen("/proc/self/clear_refs", "we");

	(void)memory;
	assert_non_null(file);
	fprintf(file, "4\n");
	assert_int_equal(fclose(file), 0);
}

/* @may: the classes that kernels give it; 0: no page leaves by it. */
static const struct {
	const char *name;
	void (*act)(char *memory);
	uint32_t may;
	bool leaves;
} acts[] = {
	{ "munmap", by_munmap, UMMUNOTIFY_CLASS_UNMAP | UMMUNOTIFY_CLASS_CLEAR,
	  true },
	{ "mmap over it", by_mapping_over,
	  UMMUNOTIFY_CLASS_UNMAP | UMMUNOTIFY_CLASS_CLEAR, true },
	{ "mremap", by_moving, UMMUNOTIFY_CLASS_UNMAP | UMMUNOTIFY_CLASS_CLEAR,
	  true },
	{ "MADV_DONTNEED", by_dontneed,
	  UMMUNOTIFY_CLASS_UNMAP | UMMUNOTIFY_CLASS_CLEAR, true },
	{ "MADV_FREE", by_free, UMMUNOTIFY_CLASS_CLEAR, true },
	{ "mprotect", by_mprotect, UMMUNOTIFY_CLASS_PROTECTION_VMA, false },
	{ "fork", by_fork, UMMUNOTIFY_CLASS_PROTECTION_PAGE, false },
	{ "clear_refs", by_clear_refs, UMMUNOTIFY_CLASS_SOFT_DIRTY, false },
};

#define ACTS (sizeof(acts) / sizeof(acts[0]))

/* Of a descriptor for these classes: the class in the event; 0: no event. */
static uint32_t class_of(uint64_t classes, void (*act)(char *memory))
{
	char *memory = device_pages(PAGES);
	struct ummunotify_log_entry entry = { .event_class = 0 };
	struct ummunotify_watch watch;
	struct today today;

	assert_int_equal(today_open(&today, classes, 0), 0);
	watch = expect_watched(&today, memory, PAGES * page);
	act(memory);
	if (today_next(&today, &entry)) {
		assert_int_equal(entry.state, watch.state);
		assert_true(entry.hint_start >= (uintptr_t)memory);
		assert_true(entry.hint_end <= (uintptr_t)memory + PAGES * page);
		assert_true(entry.hint_start < entry.hint_end);
		assert_int_not_equal(entry.event_class, 0);
		assert_int_equal(entry.event_class & ~today.setup.classes, 0);
	}
	assert_int_equal(today_valid(&today, &watch), !entry.event_class);
	today_close(&today);
	munmap(memory, PAGES * page);
	return entry.event_class;
}

static void by_default(void **state)
{
	(void)state;
	for (size_t i = 0; i < ACTS; i++) {
		uint32_t class = class_of(0, acts[i].act);

		print_message("%s: class %#x\n", acts[i].name, class);
		assert_int_equal(class != 0, acts[i].leaves);
		assert_int_equal(class & ~acts[i].may, 0);
	}
}

static void all_of_them(void **state)
{
	(void)state;
	for (size_t i = 0; i < ACTS; i++) {
		uint32_t class = class_of(UMMUNOTIFY_CLASS_ALL, acts[i].act);

		print_message("%s: class %#x\n", acts[i].name, class);
		assert_int_not_equal(class, 0);
		assert_int_equal(class & ~acts[i].may, 0);
	}
}

/* One class at a time: never another's. */
static void one_by_one(void **state)
{
	static const uint64_t classes[] = {
		UMMUNOTIFY_CLASS_UNMAP,		  UMMUNOTIFY_CLASS_CLEAR,
		UMMUNOTIFY_CLASS_PROTECTION_VMA,  UMMUNOTIFY_CLASS_SOFT_DIRTY,
		UMMUNOTIFY_CLASS_PROTECTION_PAGE, UMMUNOTIFY_CLASS_MIGRATE,
		UMMUNOTIFY_CLASS_EXCLUSIVE,
	};

	(void)state;
	for (size_t c = 0; c < 7; c++) {
		for (size_t i = 0; i < ACTS; i++) {
			uint32_t class = class_of(classes[c], acts[i].act);

			assert_true(!class || class == classes[c]);
			if (!(acts[i].may & classes[c]))
				assert_int_equal(class, 0);
			/* With one class there is nothing else it can be. */
			else if (acts[i].may == classes[c])
				assert_int_equal(class, classes[c]);
		}
	}
}

/* In one process, over one range. */
static void two_descriptors(void **state)
{
	char *memory = device_pages(PAGES);
	struct ummunotify_watch quiet, told;
	struct today ordinary, curious;

	(void)state;
	assert_int_equal(today_open(&ordinary, 0, 0), 0);
	assert_int_equal(today_open(&curious, UMMUNOTIFY_CLASS_PROTECTION_VMA,
				    0),
			 0);
	quiet = expect_watched(&ordinary, memory, PAGES * page);
	told = expect_watched(&curious, memory, PAGES * page);
	by_mprotect(memory);
	assert_true(today_valid(&ordinary, &quiet));
	expect_logged(&curious, &told, memory, memory + PAGES * page);
	assert_int_equal(today_rearm(&curious, &told), 0);
	by_munmap(memory);
	assert_true(today_valid(&curious, &told));
	expect_logged(&ordinary, &quiet, memory, memory + PAGES * page);
	expect_none_logged(&curious);

	/* The curious one leaves: the other still gets its own. */
	memory = device_pages(PAGES);
	quiet = expect_watched(&ordinary, memory, PAGES * page);
	today_close(&curious);
	by_mprotect(memory);
	assert_true(today_valid(&ordinary, &quiet));
	by_munmap(memory);
	expect_logged(&ordinary, &quiet, memory, memory + PAGES * page);
	today_close(&ordinary);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_default),
		cmocka_unit_test(all_of_them),
		cmocka_unit_test(one_by_one),
		cmocka_unit_test(two_descriptors),
	};

	run_limit(600);
	device_need();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
