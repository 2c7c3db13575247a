// SPDX-License-Identifier: GPL-2.0-only
/* calls.c - the calls of today on watches: watch, unwatch, re-arm, drained. */
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "breakable.h"
#include "copy.h"
#include "trace.h"
#include "ummunotify.h"

/* Entries that are copied at once, on the stack. */
#define SOME 16

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
	return get_batch(&call->batch, arg);
}

/* Does some entries of @size bytes; how many, or -errno if none. */
typedef int (*do_some)(struct call *call, void __user *entries,
		       unsigned int count);

static __always_inline long do_all(struct call *call, size_t size,
				   do_some do_some)
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
	if (unlikely(batch->count > INT_MAX))
		batch->count = INT_MAX;
	while (done < batch->count) {
		unsigned int some = min_t(unsigned int, batch->count - done,
					  SOME);

		result = do_some(call, entries + done * size, some);
		if (result < 0)
			break;
		done += result;
		if (likely(done == batch->count))
			break;
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
	return watch->start < watch->end && watch->end <= TASK_SIZE_MAX &&
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

/*
 * A state that no watch of this space has ever had, and the word with it.  Not
 * of this file only: who still uses the number of a descriptor that somebody
 * closed, and that is another file's now, must not find its watch there.
 */
static void arm_anew(struct ummunotify_slot *slot, u64 start, u64 last)
{
	slot->state = ++slot->file->space->states;
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

/* model: UNWATCH */
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
	struct ummunotify_watch watches[SOME] ummunotify_not_cleared;
	struct ummunotify_file *file = call->file;
	unsigned int valid = 0;
	int done;

	if (get_watches(watches, entries, count))
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
	if (done < (int)valid)
		ummunotify_user_uncharge(file->user, valid - max(done, 0));
	if (done > 0 && put_watches(entries, watches, done)) {
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
	struct call call ummunotify_not_cleared;
	int error = begin(&call, file, arg);

	if (error)
		return error;
	return do_all(&call, sizeof(struct ummunotify_watch), watch_some);
}

/* ---------------------------------------------------------------- unwatch */

static int unwatch_some(struct call *call, void __user *entries,
			unsigned int count)
{
	struct ummunotify_watch_id ids[SOME] ummunotify_not_cleared;
	struct ummunotify_file *file = call->file;
	unsigned int done;

	if (get_ids(ids, entries, count))
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
	struct call call ummunotify_not_cleared;
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
	struct ummunotify_watch_id ids[SOME] ummunotify_not_cleared;
	struct ummunotify_watch_id old[SOME] ummunotify_not_cleared;
	struct ummunotify_file *file = call->file;
	unsigned int done = 0;
	int error = 0;

	if (get_ids(ids, entries, count))
		return -EFAULT;
	memcpy(old, ids, count * sizeof(*ids));
	spin_lock(&file->space->lock);
	ummunotify_log_drained(&file->log, call->batch.drained);
	while (done < count && !error) {
		error = rearm_one(file, &ids[done]);
		done += !error;
	}
	spin_unlock(&file->space->lock);
	if (!done)
		return error;
	if (put_ids(entries, ids, done)) {
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
	struct call call ummunotify_not_cleared;
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
	if (get_user(count, drained))
		return -EFAULT;
	spin_lock(&file->space->lock);
	trace_ummunotify_drain(file, count - file->log.drained);
	ummunotify_log_drained(&file->log, count);
	spin_unlock(&file->space->lock);
	return 0;
}
