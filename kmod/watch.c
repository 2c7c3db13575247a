// SPDX-License-Identifier: GPL-2.0-only
/*
 * watch.c - watches in the tree: armed, hit, walked over, ended.
 *
 * Everything here runs under the lock of the space, but for
 * ummunotify_end_all(), and for the pauses of a long walk.
 */
#include <linux/interval_tree_generic.h>
#include <linux/sched.h>

#include "breakable.h"
#include "trace.h"
#include "ummunotify.h"

/* The kernel's interval tree, but inline: a hit calls it three times. */
#define START(node) ((node)->start)
#define LAST(node) ((node)->last)
INTERVAL_TREE_DEFINE(struct interval_tree_node, rb, unsigned long,
		     __subtree_last, START, LAST, static inline, tree);

/**
 * struct walker - a walk over the watches that a window hits
 * @in_space: in the list of its space, while it has dropped the lock
 * @start: first byte of the invalidation
 * @last: last byte
 * @class: UMMUNOTIFY_CLASS_... of it
 * @may_sleep: while it has
 * @next: where it goes on after that; in a tree, or NULL
 * @visits: since it had the lock all the time
 * @hits: so far
 */
struct walker {
	struct list_head in_space;
	unsigned long start;
	unsigned long last;
	unsigned int class;
	bool may_sleep;
	struct interval_tree_node *next;
	unsigned int visits;
	unsigned int hits;
};

/* A walker must not be left standing on what leaves the tree. */
static void walkers_step_off(struct ummunotify_space *space,
			     struct interval_tree_node *node)
{
	struct walker *walker;

	list_for_each_entry(walker, &space->walkers, in_space) {
		if (walker->next == node)
			walker->next = tree_iter_next(node, walker->start,
						      walker->last);
	}
}

static struct ummunotify_granule *granule_of(struct ummunotify_space *space,
					     unsigned long granule)
{
	return ummunotify_granule_at(&space->filter, granule);
}

/* The tree of the narrow watches in a granule; it may have others too. */
static struct rb_root_cached *narrow_tree(struct ummunotify_space *space,
					  unsigned long granule)
{
	return &space->narrow[granule % UMMUNOTIFY_NARROW_TREES];
}

/**
 * ummunotify_disarm() - take a watch out of the tree
 * @slot: it; nothing happens if it is not armed
 */
void ummunotify_disarm(struct ummunotify_slot *slot)
{
	struct ummunotify_space *space = slot->file->space;
	unsigned long granule = slot->range.start >> UMMUNOTIFY_SMALL_SHIFT;

	if (!slot->armed)
		return;
	if (unlikely(!list_empty(&space->walkers)))
		walkers_step_off(space, &slot->range);
	slot->armed = false;
	slot->file->armed--;
	if (likely(granule == slot->range.last >> UMMUNOTIFY_SMALL_SHIFT)) {
		ummunotify_granule_remove(granule_of(space, granule));
		tree_remove(&slot->range, narrow_tree(space, granule));
	} else {
		ummunotify_filter_remove_wide(&space->filter, slot->range.start,
					      slot->range.last);
		tree_remove(&slot->range, &space->wide);
	}
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
	struct ummunotify_file *file = slot->file;
	struct ummunotify_log_entry *entry;

	WRITE_ONCE(*slot->word, 0);
	ummunotify_disarm(slot);
	entry = ummunotify_log_next(&file->log);
	entry->state = slot->state;
	entry->hint_start = start;
	entry->hint_end = (u64)last + 1;
	entry->slot = slot->number;
	entry->event_class = class;
	ummunotify_log_publish(file);
}

/*
 * model: HIT.  The caller has given this hold of the lock a number of its own
 * in @invalidation of the space.
 */
static void hit(struct ummunotify_slot *slot, unsigned long start,
		unsigned long last, unsigned int class)
{
	struct ummunotify_file *file = slot->file;
	u64 invalidation = file->space->invalidation;
	bool was_quiet = !ummunotify_readable(file);

	start = max(start, slot->range.start);
	last = min(last, slot->range.last);
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
	unsigned long granule = start >> UMMUNOTIFY_SMALL_SHIFT;

	slot->range.start = start;
	slot->range.last = last;
	if (likely(granule == last >> UMMUNOTIFY_SMALL_SHIFT)) {
		ummunotify_granule_add(granule_of(space, granule), start, last);
		tree_insert(&slot->range, narrow_tree(space, granule));
	} else {
		ummunotify_filter_add_wide(&space->filter, start, last);
		tree_insert(&slot->range, &space->wide);
	}
	slot->armed = true;
	slot->file->armed++;
}

/**
 * ummunotify_born_hit() - hit a watch if something is in flight over it
 * @slot: see ummunotify_hit_if_in_flight()
 *
 * Return: whether it was hit.
 */
bool ummunotify_born_hit(struct ummunotify_slot *slot)
{
	struct ummunotify_space *space = slot->file->space;
	struct ummunotify_window window;

	if (UMMUNOTIFY_BROKEN(NO_IN_FLIGHT))
		return false;
	if (!ummunotify_in_flight_over(&space->in_flight, slot->range.start,
				       slot->range.last, slot->file->classes,
				       &window))
		return false;
	space->invalidation++;
	hit(slot, window.start, window.last, window.classes);
	ummunotify_count(born_hit);
	return true;
}

/*
 * model: RESUME.  Let others have the lock.  What is armed meanwhile need not be walked over:
 * the window is in the table, so that is born hit.  The invalidation gets a new
 * number, for a file that has drained in the pause must see its generation move
 * again.
 */
static void pause_walk(struct ummunotify_space *space, struct walker *walker)
	__must_hold(&space->lock)
{
	list_add(&walker->in_space, &space->walkers);
	spin_unlock(&space->lock);
	if (walker->may_sleep)
		cond_resched();
	else
		cpu_relax();
	spin_lock(&space->lock);
	list_del(&walker->in_space);
	walker->visits = 0;
	space->invalidation++;
}

static void walk(struct ummunotify_space *space, struct rb_root_cached *tree,
		 struct walker *walker)
{
	unsigned long start = walker->start, last = walker->last;
	unsigned int class = walker->class;
	struct interval_tree_node *node;

	node = tree_iter_first(tree, start, last);
	while (node) {
		struct ummunotify_slot *slot =
			container_of(node, struct ummunotify_slot, range);

		walker->next = tree_iter_next(node, start, last);
		if (slot->file->classes & class) {
			hit(slot, start, last, class);
			walker->hits++;
		}
		if (++walker->visits == UMMUNOTIFY_HITS_PER_LOCK)
			pause_walk(space, walker);
		node = walker->next;
	}
}

/**
 * ummunotify_hit_range() - hit every watch over a window
 * @space: whose watches
 * @start: first byte of the window, which is in the in-flight table already
 * @last: last byte
 * @class: UMMUNOTIFY_CLASS_... of it
 * @may_sleep: between two holds of the lock
 */
void ummunotify_hit_range(struct ummunotify_space *space, unsigned long start,
			  unsigned long last, unsigned int class,
			  bool may_sleep)
{
	unsigned long granule = start >> UMMUNOTIFY_SMALL_SHIFT;
	unsigned long more = (last >> UMMUNOTIFY_SMALL_SHIFT) - granule;
	struct walker walker ummunotify_not_cleared;

	walker.start = start;
	walker.last = last;
	walker.class = class;
	walker.may_sleep = may_sleep;
	walker.next = NULL;
	walker.visits = 0;
	walker.hits = 0;

	/* After so many granules come the same trees again. */
	more = min(more, UMMUNOTIFY_NARROW_TREES - 1UL);
	space->invalidation++;
	if (!RB_EMPTY_ROOT(&space->wide.rb_root))
		walk(space, &space->wide, &walker);
	do {
		struct rb_root_cached *tree = narrow_tree(space, granule);

		if (!RB_EMPTY_ROOT(&tree->rb_root))
			walk(space, tree, &walker);
		granule++;
		/* To see that trees are empty takes time too. */
		if (unlikely(more && more % UMMUNOTIFY_TREES_PER_LOCK == 0))
			pause_walk(space, &walker);
	} while (more--);
	if (walker.hits)
		trace_ummunotify_invalidate(space, start, last, class,
					    walker.hits);
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
