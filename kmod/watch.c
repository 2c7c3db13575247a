// SPDX-License-Identifier: GPL-2.0-only
/*
 * watch.c - watches in the tree: armed, hit, walked over, ended.
 *
 * Everything here runs under the lock of the space, but for
 * ummunotify_end_all(), and for the pauses of a long walk.
 */
#include <linux/sched.h>

#include "breakable.h"
#include "stats.h"
#include "trace.h"
#include "ummunotify.h"

/**
 * struct walker - a walk that has dropped the lock for a moment
 * @in_space: in the list of its space
 * @start: first byte of the invalidation
 * @last: last byte of it
 * @next: where the walk goes on; kept in the tree, or NULL
 */
struct walker {
	struct list_head in_space;
	unsigned long start;
	unsigned long last;
	struct interval_tree_node *next;
};

/* A walker must not be left standing on what leaves the tree. */
static void walkers_step_off(struct ummunotify_space *space,
			     struct interval_tree_node *node)
{
	struct walker *walker;

	list_for_each_entry(walker, &space->walkers, in_space) {
		if (walker->next == node)
			walker->next = interval_tree_iter_next(node,
							       walker->start,
							       walker->last);
	}
}

/**
 * ummunotify_disarm() - take a watch out of the tree
 * @slot: it; nothing happens if it is not armed
 */
void ummunotify_disarm(struct ummunotify_slot *slot)
{
	struct ummunotify_space *space = slot->file->space;

	if (!slot->armed)
		return;
	if (unlikely(!list_empty(&space->walkers)))
		walkers_step_off(space, &slot->range);
	interval_tree_remove(&slot->range, &space->tree);
	ummunotify_filter_change(&space->filter, slot->range.start,
				 slot->range.last, -1);
	slot->armed = false;
	slot->file->armed--;
}

/*
 * The state word goes to 0 before the page tables change, and before the event
 * and the generation tell of it: who sees either of these sees the word as
 * well.
 *
 * The store comes before the change of the page tables for every processor:
 * the lock of the space is released after it, and that of the page table is
 * taken after that, which orders the stores on both sides (and srcu_read_unlock()
 * in the notifier core, on the way back, is a full barrier besides).
 */
static void hit_watch(struct ummunotify_slot *slot, unsigned long start,
		      unsigned long last, unsigned int class)
{
	const struct ummunotify_log_entry entry = {
		.state = slot->state,
		.hint_start = start,
		.hint_end = (u64)last + 1,
		.slot = slot->number,
		.event_class = class,
	};

	WRITE_ONCE(*slot->word, 0);
	ummunotify_disarm(slot);
	ummunotify_log_append(slot->file, &entry);
}

/*
 * model: HIT.  The caller has given this hold of the lock a number of its own
 * in @invalidation of the space.
 */
static void hit(struct ummunotify_slot *slot,
		const struct ummunotify_window *window)
{
	struct ummunotify_file *file = slot->file;
	u64 invalidation = file->space->invalidation;
	unsigned long start = max(window->start, slot->range.start);
	unsigned long last = min(window->last, slot->range.last);
	bool was_quiet = !ummunotify_readable(file);
	unsigned int class = window->classes;

	if (file->language == UMMUNOTIFY_TODAY)
		hit_watch(slot, start, last,
			  class == UMMUNOTIFY_CLASS_ALL ? 0 : class);
	else
		ummunotify_hit_region(ummunotify_region_of(slot), start, last);

	/*
	 * The counter of 2010 moves once for all regions that are hit in one
	 * hold of the lock: its clients read() them under the lock, together.
	 * Today's look at the log without it, so whoever has seen this hit must
	 * see the generation move again for the next.
	 */
	if (file->language == UMMUNOTIFY_TODAY ||
	    file->invalidation != invalidation) {
		file->invalidation = invalidation;
		/*
		 * Release: who sees the new generation finds the event, be it
		 * in the log or, after the lock, in the list.
		 */
		smp_store_release(&file->shared->generation, ++file->generation);
	}
	if (was_quiet)
		ummunotify_wake(file);
	ummunotify_count(hits);
}

/**
 * ummunotify_arm() - put a watch into the tree
 * @slot: not armed
 * @start: first byte
 * @last: last byte
 *
 * The caller looks at what is in flight before it drops the lock.
 */
void ummunotify_arm(struct ummunotify_slot *slot, unsigned long start,
		    unsigned long last)
{
	struct ummunotify_space *space = slot->file->space;

	slot->range.start = start;
	slot->range.last = last;
	interval_tree_insert(&slot->range, &space->tree);
	ummunotify_filter_change(&space->filter, start, last, 1);
	slot->armed = true;
	slot->file->armed++;
}

/**
 * ummunotify_hit_if_in_flight() - born hit (model: WATCH, DRAIN)
 * @slot: armed, or drained, since the lock was taken
 *
 * While an invalidation of the range is in flight its old page may still be
 * there to be pinned, and nobody will mark the watch later: so it is marked
 * now.  If the window has closed, the page tables have changed, and this
 * critical section comes after that of its end: a pin finds the new page.
 *
 * Return: whether it was hit.
 */
bool ummunotify_hit_if_in_flight(struct ummunotify_slot *slot)
{
	struct ummunotify_space *space = slot->file->space;
	struct ummunotify_window window;

	if (ummunotify_in_flight_none(&space->in_flight))
		return false;
	if (UMMUNOTIFY_BROKEN(NO_IN_FLIGHT))
		return false;
	if (!ummunotify_in_flight_over(&space->in_flight, slot->range.start,
				       slot->range.last, slot->file->classes,
				       &window))
		return false;
	space->invalidation++;
	hit(slot, &window);
	ummunotify_count(born_hit);
	return true;
}

/*
 * Let others have the lock.  What is armed meanwhile need not be walked over:
 * the window is in the table, so that is born hit.  The invalidation gets a new
 * number, for a file that has drained in the pause must see its generation move
 * again.
 */
static struct interval_tree_node *
pause_walk(struct ummunotify_space *space, struct interval_tree_node *next,
	   const struct ummunotify_window *window, bool may_sleep)
	__must_hold(&space->lock)
{
	struct walker walker = {
		.start = window->start,
		.last = window->last,
		.next = next,
	};

	list_add(&walker.in_space, &space->walkers);
	spin_unlock(&space->lock);
	if (may_sleep)
		cond_resched();
	else
		cpu_relax();
	spin_lock(&space->lock);
	list_del(&walker.in_space);
	space->invalidation++;
	return walker.next;
}

/**
 * ummunotify_hit_range() - hit every watch over a window
 * @space: whose watches
 * @window: of one class; in the in-flight table already
 * @may_sleep: between two holds of the lock
 *
 * Return: how many were hit.
 */
unsigned int ummunotify_hit_range(struct ummunotify_space *space,
				  const struct ummunotify_window *window,
				  bool may_sleep)
{
	struct interval_tree_node *node, *next;
	unsigned int hits = 0, visits = 0;

	node = interval_tree_iter_first(&space->tree, window->start,
					window->last);
	if (!node)
		return 0;

	space->invalidation++;
	while (node) {
		struct ummunotify_slot *slot =
			container_of(node, struct ummunotify_slot, range);

		next = interval_tree_iter_next(node, window->start,
					       window->last);
		if (slot->file->classes & window->classes) {
			hit(slot, window);
			hits++;
		}
		if (next && ++visits % UMMUNOTIFY_HITS_PER_LOCK == 0)
			next = pause_walk(space, next, window, may_sleep);
		node = next;
	}
	trace_ummunotify_invalidate(space, window, hits);
	return hits;
}

/**
 * ummunotify_end_all() - end every watch of a file that nobody uses any more
 * @file: it; the caller holds @teardown of its space, and no spinlock
 */
void ummunotify_end_all(struct ummunotify_file *file)
{
	struct ummunotify_space *space = file->space;
	u32 number;

	spin_lock(&space->lock);
	for (number = 1; number < file->fresh; number++) {
		ummunotify_disarm(ummunotify_slot_at(file, number));
		if (number % UMMUNOTIFY_HITS_PER_LOCK == 0) {
			spin_unlock(&space->lock);
			cond_resched();
			spin_lock(&space->lock);
		}
	}
	space->watches -= file->watches;
	spin_unlock(&space->lock);

	ummunotify_user_uncharge(file->user, file->watches);
	ummunotify_count_by(watches_ended, file->watches);
	file->watches = 0;
}
