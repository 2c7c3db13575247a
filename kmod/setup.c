// SPDX-License-Identifier: GPL-2.0-only
/* setup.c - UMMUNOTIFY_SETUP: a descriptor chooses the calls of today. */
#include <linux/uaccess.h>

#include "ummunotify.h"

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
