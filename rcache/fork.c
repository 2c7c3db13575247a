/* SPDX-License-Identifier: MIT */
/* fork.c - let a child of fork free the caches it has inherited. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "../base/wipe.h"
#include "internal.h"

/*
 * A child calls nothing of a cache but destroy, which walks rcache->all: every
 * other call asks the monitor for its status first and touches no lock.  So
 * that the list is whole in the child, fork() is made with its lock held.
 *
 * A raw clone() runs no handler.  Then the lock tells: taken, its holder does
 * not exist in the child and the list may be half changed.
 */

/**
 * struct registry - the caches of this process
 * @lock:   protects @caches
 * @caches: those that were created here
 *
 * In memory that a child finds zeroed, however it was made: a free lock (zeros
 * are PTHREAD_MUTEX_INITIALIZER) and no caches.
 */
struct registry {
	pthread_mutex_t lock;
	LIST_HEAD(, ummu_rcache) caches;
};

static struct registry *registry;
static int registry_error;

/* What before_fork() locked; for the child, which has no registry any more. */
static struct ummu_rcache *locked;

static void before_fork(void)
{
	struct ummu_rcache *rcache;

	pthread_mutex_lock(&registry->lock);
	for (rcache = LIST_FIRST(&registry->caches); rcache;
	     rcache = LIST_NEXT(rcache, registry))
		pthread_mutex_lock(&rcache->lock);
	locked = LIST_FIRST(&registry->caches);
}

static void in_parent(void)
{
	struct ummu_rcache *rcache;

	for (rcache = LIST_FIRST(&registry->caches); rcache;
	     rcache = LIST_NEXT(rcache, registry))
		pthread_mutex_unlock(&rcache->lock);
	pthread_mutex_unlock(&registry->lock);
}

static void in_child(void)
{
	struct ummu_rcache *rcache;

	/* This is the copy of the thread that locked them. */
	for (rcache = locked; rcache; rcache = LIST_NEXT(rcache, registry))
		pthread_mutex_unlock(&rcache->lock);
}

static void make_registry(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	registry = ummu_wipe_alloc(page);
	if (!registry) {
		registry_error = -errno;
		return;
	}
	registry_error = -pthread_atfork(before_fork, in_parent, in_child);
	if (registry_error) {
		ummu_wipe_free(registry, page);
		registry = NULL;
	}
}

/* Make a new cache known to the handlers. */
int ummu_fork_prepare_for(struct ummu_rcache *rcache)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, make_registry);
	if (registry_error)
		return registry_error;
	pthread_mutex_lock(&registry->lock);
	LIST_INSERT_HEAD(&registry->caches, rcache, registry);
	pthread_mutex_unlock(&registry->lock);
	return 0;
}

/* Before it is freed.  Never in a child, whose registry does not have it. */
void ummu_fork_forget(struct ummu_rcache *rcache)
{
	pthread_mutex_lock(&registry->lock);
	LIST_REMOVE(rcache, registry);
	pthread_mutex_unlock(&registry->lock);
}
