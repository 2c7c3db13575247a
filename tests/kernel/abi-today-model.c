/* SPDX-License-Identifier: MIT */
/* abi-today-model.c - random calls of today against a naive model of them. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "expect-today.h"
#include "tests/run.h"

#define PAGES 32
#define WATCHES 200 /* a descriptor's limit */
#define UNREAD 4096

/**
 * struct entry - an event that is to be read
 * @group: number of the invalidation; within one, any order is right
 */
struct entry {
	struct ummunotify_watch watch;
	uint64_t hint_start, hint_end, group;
};

/**
 * struct model - what must be so
 * @memory: PAGES that are hit, and some more
 * @spent:  which of the watches are
 * @unread: events, the oldest first
 * @groups: invalidations
 * @logged: events
 * @said:   the most that was said to be read
 * @refused: calls, for want of room in the log
 * @lazy:   hardly reads, so that the log is full at times
 */
static struct model {
	struct today today;
	uint64_t memory;
	struct ummunotify_watch watches[WATCHES];
	bool spent[WATCHES];
	uint32_t count;
	struct entry unread[UNREAD];
	uint32_t unread_count;
	uint64_t groups, logged, said;
	unsigned long refused;
	bool lazy;
} model;

static uint64_t random_state;

static uint64_t chance(uint64_t below)
{
	return run_random(&random_state) % below;
}

/* Says by this call how much was read: the truth, or less. */
static void choose_drained(void)
{
	model.today.read = chance(3) ? model.logged - model.unread_count :
				       chance(model.said + 1);
	if (model.today.read > model.said)
		model.said = model.today.read;
}

/* Only for want of room in the log, of which what was not drained takes some. */
static void expect_eagain(int error)
{
	assert_int_equal(error, -EAGAIN);
	assert_true(model.said < model.logged);
	model.refused++;
}

static void do_watch(void)
{
	struct ummunotify_watch batch[20];
	uint32_t wanted = 1 + (uint32_t)chance(20), room;
	int done;

	for (uint32_t i = 0; i < wanted; i++) {
		uint64_t start = model.memory + chance(PAGES * page);

		batch[i] = (struct ummunotify_watch){
			.start = start,
			.end = start + 1 + chance(3 * page),
		};
	}
	room = WATCHES - model.count;
	choose_drained();
	done = today_watches(&model.today, batch, wanted);
	if (!room) {
		assert_int_equal(done, -ENOSPC);
		return;
	}
	if (done < 0) {
		expect_eagain(done);
		return;
	}
	if (done < (int)(wanted < room ? wanted : room))
		expect_eagain(-EAGAIN);
	for (int i = 0; i < done; i++) {
		assert_true(today_valid(&model.today, &batch[i]));
		model.spent[model.count] = false;
		model.watches[model.count++] = batch[i];
	}
}

static struct ummunotify_watch_id id_of(uint32_t which)
{
	return (struct ummunotify_watch_id){
		.state = model.watches[which].state,
		.slot = model.watches[which].slot,
	};
}

static void do_unwatch(void)
{
	uint32_t which, last;
	struct ummunotify_watch_id id;

	if (!model.count)
		return;
	which = (uint32_t)chance(model.count);
	last = model.count - 1;
	id = id_of(which);
	choose_drained();
	assert_int_equal(today_unwatches(&model.today, &id, 1), 1);
	assert_int_equal(today_unwatches(&model.today, &id, 1), -EINVAL);
	assert_int_equal(today_state(&model.today, id.slot), 0);
	model.watches[which] = model.watches[last];
	model.spent[which] = model.spent[last];
	model.count--;
}

static void do_rearm(void)
{
	struct ummunotify_watch_id id, old;
	uint32_t which;
	int done;

	if (!model.count)
		return;
	which = (uint32_t)chance(model.count);
	id = old = id_of(which);
	choose_drained();
	done = today_rearms(&model.today, &id, 1);
	if (done < 0) {
		assert_true(model.spent[which]);
		expect_eagain(done);
		return;
	}
	assert_int_equal(done, 1);
	if (model.spent[which])
		assert_int_not_equal(id.state, old.state);
	model.watches[which].state = id.state;
	model.spent[which] = false;
}

static void hit_watch(uint32_t which, uint64_t start, uint64_t end)
{
	const struct ummunotify_watch *watch = &model.watches[which];
	struct entry *entry = &model.unread[model.unread_count++];

	assert_true(model.unread_count <= UNREAD);
	entry->watch = *watch;
	entry->group = model.groups;
	entry->hint_start = start > watch->start ? start : watch->start;
	entry->hint_end = end < watch->end ? end : watch->end;
	model.spent[which] = true;
	model.logged++;
}

static void do_hit(void)
{
	uint64_t first = chance(PAGES), count = 1 + chance(PAGES - first);
	uint64_t start, end;

	if (chance(3) && count > 2)
		count = 1 + chance(2);
	start = model.memory + first * page;
	end = start + count * page;
	model.groups++;
	for (uint32_t i = 0; i < model.count; i++)
		if (!model.spent[i] && model.watches[i].start < end &&
		    start < model.watches[i].end)
			hit_watch(i, start, end);
	assert_int_equal(madvise((void *)start, count * page, MADV_DONTNEED), 0);
}

/* One of those of the oldest invalidation. */
static void check_entry(const struct ummunotify_log_entry *entry)
{
	struct entry *known = model.unread;
	uint32_t i = 0;

	while (i < model.unread_count && known[i].group == known[0].group &&
	       known[i].watch.state != entry->state)
		i++;
	assert_true(i < model.unread_count && known[i].group == known[0].group);
	assert_int_equal(entry->slot, known[i].watch.slot);
	assert_int_equal(entry->hint_start, known[i].hint_start);
	assert_int_equal(entry->hint_end, known[i].hint_end);
	/* The oldest stay in front. */
	known[i] = known[0];
	model.unread_count--;
	memmove(known, known + 1, model.unread_count * sizeof(*known));
}

/* Some of what there is, or all of it. */
static void do_read(void)
{
	uint64_t most = chance(2) ? chance(20) : UNREAD;
	struct ummunotify_log_entry entry;

	if (model.lazy && chance(1000))
		return;
	model.today.read = model.logged - model.unread_count;
	for (; most && today_next(&model.today, &entry); most--)
		check_entry(&entry);
	assert_true(!most || !model.unread_count);
}

static void check_all(void)
{
	assert_int_equal(today_logged(&model.today), model.logged);
	assert_int_equal(today_generation(&model.today), 1 + model.logged);
	assert_int_equal(device_readable(model.today.fd),
			 model.said != model.logged);
	for (uint32_t i = 0; i < model.count; i++)
		assert_int_equal(today_state(&model.today,
					     model.watches[i].slot),
				 model.spent[i] ? 0 : model.watches[i].state);
}

static void against_the_model(void **state)
{
	static void (*const calls[])(void) = {
		do_watch, do_unwatch, do_rearm, do_rearm, do_hit, do_read,
	};
	unsigned int steps = run_scaled(30000);

	(void)state;
	assert_int_equal(today_open(&model.today, 0, WATCHES), 0);
	model.memory = (uintptr_t)device_pages(PAGES + 4);
	for (unsigned int i = 0; i < steps; i++) {
		model.lazy = i / 3000 % 2;
		calls[chance(6)]();
		check_all();
	}
	print_message("%u calls, %llu events, %lu times no room for more\n",
		      steps, (unsigned long long)model.logged, model.refused);
	assert_true(model.logged > steps / 10 && model.refused);
	today_close(&model.today);
	munmap((void *)model.memory, (PAGES + 4) * page);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(against_the_model),
	};

	run_limit(600);
	device_need();
	random_state = run_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
