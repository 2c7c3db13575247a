// SPDX-License-Identifier: GPL-2.0-only
/* file.c - an open descriptor: its life, and where its calls go. */
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "ummunotify.h"

/**
 * ummunotify_speak() - decide the language of a file, or check it
 * @file: which
 * @language: that of the call
 *
 * Return: 0, or -EINVAL if it speaks another.
 */
int ummunotify_speak(struct ummunotify_file *file,
		     enum ummunotify_language language)
{
	int error = 0;

	if (READ_ONCE(file->language) == language &&
	    language != UMMUNOTIFY_SETTING_UP)
		return 0;
	spin_lock(&file->space->lock);
	if (file->language == UMMUNOTIFY_UNDECIDED)
		WRITE_ONCE(file->language, language);
	else if (file->language != language || language == UMMUNOTIFY_SETTING_UP)
		error = -EINVAL;
	spin_unlock(&file->space->lock);
	return error;
}

/**
 * ummunotify_wake() - a file has become readable, or dead
 * @file: which; the caller holds the lock
 */
void ummunotify_wake(struct ummunotify_file *file)
{
	__poll_t why = EPOLLIN | EPOLLRDNORM | (file->dead ? EPOLLHUP : 0);

	/*
	 * No barrier: whoever is about to sleep puts itself on the queue, and
	 * looks whether the file is readable under the lock after that.  Either
	 * that look comes after our hold of the lock and sees why we are here,
	 * or it came before and we see it on the queue.
	 */
	if (waitqueue_active(&file->wait)) {
		wake_up_interruptible_poll(&file->wait, why);
		ummunotify_count(wakeups);
	}
	if (file->fasync)
		kill_fasync(&file->fasync, SIGIO, POLL_IN);
}

static int open(struct inode *inode, struct file *filp)
{
	struct ummunotify_space *space;
	struct ummunotify_file *file;
	int error;

	/* There is nothing to write, and io_uring's own threads watch nothing. */
	if (filp->f_mode & FMODE_WRITE || !current->mm)
		return -EINVAL;

	file = kzalloc(sizeof(*file), UMMUNOTIFY_GFP);
	if (!file)
		return -ENOMEM;
	init_waitqueue_head(&file->wait);
	INIT_LIST_HEAD(&file->pending);
	file->classes = UMMUNOTIFY_CLASS_DEFAULT;
	file->user = ummunotify_user_get();
	error = PTR_ERR_OR_ZERO(file->user);
	if (error)
		goto free_file;
	error = ummunotify_slots_open(file);
	if (error)
		goto put_user;
	space = ummunotify_space_get();
	error = PTR_ERR_OR_ZERO(space);
	if (error)
		goto close_slots;

	file->space = space;
	spin_lock(&space->lock);
	list_add_tail(&file->in_space, &space->files);
	ummunotify_space_wants(space);
	spin_unlock(&space->lock);

	filp->private_data = file;
	ummunotify_count(files_made);
	return nonseekable_open(inode, filp);

close_slots:
	ummunotify_slots_close(file);
put_user:
	ummunotify_user_put(file->user);
free_file:
	kfree(file);
	return error;
}

/*
 * Any process may be the one that closes it last: nothing here looks at
 * current.
 */
static int release(struct inode *inode, struct file *filp)
{
	struct ummunotify_file *file = filp->private_data;
	struct ummunotify_space *space = file->space;

	mutex_lock(&space->teardown);
	ummunotify_end_all(file);
	spin_lock(&space->lock);
	list_del(&file->in_space);
	ummunotify_space_wants(space);
	spin_unlock(&space->lock);
	mutex_unlock(&space->teardown);

	ummunotify_space_put(space);
	ummunotify_slots_close(file);
	ummunotify_user_put(file->user);
	kfree(file);
	ummunotify_count(files_ended);
	return 0;
}

static long ioctl(struct file *filp, unsigned int command, unsigned long arg)
{
	struct ummunotify_file *file = filp->private_data;
	void __user *argument = (void __user *)arg;

	if (!ummunotify_file_is_mine(file))
		return -EIO;
	switch (command) {
	case UMMUNOTIFY_WATCH:
		return ummunotify_watch(file, argument);
	case UMMUNOTIFY_UNWATCH:
		return ummunotify_unwatch(file, argument);
	case UMMUNOTIFY_REARM:
		return ummunotify_rearm(file, argument);
	case UMMUNOTIFY_DRAINED:
		return ummunotify_drained(file, argument);
	case UMMUNOTIFY_REGISTER_REGION:
		return ummunotify_register(file, argument);
	case UMMUNOTIFY_UNREGISTER_REGION:
		return ummunotify_unregister(file, argument);
	case UMMUNOTIFY_EXCHANGE_FEATURES:
		return ummunotify_exchange_features(file, argument);
	}
	/* Its size is in the number, and may be another one day. */
	if (_IOC_TYPE(command) == UMMUNOTIFY_MAGIC &&
	    _IOC_NR(command) == _IOC_NR(UMMUNOTIFY_SETUP) &&
	    _IOC_DIR(command) == _IOC_DIR(UMMUNOTIFY_SETUP))
		return ummunotify_setup(file, argument);
	return -ENOTTY;
}

static __poll_t poll(struct file *filp, struct poll_table_struct *table)
{
	struct ummunotify_file *file = filp->private_data;
	__poll_t mask = 0;

	poll_wait(filp, &file->wait, table);
	spin_lock(&file->space->lock);
	if (ummunotify_readable(file))
		mask |= EPOLLIN | EPOLLRDNORM;
	if (file->dead)
		mask |= EPOLLHUP;
	spin_unlock(&file->space->lock);
	return mask;
}

static int fasync(int fd, struct file *filp, int on)
{
	struct ummunotify_file *file = filp->private_data;

	return fasync_helper(fd, filp, on, &file->fasync);
}

const struct file_operations ummunotify_file_operations = {
	.owner = THIS_MODULE,
	.open = open,
	.release = release,
	.read = ummunotify_read,
	.unlocked_ioctl = ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.poll = poll,
	.fasync = fasync,
	.mmap = ummunotify_mmap,
};
