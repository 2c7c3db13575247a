/* SPDX-License-Identifier: MIT */
/* kmod-slots.c - from the kernel's number of a watch to the watch. */
#define _GNU_SOURCE
#include "kmod-slots.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_COUNT 64

struct kmod_table *ummu_kmod_table_new(uint32_t slot)
{
	uint64_t count = slot < FIRST_COUNT / 2 ? FIRST_COUNT :
						  2 * (uint64_t)slot;
	struct kmod_table *table;

	if (count > UINT32_MAX)
		count = UINT32_MAX;
	if (count <= slot)
		return NULL;
	table = calloc(1, sizeof(*table) + count * sizeof(void *));
	if (table)
		table->count = (uint32_t)count;
	return table;
}

struct kmod_table *ummu_kmod_slots_replace(struct kmod_slots *slots,
					   struct kmod_table *table)
{
	struct kmod_table *old = slots->table;

	if (old && old->count >= table->count)
		return table;
	if (old)
		memcpy(table->watches, old->watches,
		       old->count * sizeof(void *));
	/*
	 * Release: the table is filled before a fork can find it.  A fork that
	 * comes before this store finds the old one, which is freed later.
	 */
	__atomic_store_n(&slots->table, table, __ATOMIC_RELEASE);
	return old;
}

static void store(struct kmod_slots *slots, uint32_t slot,
		  struct kmod_watch *watch)
{
	/* Release: a watch is complete before a fork can find it. */
	__atomic_store_n(&slots->table->watches[slot], watch, __ATOMIC_RELEASE);
}

bool ummu_kmod_slots_put(struct kmod_slots *slots, uint32_t slot,
			 struct kmod_watch *watch)
{
	if (slot >= ummu_kmod_slots_count(slots))
		return false;
	store(slots, slot, watch);
	return true;
}

void ummu_kmod_slots_take(struct kmod_slots *slots, uint32_t slot)
{
	store(slots, slot, NULL);
}

void ummu_kmod_slots_destroy(struct kmod_slots *slots)
{
	free(slots->table);
	slots->table = NULL;
}
