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
#include <linux/vmalloc.h>

#include "breakable.h"
#include "broken.h"
#include "ummunotify.h"

static struct ummunotify_space *space_of(struct mmu_notifier *notifier)
{
	return container_of(notifier, struct ummunotify_space, notifier);
}

/* May a watch be hit?  A few loads, for most invalidations. */
static __always_inline bool may_hit(struct ummunotify_space *space,
				    unsigned long start, unsigned long last,
				    unsigned int class)
{
	return space->wanted & class &&
	       ummunotify_filter_perhaps(&space->filter, start, last);
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
	unsigned long start, last;
	unsigned int class;

	if (UMMUNOTIFY_BROKEN(TRYLOCK) && !spin_trylock(&space->lock)) {
		ummunotify_broken_defer(space, range);
		return 0;
	}
	if (!UMMUNOTIFY_BROKEN(TRYLOCK))
		spin_lock(&space->lock);
	start = range->start;
	last = range->end - 1;
	class = BIT(range->event);
	ummunotify_in_flight_add(&space->in_flight, start, last, class);
	if (may_hit(space, start, last, class) && !UMMUNOTIFY_BROKEN(LATE))
		ummunotify_hit_range(space, start, last, class,
				     mmu_notifier_range_blockable(range));
	spin_unlock(&space->lock);
	ummunotify_count(invalidations);
	return 0;
}

/* model: END.  The page tables have changed, and translations are flushed. */
static void invalidate_range_end(struct mmu_notifier *notifier,
				 const struct mmu_notifier_range *range)
{
	struct ummunotify_space *space = space_of(notifier);
	unsigned long start, last;
	unsigned int class;

	spin_lock(&space->lock);
	start = range->start;
	last = range->end - 1;
	class = BIT(range->event);
	if (UMMUNOTIFY_BROKEN(LATE) && may_hit(space, start, last, class))
		ummunotify_hit_range(space, start, last, class, false);
	ummunotify_in_flight_remove(&space->in_flight, start, last, class);
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

	/* Too large for pages in a row: nobody is to search for these. */
	space = __vmalloc(sizeof(*space), UMMUNOTIFY_GFP | __GFP_ZERO);
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
	vfree(space_of(notifier));
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
