/* SPDX-License-Identifier: MIT */
/* abi-2010-model.c - random calls of 2010 against a naive model of them. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "expect-2010.h"
#include "tests/run.h"

#define PAGES 32
#define REGIONS 40

/**
 * struct region - what the model knows of a cookie
 * @hits: since its event was read
 */
struct region {
	bool exists;
	uint64_t start, end;
	unsigned int hits;
	uint64_t hint_start, hint_end;
};

static struct model {
	int fd;
	uint64_t memory;
	const volatile uint64_t *counter;
	struct region regions[REGIONS];
	uint64_t moves, reported;
	unsigned long events, lasts, empty;
} model;

static uint64_t random_state;

static uint64_t chance(uint64_t below)
{
	return run_random(&random_state) % below;
}

static void do_register(void)
{
	uint64_t cookie = chance(REGIONS);
	struct region *region = &model.regions[cookie];
	uint64_t start = model.memory + chance(PAGES * page);
	uint64_t end = start + chance(4 * page);

	/* Whole pages, empty, reversed. */
	if (chance(2))
		start &= -page;
	if (!chance(20))
		end = start - chance(3 * page);
	assert_int_equal(device_register_range(model.fd, start, end, cookie),
			 region->exists ? -EINVAL : 0);
	if (!region->exists)
		*region = (struct region){
			.exists = true,
			.start = start,
			.end = end,
		};
}

static void do_unregister(void)
{
	uint64_t cookie = chance(REGIONS);

	assert_int_equal(device_unregister(model.fd, cookie),
			 model.regions[cookie].exists ? 0 : -EINVAL);
	model.regions[cookie].exists = false;
	model.regions[cookie].hits = 0;
}

static void hit_region(struct region *region, uint64_t start, uint64_t end)
{
	if (region->hits++) {
		region->hint_start = region->start;
		region->hint_end = region->end;
		return;
	}
	region->hint_start = start > region->start ? start : region->start;
	region->hint_end = end < region->end ? end : region->end;
}

static void do_hit(void)
{
	uint64_t first = chance(PAGES), count = 1 + chance(PAGES - first);
	uint64_t start, end;
	bool any = false;

	if (chance(2) && count > 2)
		count = 1 + chance(2);
	start = model.memory + first * page;
	end = start + count * page;
	for (int i = 0; i < REGIONS; i++) {
		struct region *region = &model.regions[i];

		if (!region->exists || region->start >= region->end ||
		    region->start >= end || start >= region->end)
			continue;
		hit_region(region, start, end);
		any = true;
	}
	model.moves += any;
	assert_int_equal(madvise((void *)start, count * page, MADV_DONTNEED), 0);
}

static unsigned int pending(void)
{
	unsigned int count = 0;

	for (int i = 0; i < REGIONS; i++)
		count += model.regions[i].hits != 0;
	return count;
}

static bool readable(void)
{
	return pending() || model.moves != model.reported;
}

static void check_event(const struct ummunotify_event *event)
{
	struct region *region;

	assert_true(event->user_cookie_counter < REGIONS);
	region = &model.regions[event->user_cookie_counter];
	assert_true(region->hits > 0);
	expect_inval(event, event->user_cookie_counter,
		     (void *)region->hint_start, (void *)region->hint_end,
		     region->hits == 1);
	region->hits = 0;
	model.events++;
}

static void do_read(void)
{
	struct ummunotify_event events[REGIONS + 2];
	size_t room = chance(4) ? chance(5) : REGIONS + 2;
	unsigned int waiting = pending();
	bool last = waiting < room;
	int count = device_read(model.fd, events, room);

	if (!readable()) {
		assert_int_equal(count, -EAGAIN);
		model.empty++;
		return;
	}
	assert_int_equal(count, last ? waiting + 1 : room);
	for (int i = 0; i < count - last; i++)
		check_event(&events[i]);
	if (!last)
		return;
	expect_last(&events[count - 1], model.moves);
	model.reported = model.moves;
	model.lasts++;
}

static void against_the_model(void **state)
{
	static void (*const calls[])(void) = {
		do_register, do_register, do_unregister, do_hit, do_read,
	};
	unsigned int steps = run_scaled(20000);

	memset(&model, 0, sizeof(model));
	model.fd = expect_fd(state);
	model.counter = device_counter(model.fd);
	model.memory = (uintptr_t)device_pages(PAGES);
	for (unsigned int i = 0; i < steps; i++) {
		calls[chance(5)]();
		assert_int_equal(*model.counter, model.moves);
		assert_int_equal(device_readable(model.fd), readable());
	}
	print_message("%u calls, counter %llu; read: %lu events, %lu LAST, "
		      "%lu times nothing\n",
		      steps, (unsigned long long)model.moves, model.events,
		      model.lasts, model.empty);
	assert_true(model.events && model.lasts && model.empty);
	munmap((void *)model.memory, PAGES * page);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(against_the_model,
						expect_opened, expect_closed),
	};

	run_limit(600);
	device_need();
	random_state = run_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
