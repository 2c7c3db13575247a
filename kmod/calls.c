// SPDX-License-Identifier: GPL-2.0-only
/* calls.c - the calls of today: set up, watch, unwatch, re-arm, drained. */
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "breakable.h"
#include "stats.h"
#include "trace.h"
#include "ummunotify.h"

/* Entries that are copied at once, on the stack. */
#define SOME 16

static bool setup_is_valid(const struct ummunotify_setup *setup)
{
	return setup->magic == UMMUNOTIFY_SETUP_MAGIC && !setup->flags &&
	       !setup->reserved &&
	       !(setup->classes & ~(u64)UMMUNOTIFY_CLASS_ALL);
}

static int copy_setup_from_user(struct ummunotify_setup *setup,
				const struct ummunotify_setup __user *arg)
{
	u32 size;

	if (get_user(size, &arg->size))
		return -EFAULT;
	if (size < sizeof(*setup) || size > PAGE_SIZE)
		return -EINVAL;
	return copy_struct_from_user(setup, sizeof(*setup), arg, size);
}

/**
 * ummunotify_setup() - choose the calls of today
 * @file: nothing was called on it yet
 * @arg: struct ummunotify_setup
 *
 * Return: 0 or -errno.
 */
long ummunotify_setup(struct ummunotify_file *file,
		      struct ummunotify_setup __user *arg)
{
	struct ummunotify_space *space = file->space;
	struct ummunotify_setup setup;
	int error;

	error = copy_setup_from_user(&setup, arg);
	if (error)
		return error;
	if (!setup_is_valid(&setup))
		return -EINVAL;
	if (!setup.classes)
		setup.classes = UMMUNOTIFY_CLASS_DEFAULT;
	if (!setup.watches || setup.watches > ummunotify_watches_per_file)
		setup.watches = ummunotify_watches_per_file;

	error = ummunotify_speak(file, UMMUNOTIFY_SETTING_UP);
	if (error)
		return error;
	error = ummunotify_slots_setup(file, &setup);
	if (!error && copy_to_user(arg, &setup, sizeof(setup)))
		error = -EFAULT;
	if (error) {
		ummunotify_slots_free(file);
		/* The calls of 2010, if they come now, have one page. */
		file->page_count = 1;
	}

	spin_lock(&space->lock);
	if (!error) {
		file->classes = setup.classes;
		ummunotify_space_wants(space);
		/* A child of fork sees 0, which no generation is. */
		file->generation = 1;
		WRITE_ONCE(file->shared->generation, 1);
	}
	/* Release: who sees the language finds the slots. */
	smp_store_release(&file->language,
			  error ? UMMUNOTIFY_UNDECIDED : UMMUNOTIFY_TODAY);
	spin_unlock(&space->lock);
	return error;
}

/* What the calls on watches have in common. */
struct call {
	struct ummunotify_file *file;
	struct ummunotify_batch batch;
};

static int begin(struct call *call, struct ummunotify_file *file,
		 const struct ummunotify_batch __user *arg)
{
	call->file = file;
	/* Acquire: pairs with the release in ummunotify_setup(). */
	if (smp_load_acquire(&file->language) != UMMUNOTIFY_TODAY)
		return -EINVAL;
	if (copy_from_user(&call->batch, arg, sizeof(call->batch)))
		return -EFAULT;
	return call->batch.reserved ? -EINVAL : 0;
}

/* Does some entries of @size bytes; how many, or -errno if none. */
typedef int (*do_some)(struct call *call, void __user *entries,
		       unsigned int count);

static long do_all(struct call *call, size_t size, do_some do_some)
{
	struct ummunotify_batch *batch = &call->batch;
	void __user *entries = u64_to_user_ptr(batch->entries);
	unsigned int done = 0;
	int result = 0;

	if (!batch->count) {
		spin_lock(&call->file->space->lock);
		ummunotify_log_drained(&call->file->log, batch->drained);
		spin_unlock(&call->file->space->lock);
		return 0;
	}
	/* The count that is returned is an int. */
	batch->count = min_t(u32, batch->count, INT_MAX);
	while (done < batch->count) {
		unsigned int some = min_t(unsigned int, batch->count - done,
					  SOME);

		result = do_some(call, entries + done * size, some);
		if (result < 0)
			break;
		done += result;
		if (result < some)
			continue; /* and hear why */
		if (fatal_signal_pending(current)) {
			result = -EINTR;
			break;
		}
		cond_resched();
	}
	return done ? done : result;
}

/* ------------------------------------------------------------------ watch */

static bool range_is_valid(const struct ummunotify_watch *watch)
{
	return watch->start < watch->end && watch->end <= TASK_SIZE &&
	       !watch->flags;
}

/*
 * Is there room for one more event?  See log.c for the two pages.
 */
static bool log_has_room(const struct ummunotify_file *file)
{
	const struct ummunotify_log *log = &file->log;

	return log->logged - log->drained + file->armed +
		       2 * UMMUNOTIFY_LOG_ENTRIES <
	       log->room;
}

/* A state that no watch of this file has ever had, and the word with it. */
static void arm_anew(struct ummunotify_slot *slot, u64 start, u64 last)
{
	slot->state = ++slot->file->states;
	/* Nobody knows this value yet: what it orders is the user's call. */
	WRITE_ONCE(*slot->word, slot->state);
	ummunotify_arm(slot, start, last);
}

/* Under the lock.  -EAGAIN with @full_p false: no slot, grow and try again. */
static int watch_one(struct ummunotify_file *file,
		     struct ummunotify_watch *watch, bool *full_p)
{
	struct ummunotify_slot *slot;

	slot = ummunotify_slot_take(file);
	if (IS_ERR(slot))
		return PTR_ERR(slot);
	if (!log_has_room(file)) {
		*full_p = true;
		ummunotify_slot_give_back(slot);
		return -EAGAIN;
	}
	arm_anew(slot, watch->start, watch->end - 1);
	watch->state = slot->state;
	watch->slot = slot->number;
	trace_ummunotify_watch(slot, slot->state);
	ummunotify_hit_if_in_flight(slot);
	return 0;
}

static void unwatch_one(struct ummunotify_slot *slot)
{
	trace_ummunotify_unwatch(slot, slot->state);
	ummunotify_disarm(slot);
	WRITE_ONCE(*slot->word, 0);
	slot->state = 0;
	ummunotify_slot_give_back(slot);
}

/* The watch that @state and @number name; NULL if it has ended.  Locked. */
static struct ummunotify_slot *slot_of(struct ummunotify_file *file, u64 state,
				       u32 number)
{
	struct ummunotify_slot *slot;

	if (!state || !number || number >= file->fresh)
		return NULL;
	slot = ummunotify_slot_at(file, number);
	return slot->state == state ? slot : NULL;
}

static int watch_all(struct call *call, struct ummunotify_watch *watches,
		     unsigned int count)
{
	struct ummunotify_file *file = call->file;
	unsigned int done = 0;
	bool full = false;
	int error;

	do {
		error = 0;
		spin_lock(&file->space->lock);
		ummunotify_log_drained(&file->log, call->batch.drained);
		while (done < count && !error) {
			error = watch_one(file, &watches[done], &full);
			done += !error;
		}
		spin_unlock(&file->space->lock);
	} while (error == -EAGAIN && !full &&
		 !(error = ummunotify_slots_grow(file)));
	return done ? done : error;
}

/*
 * Nobody was told of these.  Another thread may have guessed the number of one
 * and ended it.  Returns how many were left to end.
 */
static unsigned int take_back(struct ummunotify_file *file,
			      const struct ummunotify_watch *watches,
			      unsigned int count)
{
	unsigned int i, ended = 0;

	spin_lock(&file->space->lock);
	for (i = 0; i < count; i++) {
		struct ummunotify_slot *slot = slot_of(file, watches[i].state,
						       watches[i].slot);

		if (!slot)
			continue;
		unwatch_one(slot);
		ended++;
	}
	spin_unlock(&file->space->lock);
	return ended;
}

static int watch_some(struct call *call, void __user *entries,
		      unsigned int count)
{
	struct ummunotify_watch watches[SOME];
	struct ummunotify_file *file = call->file;
	unsigned int valid = 0;
	int done;

	if (copy_from_user(watches, entries, count * sizeof(*watches)))
		return -EFAULT;
	while (valid < count && range_is_valid(&watches[valid]))
		valid++;
	if (!valid)
		return -EINVAL;

	if (!ummunotify_user_charge(file->user, valid)) {
		/* One may be all there is room for. */
		valid = 1;
		if (!ummunotify_user_charge(file->user, valid))
			return -ENOSPC;
	}
	done = watch_all(call, watches, valid);
	ummunotify_user_uncharge(file->user, valid - max(done, 0));
	if (done > 0 &&
	    copy_to_user(entries, watches, done * sizeof(*watches))) {
		ummunotify_user_uncharge(file->user,
					 take_back(file, watches, done));
		return -EFAULT;
	}
	return done;
}

/**
 * ummunotify_watch() - watch ranges (model: WATCH)
 * @file: whose
 * @arg: struct ummunotify_batch of struct ummunotify_watch
 *
 * Return: how many, or -errno.
 */
long ummunotify_watch(struct ummunotify_file *file,
		      const struct ummunotify_batch __user *arg)
{
	struct call call;
	int error = begin(&call, file, arg);

	if (error)
		return error;
	return do_all(&call, sizeof(struct ummunotify_watch), watch_some);
}

/* ---------------------------------------------------------------- unwatch */

static int unwatch_some(struct call *call, void __user *entries,
			unsigned int count)
{
	struct ummunotify_watch_id ids[SOME];
	struct ummunotify_file *file = call->file;
	unsigned int done;

	if (copy_from_user(ids, entries, count * sizeof(*ids)))
		return -EFAULT;
	spin_lock(&file->space->lock);
	ummunotify_log_drained(&file->log, call->batch.drained);
	for (done = 0; done < count; done++) {
		struct ummunotify_slot *slot = slot_of(file, ids[done].state,
						       ids[done].slot);

		if (!slot || ids[done].reserved)
			break;
		unwatch_one(slot);
	}
	spin_unlock(&file->space->lock);
	ummunotify_user_uncharge(file->user, done);
	return done ? done : -EINVAL;
}

/**
 * ummunotify_unwatch() - end watches (model: UNWATCH)
 * @file: whose
 * @arg: struct ummunotify_batch of struct ummunotify_watch_id
 *
 * An event that was logged stays in the log; its state tells that the watch
 * has ended.
 *
 * Return: how many, or -errno.
 */
long ummunotify_unwatch(struct ummunotify_file *file,
			const struct ummunotify_batch __user *arg)
{
	struct call call;
	int error = begin(&call, file, arg);

	if (error)
		return error;
	return do_all(&call, sizeof(struct ummunotify_watch_id), unwatch_some);
}

/* ----------------------------------------------------------------- re-arm */

/* A watch that is armed is as good as one armed now.  Under the lock. */
static int rearm_one(struct ummunotify_file *file,
		     struct ummunotify_watch_id *id)
{
	struct ummunotify_slot *slot = slot_of(file, id->state, id->slot);

	if (!slot || id->reserved)
		return -EINVAL;
	if (slot->armed)
		return 0;
	if (!log_has_room(file))
		return -EAGAIN;
	arm_anew(slot, slot->range.start, slot->range.last);
	id->state = slot->state;
	trace_ummunotify_watch(slot, slot->state);
	if (!UMMUNOTIFY_BROKEN(ONLY_ADDED))
		ummunotify_hit_if_in_flight(slot);
	return 0;
}

/* Nobody was told of the new state: back to spent, under the old one. */
static void disarm_again(struct ummunotify_file *file,
			 const struct ummunotify_watch_id *old,
			 const struct ummunotify_watch_id *ids,
			 unsigned int count)
{
	unsigned int i;

	spin_lock(&file->space->lock);
	for (i = 0; i < count; i++) {
		struct ummunotify_slot *slot = slot_of(file, ids[i].state,
						       ids[i].slot);

		if (!slot || ids[i].state == old[i].state)
			continue;
		ummunotify_disarm(slot);
		WRITE_ONCE(*slot->word, 0);
		slot->state = old[i].state;
	}
	spin_unlock(&file->space->lock);
}

static int rearm_some(struct call *call, void __user *entries,
		      unsigned int count)
{
	struct ummunotify_watch_id ids[SOME], old[SOME];
	struct ummunotify_file *file = call->file;
	size_t size = count * sizeof(*ids);
	unsigned int done = 0;
	int error = 0;

	if (copy_from_user(ids, entries, size))
		return -EFAULT;
	memcpy(old, ids, size);
	spin_lock(&file->space->lock);
	ummunotify_log_drained(&file->log, call->batch.drained);
	while (done < count && !error) {
		error = rearm_one(file, &ids[done]);
		done += !error;
	}
	spin_unlock(&file->space->lock);
	if (!done)
		return error;
	if (copy_to_user(entries, ids, done * sizeof(*ids))) {
		disarm_again(file, old, ids, done);
		return -EFAULT;
	}
	return done;
}

/**
 * ummunotify_rearm() - make spent watches good again (model: REARM)
 * @file: whose
 * @arg: struct ummunotify_batch of struct ummunotify_watch_id
 *
 * Return: how many, or -errno.
 */
long ummunotify_rearm(struct ummunotify_file *file,
		      const struct ummunotify_batch __user *arg)
{
	struct call call;
	int error = begin(&call, file, arg);

	if (error)
		return error;
	return do_all(&call, sizeof(struct ummunotify_watch_id), rearm_some);
}

/**
 * ummunotify_drained() - so much of the log was read
 * @file: whose
 * @drained: how many events so far
 *
 * Return: 0 or -errno.
 */
long ummunotify_drained(struct ummunotify_file *file, const u64 __user *drained)
{
	u64 count;

	/* Acquire: pairs with the release in ummunotify_setup(). */
	if (smp_load_acquire(&file->language) != UMMUNOTIFY_TODAY)
		return -EINVAL;
	if (copy_from_user(&count, drained, sizeof(count)))
		return -EFAULT;
	spin_lock(&file->space->lock);
	trace_ummunotify_drain(file, count - file->log.drained);
	ummunotify_log_drained(&file->log, count);
	spin_unlock(&file->space->lock);
	return 0;
}
