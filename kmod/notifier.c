// SPDX-License-Identifier: GPL-2.0-only
/*
 * notifier.c - what the kernel tells of an address space, and how long we
 * listen.
 *
 * The callbacks never look at current: a page that kswapd, khugepaged, another
 * process or the OOM killer takes is as gone as one that its owner unmaps.
 */
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "breakable.h"
#include "broken.h"
#include "ummunotify.h"

static struct ummunotify_space *space_of(struct mmu_notifier *notifier)
{
	return container_of(notifier, struct ummunotify_space, notifier);
}

static unsigned long last_of(const struct mmu_notifier_range *range)
{
	return range->end - 1;
}

static unsigned int class_of(const struct mmu_notifier_range *range)
{
	return BIT(range->event);
}

static void add(struct ummunotify_space *space,
		const struct mmu_notifier_range *range)
{
	ummunotify_in_flight_add(&space->in_flight, range->start,
				 last_of(range), class_of(range));
}

static void remove(struct ummunotify_space *space,
		   const struct mmu_notifier_range *range)
{
	ummunotify_in_flight_remove(&space->in_flight, range->start,
				    last_of(range), class_of(range));
}

/* May a watch be hit?  A few loads, for most invalidations. */
static bool may_hit(struct ummunotify_space *space,
		    const struct mmu_notifier_range *range)
{
	unsigned long granule = range->start >> UMMUNOTIFY_SMALL_SHIFT;
	unsigned long end = last_of(range) >> UMMUNOTIFY_SMALL_SHIFT;

	if (!(space->wanted & class_of(range)))
		return false;
	if (end - granule >= UMMUNOTIFY_SPAN)
		return true;
	for (; granule <= end; granule++)
		if (!RB_EMPTY_ROOT(&ummunotify_narrow(space, granule)->rb_root))
			return true;
	if (RB_EMPTY_ROOT(&space->wide.rb_root))
		return false;
	return ummunotify_filter_perhaps(&space->filter, range->start,
					 last_of(range));
}

/* Out of line, so that the way that most invalidations take stays short. */
static noinline void hit(struct ummunotify_space *space,
			 const struct mmu_notifier_range *range, bool may_sleep)
{
	const struct ummunotify_window window = {
		.start = range->start,
		.last = last_of(range),
		.classes = class_of(range),
	};

	ummunotify_hit_range(space, &window, may_sleep);
}

/*
 * model: START.  The page tables change after this has returned.  From here
 * until END the window is in the table, hit or not, because what is armed or
 * drained meanwhile has to know of it.
 */
static int invalidate_range_start(struct mmu_notifier *notifier,
				  const struct mmu_notifier_range *range)
{
	struct ummunotify_space *space = space_of(notifier);

	if (UMMUNOTIFY_BROKEN(TRYLOCK) && !spin_trylock(&space->lock)) {
		ummunotify_broken_defer(space, range);
		return 0;
	}
	if (!UMMUNOTIFY_BROKEN(TRYLOCK))
		spin_lock(&space->lock);
	add(space, range);
	if (may_hit(space, range) && !UMMUNOTIFY_BROKEN(LATE))
		hit(space, range, mmu_notifier_range_blockable(range));
	spin_unlock(&space->lock);
	ummunotify_count(invalidations);
	return 0;
}

/* model: END.  The page tables have changed, and translations are flushed. */
static void invalidate_range_end(struct mmu_notifier *notifier,
				 const struct mmu_notifier_range *range)
{
	struct ummunotify_space *space = space_of(notifier);

	spin_lock(&space->lock);
	if (UMMUNOTIFY_BROKEN(LATE) && may_hit(space, range))
		hit(space, range, false);
	remove(space, range);
	spin_unlock(&space->lock);
}

/*
 * The mm dies: nobody can call us for it any more, but a
 * descriptor that went to another process may be polled there.  What its
 * watches take is freed here and not when that process pleases to close it.
 */
static void release(struct mmu_notifier *notifier, struct mm_struct *mm)
{
	struct ummunotify_space *space = space_of(notifier);
	struct ummunotify_file *file;

	mutex_lock(&space->teardown);
	list_for_each_entry(file, &space->files, in_space) {
		spin_lock(&space->lock);
		file->dead = true;
		/* Release: as in hit(), for who has the page of 2010 mapped. */
		smp_store_release(&file->shared->generation, ++file->generation);
		ummunotify_wake(file);
		spin_unlock(&space->lock);
		ummunotify_end_all(file);
		ummunotify_slots_free(file);
	}
	mutex_unlock(&space->teardown);
}

static struct mmu_notifier *alloc_notifier(struct mm_struct *mm)
{
	struct ummunotify_space *space;

	space = kvzalloc(sizeof(*space), UMMUNOTIFY_GFP);
	if (!space)
		return ERR_PTR(-ENOMEM);
	spin_lock_init(&space->lock);
	mutex_init(&space->teardown);
	INIT_LIST_HEAD(&space->walkers);
	INIT_LIST_HEAD(&space->files);

	/* The file that is being opened holds the module. */
	__module_get(THIS_MODULE);
	ummunotify_count(spaces_made);
	return &space->notifier;
}

/*
 * Some time after the last put, when no callback can run.  It may not sleep.
 * See ummunotify_exit() for what happens between the last line and the return.
 */
static void free_notifier(struct mmu_notifier *notifier)
{
	ummunotify_count(spaces_ended);
	kvfree(space_of(notifier));
	module_put(THIS_MODULE);
}

static const struct mmu_notifier_ops notifier_operations = {
	.invalidate_range_start = invalidate_range_start,
	.invalidate_range_end = invalidate_range_end,
	.release = release,
	.alloc_notifier = alloc_notifier,
	.free_notifier = free_notifier,
};

/**
 * ummunotify_space_get() - the space of the caller's mm, which it must have
 *
 * While the kernel registers a notifier no invalidation is in flight: it takes
 * every lock under which one could be.  So no window ends that did not start.
 *
 * It keeps the mm_struct (mmgrab), but not the memory that is mapped there.
 *
 * Return: the space, to be put; or an error.
 */
struct ummunotify_space *ummunotify_space_get(void)
{
	struct mmu_notifier *notifier;

	notifier = mmu_notifier_get(&notifier_operations, current->mm);
	if (IS_ERR(notifier)) {
		/* A signal came; whoever opens knows nothing of that. */
		if (notifier == ERR_PTR(-EINTR))
			return ERR_PTR(-ERESTARTNOINTR);
		return ERR_CAST(notifier);
	}
	return space_of(notifier);
}

/**
 * ummunotify_space_put() - stop to listen
 * @space: has no file of the caller in it any more
 */
void ummunotify_space_put(struct ummunotify_space *space)
{
	mmu_notifier_put(&space->notifier);
}

/**
 * ummunotify_space_wants() - which classes does any file want?
 * @space: its files have changed; the caller holds the lock
 */
void ummunotify_space_wants(struct ummunotify_space *space)
{
	struct ummunotify_file *file;

	space->wanted = 0;
	list_for_each_entry(file, &space->files, in_space)
		space->wanted |= file->classes;
}
