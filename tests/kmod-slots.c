/* SPDX-License-Identifier: MIT */
/* kmod-slots.c - the table of watches by the kernel's number forgets one. */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/kmod-slots.h"
#include "run.h"

#define SLOTS 5000

/* The table only compares and hands out what it is given. */
static struct kmod_watch *watch_number(uint64_t number)
{
	return (struct kmod_watch *)(uintptr_t)(0x1000 + number);
}

/* What the owner of a table does: it tries, makes room, and tries again. */
static int put(struct kmod_slots *slots, uint32_t slot, struct kmod_watch *watch)
{
	struct kmod_table *table;

	if (ummu_kmod_slots_put(slots, slot, watch))
		return 0;
	table = ummu_kmod_table_new(slot);
	if (!table)
		return -ENOMEM;
	free(ummu_kmod_slots_replace(slots, table));
	return ummu_kmod_slots_put(slots, slot, watch) ? 0 : -ENOBUFS;
}

static void empty_has_nothing(void **state)
{
	struct kmod_slots slots = { NULL };

	(void)state;
	assert_null(ummu_kmod_slots_get(&slots, 0));
	assert_null(ummu_kmod_slots_get(&slots, UINT32_MAX));
	assert_int_equal(ummu_kmod_slots_count(&slots), 0);
	ummu_kmod_slots_destroy(&slots);
}

static void put_take_and_put_again(void **state)
{
	struct kmod_slots slots = { NULL };
	uint64_t held[SLOTS] = { 0 };
	uint64_t random = run_seed();

	(void)state;
	for (uint64_t turn = 1; turn <= 20000; turn++) {
		/* Low numbers come first, as from the kernel. */
		uint32_t below = turn < SLOTS ? (uint32_t)turn : SLOTS;
		uint32_t slot = (uint32_t)(run_random(&random) % below);

		if (held[slot]) {
			ummu_kmod_slots_take(&slots, slot);
			held[slot] = 0;
		} else {
			assert_int_equal(put(&slots, slot, watch_number(turn)),
					 0);
			held[slot] = turn;
		}
		assert_ptr_equal(ummu_kmod_slots_get(&slots, slot),
				 held[slot] ? watch_number(held[slot]) : NULL);
	}
	for (uint32_t slot = 0; slot < SLOTS; slot++)
		assert_ptr_equal(ummu_kmod_slots_get(&slots, slot),
				 held[slot] ? watch_number(held[slot]) : NULL);
	assert_null(ummu_kmod_slots_get(&slots, ummu_kmod_slots_count(&slots)));
	ummu_kmod_slots_destroy(&slots);
}

/* A jump far ahead is room for all that lies before it. */
static void far_ahead(void **state)
{
	struct kmod_slots slots = { NULL };

	(void)state;
	assert_int_equal(put(&slots, 100000, watch_number(1)), 0);
	assert_true(ummu_kmod_slots_count(&slots) > 100000);
	assert_null(ummu_kmod_slots_get(&slots, 99999));
	assert_int_equal(put(&slots, 99999, watch_number(2)), 0);
	assert_ptr_equal(ummu_kmod_slots_get(&slots, 100000), watch_number(1));
	ummu_kmod_slots_destroy(&slots);
}

/* The last number there could be has no table. */
static void no_end_of_memory(void **state)
{
	struct kmod_slots slots = { NULL };

	(void)state;
	assert_int_equal(put(&slots, UINT32_MAX, watch_number(1)), -ENOMEM);
	assert_null(ummu_kmod_slots_get(&slots, UINT32_MAX));
	assert_int_equal(put(&slots, 1, watch_number(2)), 0);
	assert_ptr_equal(ummu_kmod_slots_get(&slots, 1), watch_number(2));
	ummu_kmod_slots_destroy(&slots);
}

/* A put happens under a lock, where nothing may be allocated. */
static void a_put_makes_no_room(void **state)
{
	struct kmod_slots slots = { NULL };

	(void)state;
	assert_false(ummu_kmod_slots_put(&slots, 1, watch_number(1)));
	assert_null(slots.table);
	assert_int_equal(put(&slots, 1, watch_number(1)), 0);
	assert_false(ummu_kmod_slots_put(&slots, slots.table->count,
					 watch_number(2)));
	assert_ptr_equal(ummu_kmod_slots_get(&slots, 1), watch_number(1));
	ummu_kmod_slots_destroy(&slots);
}

/* Two threads make room at once: the larger table stays, with what is in it. */
static void the_larger_table_stays(void **state)
{
	struct kmod_table *small = ummu_kmod_table_new(1000);
	struct kmod_table *large = ummu_kmod_table_new(5000);
	struct kmod_slots slots = { NULL };

	(void)state;
	assert_non_null(small);
	assert_non_null(large);
	assert_null(ummu_kmod_slots_replace(&slots, large));
	assert_true(ummu_kmod_slots_put(&slots, 5000, watch_number(1)));
	assert_ptr_equal(ummu_kmod_slots_replace(&slots, small), small);
	assert_ptr_equal(ummu_kmod_slots_get(&slots, 5000), watch_number(1));
	free(small);
	ummu_kmod_slots_destroy(&slots);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_has_nothing),
		cmocka_unit_test(put_take_and_put_again),
		cmocka_unit_test(far_ahead),
		cmocka_unit_test(no_end_of_memory),
		cmocka_unit_test(a_put_makes_no_room),
		cmocka_unit_test(the_larger_table_stays),
	};

	run_limit(250);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
