/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * copy.h - the arguments of the calls on watches, from and to user memory.
 *
 * A field at a time: the kernel's function that copies some bytes costs as much
 * as all the rest of such a call.  0, -EFAULT, or -EINVAL if what is reserved is
 * not 0.
 */
#ifndef UMMUNOTIFY_COPY_H
#define UMMUNOTIFY_COPY_H

#include <linux/uaccess.h>
#include <linux/ummunotify.h>

static inline int get_batch(struct ummunotify_batch *batch,
			    const struct ummunotify_batch __user *from)
{
	if (!user_access_begin(from, sizeof(*from)))
		return -EFAULT;
	unsafe_get_user(batch->entries, &from->entries, fault);
	unsafe_get_user(batch->drained, &from->drained, fault);
	unsafe_get_user(batch->count, &from->count, fault);
	unsafe_get_user(batch->reserved, &from->reserved, fault);
	user_access_end();
	return batch->reserved ? -EINVAL : 0;
fault:
	user_access_end();
	return -EFAULT;
}

static inline int get_watches(struct ummunotify_watch *watches,
			      const struct ummunotify_watch __user *from,
			      unsigned int count)
{
	if (!user_access_begin(from, count * sizeof(*from)))
		return -EFAULT;
	for (; count--; watches++, from++) {
		unsafe_get_user(watches->start, &from->start, fault);
		unsafe_get_user(watches->end, &from->end, fault);
		unsafe_get_user(watches->flags, &from->flags, fault);
	}
	user_access_end();
	return 0;
fault:
	user_access_end();
	return -EFAULT;
}

static inline int put_watches(struct ummunotify_watch __user *to,
			      const struct ummunotify_watch *watches,
			      unsigned int count)
{
	if (!user_access_begin(to, count * sizeof(*to)))
		return -EFAULT;
	for (; count--; watches++, to++) {
		unsafe_put_user(watches->state, &to->state, fault);
		unsafe_put_user(watches->slot, &to->slot, fault);
	}
	user_access_end();
	return 0;
fault:
	user_access_end();
	return -EFAULT;
}

static inline int get_ids(struct ummunotify_watch_id *ids,
			  const struct ummunotify_watch_id __user *from,
			  unsigned int count)
{
	if (!user_access_begin(from, count * sizeof(*from)))
		return -EFAULT;
	for (; count--; ids++, from++) {
		unsafe_get_user(ids->state, &from->state, fault);
		unsafe_get_user(ids->slot, &from->slot, fault);
		unsafe_get_user(ids->reserved, &from->reserved, fault);
	}
	user_access_end();
	return 0;
fault:
	user_access_end();
	return -EFAULT;
}

static inline int put_ids(struct ummunotify_watch_id __user *to,
			  const struct ummunotify_watch_id *ids,
			  unsigned int count)
{
	if (!user_access_begin(to, count * sizeof(*to)))
		return -EFAULT;
	for (; count--; ids++, to++)
		unsafe_put_user(ids->state, &to->state, fault);
	user_access_end();
	return 0;
fault:
	user_access_end();
	return -EFAULT;
}

#endif
