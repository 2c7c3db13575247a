/* SPDX-License-Identifier: MIT */
/*
 * kmod-slots.h - from the kernel's number of a watch to the watch.
 *
 * The caller locks; a forked child, where the holder of the lock may not exist,
 * finds each watch that was there once, or not at all: the table is replaced
 * as a whole, and its entries are written one at a time.
 *
 * Nothing here allocates or frees under that lock.  A table that is too small is
 * replaced in three steps: the caller makes a larger one before it locks, puts
 * it in place under the lock, and frees what that gave back after it unlocked.
 */
#ifndef UMMU_KMOD_SLOTS_H
#define UMMU_KMOD_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kmod_watch;

/**
 * struct kmod_table - the watches of slots 0 to @count - 1; NULL: none
 */
struct kmod_table {
	uint32_t count;
	struct kmod_watch *watches[];
};

/** All zeros is empty. */
struct kmod_slots {
	struct kmod_table *table;
};

/**
 * ummu_kmod_table_new - a table that has room for @slot and for many more
 *
 * No lock is held.  Returns NULL if there is no memory for it.
 */
struct kmod_table *ummu_kmod_table_new(uint32_t slot);

/**
 * ummu_kmod_slots_replace - use @table from here on, if it is the larger one
 *
 * Returns what the caller frees after it has unlocked: the table that was in
 * use, or @table, if another thread has put a larger one in place meanwhile.
 */
struct kmod_table *ummu_kmod_slots_replace(struct kmod_slots *slots,
					   struct kmod_table *table);

/** ummu_kmod_slots_put - false if the table has no room for @slot. */
bool ummu_kmod_slots_put(struct kmod_slots *slots, uint32_t slot,
			 struct kmod_watch *watch);

/** ummu_kmod_slots_take - the slot is empty from here on. */
void ummu_kmod_slots_take(struct kmod_slots *slots, uint32_t slot);

/** ummu_kmod_slots_destroy - frees the table, and not the watches. */
void ummu_kmod_slots_destroy(struct kmod_slots *slots);

/** ummu_kmod_slots_count - every slot in use is less than this. */
static inline uint32_t ummu_kmod_slots_count(const struct kmod_slots *slots)
{
	return slots->table ? slots->table->count : 0;
}

/** ummu_kmod_slots_get - the watch, or NULL. */
static inline struct kmod_watch *
ummu_kmod_slots_get(const struct kmod_slots *slots, uint32_t slot)
{
	return slot < ummu_kmod_slots_count(slots) ?
		       slots->table->watches[slot] :
		       NULL;
}

#endif
