/* SPDX-License-Identifier: MIT */
/*
 * stress-beside.c - watches its own memory while others stress the machine: it
 * sees what it does itself, each time, and nothing else.
 *
 * usage: stress-beside SECONDS
 *
 * What must stay is pinned, so that the kernel does not move it; what goes is
 * not, and may be moved before it does.
 */
#define _GNU_SOURCE
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "expect-2010.h"
#include "expect-today.h"
#include "tests/run.h"

#define KEPT 256
#define GOING 16
#define LEAST 10 /* rounds */

static unsigned int seconds;

static void unmap_some(char *memory)
{
	munmap(memory, GOING / 2 * page);
	munmap(memory + GOING / 2 * page, GOING / 2 * page);
}

static void map_over(char *memory)
{
	mmap(memory, GOING * page, PROT_NONE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	munmap(memory, GOING * page);
}

static void give_up(char *memory)
{
	madvise(memory, GOING * page, MADV_DONTNEED);
	munmap(memory, GOING * page);
}

static void move(char *memory)
{
	char *to = device_pages(GOING);

	mremap(memory, GOING * page, GOING * page,
	       MREMAP_MAYMOVE | MREMAP_FIXED, to);
	munmap(to, GOING * page);
}

/**
 * struct scene - what is watched
 * @kept:   pinned; has a watch a page
 * @regions: the same by the calls of 2010
 * @early:  watches of what went that the kernel hit before
 */
struct scene {
	struct today today;
	struct ummunotify_watch watches[KEPT];
	char *kept;
	int regions;
	unsigned long rounds, early;
};

/* Maps, watches, does away with it: each of the watches must know. */
static void lose_some(struct scene *scene)
{
	static void (*const ways[])(char *) = { unmap_some, map_over, give_up,
						move };
	struct ummunotify_watch watches[GOING];
	struct ummunotify_event events[GOING + 1];
	struct ummunotify_log_entry entry;
	struct today *today = &scene->today;
	char *memory = device_pages(GOING);
	uint64_t cookie = KEPT + scene->rounds;

	expect_registered(scene->regions, memory, GOING * page, cookie);
	for (size_t i = 0; i < GOING; i++)
		watches[i] = expect_watched(today, memory + i * page, page);
	for (size_t i = 0; i < GOING; i++)
		scene->early += !today_valid(today, &watches[i]);
	ways[scene->rounds++ % 4](memory);
	for (int i = 0; i < GOING; i++) {
		assert_false(today_valid(today, &watches[i]));
		assert_int_equal(today_next(today, &entry), 1);
		assert_in_range(entry.hint_start, (uintptr_t)memory,
				(uintptr_t)memory + GOING * page - 1);
	}
	for (int i = 0; i < GOING; i++)
		assert_int_equal(today_unwatch(today, &watches[i]), 0);
	assert_int_equal(device_read(scene->regions, events, GOING + 1), 2);
	assert_int_equal(events[0].user_cookie_counter, cookie);
	assert_int_equal(device_unregister(scene->regions, cookie), 0);
}

static void check_kept(struct scene *scene)
{
	for (int i = 0; i < KEPT; i++)
		assert_true(today_valid(&scene->today, &scene->watches[i]));
	expect_none_logged(&scene->today);
	expect_nothing(scene->regions);
}

static void watch_kept(struct scene *scene)
{
	for (size_t i = 0; i < KEPT; i++) {
		char *at = scene->kept + i * page;

		scene->watches[i] = expect_watched(&scene->today, at, page);
		expect_registered(scene->regions, at, page, i);
	}
}

static void sees_its_own_only(void **state)
{
	double end = run_seconds() + seconds;
	struct io_uring ring;
	struct scene scene = { .rounds = 0 };
	struct iovec pinned;
	int error = io_uring_queue_init(4, &ring, 0);

	(void)state;
	if (error) {
		print_message("io_uring: %s\n", strerror(-error));
		skip();
	}
	scene.kept = device_pages(KEPT);
	pinned = (struct iovec){ scene.kept, KEPT * page };
	assert_int_equal(io_uring_register_buffers(&ring, &pinned, 1), 0);
	assert_int_equal(today_open(&scene.today, 0, 0), 0);
	scene.regions = expect_fd(state);
	watch_kept(&scene);

	/* On a busy machine some rounds take longer than that. */
	while (run_seconds() < end || scene.rounds <= LEAST) {
		lose_some(&scene);
		check_kept(&scene);
	}
	print_message("%lu times lost %d pages, %lu of them moved before; "
		      "%d pages stayed\n",
		      scene.rounds, GOING, scene.early, KEPT);
	munmap(scene.kept, KEPT * page);
	for (int i = 0; i < KEPT; i++)
		assert_false(today_valid(&scene.today, &scene.watches[i]));
	assert_true(device_readable(scene.regions));
	io_uring_queue_exit(&ring);
	today_close(&scene.today);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(sees_its_own_only,
						expect_opened, expect_closed),
	};

	device_need();
	seconds = argc > 1 ? (unsigned int)atoi(argv[1]) : 10;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
