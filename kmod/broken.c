// SPDX-License-Identifier: GPL-2.0-only
/*
 * broken.c - which rules are broken, and hits that come too late.
 *
 * The space is not kept alive: a test of that build keeps its descriptor open.
 */
#include <linux/delay.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "breakable.h"
#include "broken.h"
#include "ummunotify.h"

bool ummunotify_broken_NO_IN_FLIGHT;
module_param_named(NO_IN_FLIGHT, ummunotify_broken_NO_IN_FLIGHT, bool, 0444);
MODULE_PARM_DESC(NO_IN_FLIGHT, "mark at the start only");

bool ummunotify_broken_ONLY_ADDED;
module_param_named(ONLY_ADDED, ummunotify_broken_ONLY_ADDED, bool, 0444);
MODULE_PARM_DESC(ONLY_ADDED,
		 "the table of what is in flight is for new watches only");

bool ummunotify_broken_LATE;
module_param_named(LATE, ummunotify_broken_LATE, bool, 0444);
MODULE_PARM_DESC(LATE, "mark at the end only");

bool ummunotify_broken_TRYLOCK;
module_param_named(TRYLOCK, ummunotify_broken_TRYLOCK, bool, 0444);
MODULE_PARM_DESC(TRYLOCK, "when the lock is busy, mark some time later");

bool ummunotify_broken_NO_LAST;
module_param_named(NO_LAST, ummunotify_broken_NO_LAST, bool, 0444);
MODULE_PARM_DESC(NO_LAST, "UNREGISTER owes no LAST");

static atomic_t deferred_count = ATOMIC_INIT(0);

struct deferred {
	struct work_struct work;
	struct ummunotify_space *space;
	struct ummunotify_window window;
};

static void hit_later(struct work_struct *work)
{
	struct deferred *deferred = container_of(work, struct deferred, work);

	spin_lock(&deferred->space->lock);
	ummunotify_hit_range(deferred->space, deferred->window.start,
			     deferred->window.last, deferred->window.classes,
			     true);
	spin_unlock(&deferred->space->lock);
	kfree(deferred);
	atomic_dec(&deferred_count);
}

/**
 * ummunotify_broken_defer() - hit the watches over a window some time later
 * @space: whose
 * @range: over what
 */
void ummunotify_broken_defer(struct ummunotify_space *space,
			     const struct mmu_notifier_range *range)
{
	struct deferred *deferred = kmalloc(sizeof(*deferred), GFP_ATOMIC);

	if (!deferred)
		return;
	INIT_WORK(&deferred->work, hit_later);
	deferred->space = space;
	deferred->window = (struct ummunotify_window){
		.start = range->start,
		.last = range->end - 1,
		.classes = BIT(range->event),
	};
	atomic_inc(&deferred_count);
	schedule_work(&deferred->work);
}

/**
 * ummunotify_broken_flush() - wait for what was deferred; the module leaves
 */
void ummunotify_broken_flush(void)
{
	while (atomic_read(&deferred_count))
		msleep(20);
}
