// SPDX-License-Identifier: GPL-2.0-only
/*
 * user.c - how many watches a user has, over all processes.
 *
 * A page may be mapped by many processes of one user; whoever takes it away,
 * kswapd for one, waits until all their watches on it are marked.
 */
#include <linux/cred.h>
#include <linux/hashtable.h>
#include <linux/slab.h>

#include "ummunotify.h"

static DEFINE_HASHTABLE(users, 6);
static DEFINE_MUTEX(users_lock);

static struct ummunotify_user *find(kuid_t uid)
{
	struct ummunotify_user *user;

	hash_for_each_possible(users, user, in_users, __kuid_val(uid)) {
		if (uid_eq(user->uid, uid))
			return user;
	}
	return NULL;
}

static struct ummunotify_user *add(kuid_t uid)
{
	struct ummunotify_user *user;

	user = kzalloc(sizeof(*user), UMMUNOTIFY_GFP);
	if (!user)
		return ERR_PTR(-ENOMEM);
	user->uid = uid;
	hash_add(users, &user->in_users, __kuid_val(uid));
	return user;
}

/**
 * ummunotify_user_get() - the user who opens a descriptor
 *
 * Return: the user, to be put; or -ENOMEM.
 */
struct ummunotify_user *ummunotify_user_get(void)
{
	kuid_t uid = current_uid();
	struct ummunotify_user *user;

	mutex_lock(&users_lock);
	user = find(uid);
	if (!user)
		user = add(uid);
	if (!IS_ERR(user))
		user->files++;
	mutex_unlock(&users_lock);
	return user;
}

/**
 * ummunotify_user_put() - a descriptor is closed
 * @user: whose it was
 */
void ummunotify_user_put(struct ummunotify_user *user)
{
	mutex_lock(&users_lock);
	if (!--user->files) {
		WARN_ON_ONCE(atomic_long_read(&user->watches));
		hash_del(&user->in_users);
		kfree(user);
	}
	mutex_unlock(&users_lock);
}
