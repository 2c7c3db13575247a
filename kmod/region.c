// SPDX-License-Identifier: GPL-2.0-only
/*
 * region.c - the calls of 2010: regions by cookie, events by read().
 *
 * Programs are in use that were written for the driver of that time; what they
 * rely on is in the ABI's header and in tests/kernel/abi-2010-*.c.
 */
#include <linux/pagemap.h>
#include <linux/uaccess.h>

#include "breakable.h"
#include "trace.h"
#include "ummunotify.h"

#define EVENT_SIZE sizeof(struct ummunotify_event)

/**
 * ummunotify_exchange_features() - which features there are: none
 * @file: not used yet
 * @mask: what a program asks for, often garbage; receives 0
 *
 * Return: 0 or -errno.
 */
long ummunotify_exchange_features(struct ummunotify_file *file, u32 __user *mask)
{
	int error = ummunotify_speak(file, UMMUNOTIFY_2010);

	if (error)
		return error;
	if (READ_ONCE(file->used))
		return -EINVAL;
	return put_user(0, mask);
}

/*
 * Finds a region, or where it belongs.  Under the lock.
 */
static struct ummunotify_region *find(struct ummunotify_file *file, u64 cookie,
				      struct rb_node **parent_p,
				      struct rb_node ***link_p)
{
	struct rb_node **link = &file->cookies.rb_node, *parent = NULL;

	while (*link) {
		struct ummunotify_region *region =
			rb_entry(*link, struct ummunotify_region, by_cookie);

		if (cookie == region->cookie)
			return region;
		parent = *link;
		link = cookie < region->cookie ? &parent->rb_left :
						 &parent->rb_right;
	}
	*parent_p = parent;
	*link_p = link;
	return NULL;
}

/* Under the lock.  -ENOSPC: a limit; -EAGAIN: no slot, grow and try again. */
static int insert(struct ummunotify_file *file,
		  const struct ummunotify_register_ioctl *wanted)
{
	struct ummunotify_region *region;
	struct rb_node **link, *parent;
	struct ummunotify_slot *slot;

	if (find(file, wanted->user_cookie, &parent, &link))
		return -EINVAL;
	slot = ummunotify_slot_take(file);
	if (IS_ERR(slot))
		return PTR_ERR(slot);
	region = ummunotify_region_of(slot);
	region->cookie = wanted->user_cookie;
	region->hits = 0;
	rb_link_node(&region->by_cookie, parent, link);
	rb_insert_color(&region->by_cookie, &file->cookies);

	/* Empty and reversed ones are regions too, but are never hit. */
	if (wanted->start < wanted->end) {
		ummunotify_arm(slot, wanted->start, wanted->end - 1);
		ummunotify_hit_if_in_flight(slot);
	}
	trace_ummunotify_watch(slot, region->cookie);
	return 0;
}

/**
 * ummunotify_register() - watch a region (model: WATCH)
 * @file: whose
 * @arg: struct ummunotify_register_ioctl
 *
 * Return: 0 or -errno.
 */
long ummunotify_register(struct ummunotify_file *file,
			 const struct ummunotify_register_ioctl __user *arg)
{
	struct ummunotify_register_ioctl wanted;
	int error = ummunotify_speak(file, UMMUNOTIFY_2010);

	if (error)
		return error;
	if (copy_from_user(&wanted, arg, sizeof(wanted)))
		return -EFAULT;
	WRITE_ONCE(file->used, true);
	if (!ummunotify_user_charge(file->user, 1))
		return -ENOMEM;
	do {
		spin_lock(&file->space->lock);
		error = insert(file, &wanted);
		spin_unlock(&file->space->lock);
	} while (error == -EAGAIN && !(error = ummunotify_slots_grow(file)));

	if (error)
		ummunotify_user_uncharge(file->user, 1);
	/* The errors of 2010 know no limit but memory. */
	return error == -ENOSPC ? -ENOMEM : error;
}

/* model: UNWATCH */
static void erase(struct ummunotify_region *region)
{
	struct ummunotify_file *file = region->slot.file;

	trace_ummunotify_unwatch(&region->slot, region->cookie);
	if (region->hits)
		list_del(&region->pending);
	rb_erase(&region->by_cookie, &file->cookies);
	ummunotify_disarm(&region->slot);
	ummunotify_slot_give_back(&region->slot);

	/*
	 * The event is gone, but the counter has moved: it stays readable, as
	 * a LAST, or a client that looks at the counter reads for ever.
	 */
	if (UMMUNOTIFY_BROKEN(NO_LAST) && list_empty(&file->pending))
		file->reported = file->generation;
}

/**
 * ummunotify_unregister() - end a region (model: UNWATCH)
 * @file: whose
 * @cookie: the region's name
 *
 * Return: 0 or -errno.
 */
long ummunotify_unregister(struct ummunotify_file *file,
			   const u64 __user *cookie)
{
	struct ummunotify_region *region;
	struct rb_node **link, *parent;
	u64 wanted;
	int error = ummunotify_speak(file, UMMUNOTIFY_2010);

	if (error)
		return error;
	if (get_user(wanted, cookie))
		return -EFAULT;
	WRITE_ONCE(file->used, true);

	spin_lock(&file->space->lock);
	region = find(file, wanted, &parent, &link);
	if (region)
		erase(region);
	spin_unlock(&file->space->lock);
	if (!region)
		return -EINVAL;
	ummunotify_user_uncharge(file->user, 1);
	return 0;
}

/**
 * ummunotify_hit_region() - a region gets its event, or one more hit
 * @region: it
 * @start: first byte that was hit
 * @last: last byte
 *
 * Under the lock.
 */
void ummunotify_hit_region(struct ummunotify_region *region,
			   unsigned long start, unsigned long last)
{
	if (region->hits) {
		region->hits = 2;
		region->hint_start = region->slot.range.start;
		region->hint_last = region->slot.range.last;
		return;
	}
	region->hits = 1;
	region->hint_start = start;
	region->hint_last = last;
	list_add_tail(&region->pending, &region->slot.file->pending);
}

/*
 * Copies events to user memory that is there; what is not ends it, as does the
 * end of the list.  Only what was copied is pending no longer.  Calls nothing:
 * user memory is open.
 *
 * Returns how many, and in @at_p the first that was not copied.
 */
static unsigned int put_events(struct ummunotify_event __user *to,
			       unsigned int room, struct list_head *events,
			       struct list_head **at_p)
{
	struct list_head *at = events->next;
	unsigned int count = 0;

	if (!user_access_begin(to, room * EVENT_SIZE))
		goto out;
	for (; count < room && at != events; count++, to++, at = at->next) {
		struct ummunotify_region *region =
			container_of(at, struct ummunotify_region, pending);

		unsafe_put_user(UMMUNOTIFY_EVENT_TYPE_INVAL, &to->type, fault);
		unsafe_put_user(region->hits & UMMUNOTIFY_EVENT_FLAG_HINT,
				&to->flags, fault);
		unsafe_put_user(region->hint_start, &to->hint_start, fault);
		unsafe_put_user(region->hint_last + 1, &to->hint_end, fault);
		unsafe_put_user(region->cookie, &to->user_cookie_counter, fault);
		region->hits = 0;
	}
fault:
	user_access_end();
out:
	*at_p = at;
	return count;
}

/* model: LAST_READ */
static bool put_last(struct ummunotify_event __user *to,
		     const struct ummunotify_file *file)
{
	const struct ummunotify_event last = {
		.type = UMMUNOTIFY_EVENT_TYPE_LAST,
		.user_cookie_counter = file->generation,
	};

	return !copy_to_user(to, &last, sizeof(last));
}

/**
 * enum drain_end - why a drain has come to its end
 * @DRAIN_FULL: there is no more room
 * @DRAIN_FAULT: the user memory is not there
 * @DRAIN_DONE: all has been said, or had to be said again already
 */
enum drain_end { DRAIN_FULL, DRAIN_FAULT, DRAIN_DONE };

/*
 * model: DRAIN.  What is drained while an invalidation of it is in flight is
 * hit again at once: the reader may pin the old page a moment later.  It is
 * not read again by this call.
 *
 * Under the lock, with page faults disabled: the page that is copied to may be
 * the one that is being invalidated, by a thread that waits for the lock.
 *
 * Returns how many events were copied.
 */
static unsigned int drain(struct ummunotify_file *file,
			  struct ummunotify_event __user *to, unsigned int room,
			  enum drain_end *end_p)
{
	struct ummunotify_space *space = file->space;
	struct ummunotify_region *region, *next;
	bool faulted, again = false;
	struct list_head *at;
	unsigned int count;
	LIST_HEAD(drained);

	*end_p = DRAIN_DONE;
	if (!ummunotify_readable(file))
		return 0;
	count = put_events(to, room, &file->pending, &at);
	faulted = count < room && at != &file->pending;
	list_cut_before(&drained, &file->pending, at);
	if (!ummunotify_in_flight_none(&space->in_flight) &&
	    !UMMUNOTIFY_BROKEN(ONLY_ADDED))
		list_for_each_entry_safe(region, next, &drained, pending)
			again |= ummunotify_hit_if_in_flight(&region->slot);

	if (list_empty(&file->pending) && count < room) {
		faulted = !put_last(to + count, file);
		if (!faulted) {
			file->reported = file->generation;
			count++;
		}
		again = !faulted;
	}
	if (!again)
		*end_p = faulted ? DRAIN_FAULT : DRAIN_FULL;
	return count;
}

static bool is_readable(struct ummunotify_file *file)
{
	bool readable;

	spin_lock(&file->space->lock);
	readable = ummunotify_readable(file);
	spin_unlock(&file->space->lock);
	return readable;
}

/* The lock is dropped now and then, and @room is finite. */
static size_t drain_all(struct ummunotify_file *file,
			struct ummunotify_event __user *to, size_t room,
			enum drain_end *end_p)
{
	size_t total = 0;

	do {
		unsigned int some = min_t(size_t, room - total,
					  UMMUNOTIFY_HITS_PER_LOCK);

		spin_lock(&file->space->lock);
		pagefault_disable();
		total += drain(file, to + total, some, end_p);
		pagefault_enable();
		spin_unlock(&file->space->lock);
		cond_resched();
	} while (*end_p == DRAIN_FULL && total < room);
	trace_ummunotify_drain(file, total);
	return total;
}

static int wait_until_readable(struct file *filp)
{
	struct ummunotify_file *file = filp->private_data;

	if (filp->f_flags & O_NONBLOCK)
		return is_readable(file) ? 0 : -EAGAIN;
	return wait_event_interruptible(file->wait, is_readable(file));
}

/**
 * ummunotify_read() - events, and LAST when there are no more
 * @filp: the descriptor
 * @buffer: where they go
 * @size: of it; only whole events are copied
 * @position: not used
 *
 * A buffer of which pages are not there is faulted in and filled on: programs
 * of 2010 may take a short read for the last one.
 *
 * Return: bytes, or -errno.  -EFAULT: nothing was copied and nothing is lost.
 */
ssize_t ummunotify_read(struct file *filp, char __user *buffer, size_t size,
			loff_t *position)
{
	struct ummunotify_file *file = filp->private_data;
	struct ummunotify_event __user *to = (void __user *)buffer;
	size_t room = min_t(size_t, size, MAX_RW_COUNT) / EVENT_SIZE;
	size_t total = 0;
	int error;

	if (!ummunotify_file_is_mine(file))
		return -EIO;
	error = ummunotify_speak(file, UMMUNOTIFY_2010);
	while (!error) {
		enum drain_end end;

		error = total ? 0 : wait_until_readable(filp);
		if (error || !room)
			break;
		total += drain_all(file, to + total, room - total, &end);
		/* None at all: another reader was faster. */
		if (total && end != DRAIN_FAULT)
			break;
		if (end == DRAIN_FAULT &&
		    fault_in_writeable((char __user *)(to + total), EVENT_SIZE))
			error = -EFAULT;
		else if (signal_pending(current))
			error = -ERESTARTSYS;
	}
	return total ? total * EVENT_SIZE : error;
}
