/* SPDX-License-Identifier: MIT */
/* kmod-slots.c - from the kernel's number of a watch to the watch. */
#define _GNU_SOURCE
#include "kmod-slots.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_COUNT 64

static struct kmod_table *new_table(uint64_t count)
{
	struct kmod_table *table = calloc(1, sizeof(*table) +
						     count * sizeof(void *));

	if (table)
		table->count = (uint32_t)count;
	return table;
}

static int grow(struct kmod_slots *slots, uint32_t slot)
{
	struct kmod_table *old = slots->table, *table;
	uint64_t count = old ? 2 * (uint64_t)old->count : FIRST_COUNT;

	if (count <= slot)
		count = (uint64_t)slot + 1;
	if (count > UINT32_MAX)
		count = UINT32_MAX;
	table = count > slot ? new_table(count) : NULL;
	if (!table)
		return -ENOMEM;
	if (old)
		memcpy(table->watches, old->watches,
		       old->count * sizeof(void *));
	/* Release: filled before a fork can find it; the old one lives on. */
	__atomic_store_n(&slots->table, table, __ATOMIC_RELEASE);
	free(old);
	return 0;
}

static void store(struct kmod_slots *slots, uint32_t slot,
		  struct kmod_watch *watch)
{
	/* Release: a watch is complete before a fork can find it. */
	__atomic_store_n(&slots->table->watches[slot], watch, __ATOMIC_RELEASE);
}

int ummu_kmod_slots_put(struct kmod_slots *slots, uint32_t slot,
			struct kmod_watch *watch)
{
	if (slot >= ummu_kmod_slots_count(slots) && grow(slots, slot))
		return -ENOMEM;
	store(slots, slot, watch);
	return 0;
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
