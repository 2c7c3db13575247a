/* SPDX-License-Identifier: MIT */
/* uffd-ledger.c - keep a record of what is registered. */
#define _GNU_SOURCE
#include <errno.h>

#include "../base/containerof.h"
#include "../base/wipe.h"
#include "mappings.h"
#include "uffd.h"

/* How many bytes of extents are made at a time: a multiple of any page size. */
#define POOL_BYTES ((size_t)64 << 10)

/* How often mappings are counted: in a large program it takes milliseconds. */
#define COUNT_NS 1000000000ULL

static struct uffd_extent *extent_of(struct ummu_interval *node)
{
	return container_of(node, struct uffd_extent, range);
}

static struct uffd_range range_of(const struct uffd_extent *extent)
{
	return (struct uffd_range){ extent->range.start, extent->range.last };
}

void ummu_uffd_ledger_init(struct uffd_ledger *ledger, unsigned long limit)
{
	TAILQ_INIT(&ledger->idle);
	ledger->limit = limit;
}

int ummu_uffd_ledger_grow(struct uffd_process *process)
{
	struct uffd_extent *extents = ummu_wipe_alloc(POOL_BYTES);
	struct uffd_guard guard;

	if (!extents)
		return -ENOMEM;
	ummu_uffd_lock(process, &guard);
	for (size_t i = 0; i < POOL_BYTES / sizeof(*extents); i++) {
		extents[i].next = process->ledger.unused;
		process->ledger.unused = &extents[i];
	}
	ummu_uffd_unlock(process, &guard);
	return 0;
}

static bool may_count(struct uffd_process *process)
{
	uint64_t now = ummu_uffd_now();
	struct uffd_guard guard;
	bool may;

	ummu_uffd_lock(process, &guard);
	may = now - process->ledger.counted >= COUNT_NS;
	if (may)
		process->ledger.counted = now;
	ummu_uffd_unlock(process, &guard);
	return may;
}

bool ummu_uffd_ledger_extend(struct uffd_process *process)
{
	struct uffd_guard guard;
	long count, room;

	if (!may_count(process))
		return false;
	count = ummu_mappings_count();
	room = ummu_mappings_limit() / 2 - count;
	if (count < 0 || room < 2)
		return false;
	ummu_uffd_lock(process, &guard);
	process->ledger.limit = process->ledger.count + (unsigned long)room / 2;
	ummu_uffd_unlock(process, &guard);
	return true;
}

static void set_needed(struct uffd_ledger *ledger, struct uffd_extent *extent)
{
	if (extent->idle_since)
		TAILQ_REMOVE(&ledger->idle, extent, idle);
	extent->idle_since = 0;
}

static void remove_extent(struct uffd_ledger *ledger, struct uffd_extent *extent)
{
	set_needed(ledger, extent);
	ummu_interval_remove(&ledger->tree, &extent->range);
	ledger->count--;
	extent->next = ledger->unused;
	ledger->unused = extent;
}

static struct uffd_extent *insert_extent(struct uffd_ledger *ledger,
					 const struct uffd_range *range)
{
	struct uffd_extent *extent = ledger->unused;

	ledger->unused = extent->next;
	*extent = (struct uffd_extent){
		.range = { .start = range->start, .last = range->last },
	};
	ummu_interval_insert(&ledger->tree, &extent->range);
	ledger->count++;
	return extent;
}

static void set_range(struct uffd_ledger *ledger, struct uffd_extent *extent,
		      uint64_t start, uint64_t last)
{
	ummu_interval_remove(&ledger->tree, &extent->range);
	extent->range.start = start;
	extent->range.last = last;
	ummu_interval_insert(&ledger->tree, &extent->range);
}

const struct uffd_extent *
ummu_uffd_ledger_covers(const struct uffd_process *process,
			const struct uffd_range *range)
{
	struct ummu_interval *node = ummu_interval_first(&process->ledger.tree,
							 range->start,
							 range->start);

	for (; node; node = ummu_interval_next(node, range->start, range->start))
		if (node->last >= range->last && !extent_of(node)->cut)
			return extent_of(node);
	return NULL;
}

void ummu_uffd_ledger_add(struct uffd_process *process,
			  const struct uffd_range *range)
{
	struct uffd_ledger *ledger = &process->ledger;
	const struct uffd_extent *covers = ummu_uffd_ledger_covers(process,
								   range);
	struct ummu_interval *node, *next;

	if (covers) {
		/* It is constant for the callers of the ledger only. */
		set_needed(ledger, (struct uffd_extent *)(uintptr_t)covers);
		return;
	}
	for (node = ummu_interval_first(&ledger->tree, range->start,
					range->last);
	     node; node = next) {
		next = ummu_interval_next(node, range->start, range->last);
		if (node->start >= range->start && node->last <= range->last)
			remove_extent(ledger, extent_of(node));
	}
	insert_extent(ledger, range);
}

static void find_idle(struct uffd_process *process, struct uffd_extent *extent)
{
	struct uffd_ledger *ledger = &process->ledger;

	if (extent->idle_since ||
	    ummu_interval_first(&process->watches, extent->range.start,
				extent->range.last))
		return;
	extent->idle_since = ummu_uffd_now();
	TAILQ_INSERT_TAIL(&ledger->idle, extent, idle);
}

void ummu_uffd_ledger_unneeded(struct uffd_process *process,
			       const struct uffd_range *range)
{
	struct ummu_interval *node = ummu_interval_first(&process->ledger.tree,
							 range->start,
							 range->last);

	for (; node; node = ummu_interval_next(node, range->start, range->last))
		find_idle(process, extent_of(node));
}

void ummu_uffd_ledger_gone(struct uffd_process *process,
			   const struct uffd_range *range)
{
	struct uffd_ledger *ledger = &process->ledger;
	struct ummu_interval *node, *next;

	for (node = ummu_interval_first(&ledger->tree, range->start,
					range->last);
	     node; node = next) {
		struct uffd_extent *extent = extent_of(node);
		const struct uffd_range whole = range_of(extent);

		next = ummu_interval_next(node, range->start, range->last);
		if (uffd_contains(range, &whole)) {
			remove_extent(ledger, extent);
			continue;
		}
		if (range->start <= whole.start)
			set_range(ledger, extent, range->last + 1, whole.last);
		else if (range->last >= whole.last)
			set_range(ledger, extent, whole.start, range->start - 1);
		else
			extent->cut = true;
		find_idle(process, extent);
	}
}

void ummu_uffd_ledger_moved(struct uffd_process *process,
			    const struct uffd_range *from,
			    const struct uffd_range *to)
{
	ummu_uffd_ledger_gone(process, from);
	if (!process->ledger.unused)
		return; /* a sweep finds it */
	ummu_uffd_ledger_add(process, to);
	ummu_uffd_ledger_unneeded(process, to);
}

bool ummu_uffd_ledger_take(struct uffd_process *process,
			   const struct uffd_range *within, uint64_t before,
			   struct uffd_range *range, bool *cut)
{
	struct uffd_ledger *ledger = &process->ledger;
	struct uffd_extent *extent;

	TAILQ_FOREACH(extent, &ledger->idle, idle)
	{
		if (extent->idle_since > before)
			return false;
		*range = range_of(extent);
		if (!uffd_overlap(range, within))
			continue;
		*cut = extent->cut;
		remove_extent(ledger, extent);
		return true;
	}
	return false;
}

void ummu_uffd_ledger_clear(struct uffd_ledger *ledger)
{
	while (ledger->tree.root)
		remove_extent(ledger, extent_of(ledger->tree.root));
	ledger->used = false;
}
