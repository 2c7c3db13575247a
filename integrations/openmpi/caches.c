/* SPDX-License-Identifier: MIT */
/*
 * caches.c - Open MPI's registration caches, with a question in front of each.
 *
 * grdma's constructor is replaced in its component.  A cache that it makes gets
 * our register_mem and deregister_mem in place of the BTL's, for these are
 * called where the watch has to begin and end, and has our functions put before
 * its own in its table.
 */
#define _GNU_SOURCE
#include "caches.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "abi.h"
#include "announced.h"
#include "truth.h"

/* How often a registration is made again when its pages move meanwhile. */
#define TRIES 4

/**
 * struct cache - one that asks
 * @next:       in caches
 * @module:     its table in Open MPI
 * @btl:        how the BTL registers, and with what
 * @own:        its table before
 * @watch_at:   where in the memory of a registration its watch is kept
 *
 * Constant, but for @next.
 */
struct cache {
	struct cache *next;
	mca_rcache_base_module_t *module;
	mca_rcache_base_resources_t btl;
	mca_rcache_base_module_t own;
	size_t watch_at;
};

/* Changed with the lock of truth.h held alone, read with it held. */
static struct cache *caches;

/* grdma's own constructor; NULL while it has not been replaced. */
static mca_rcache_base_component_init_fn_t construct;

static void (*last_ended)(void);

static struct cache *cache_of(const mca_rcache_base_module_t *module)
{
	struct cache *cache = caches;

	while (cache->module != module)
		cache = cache->next;
	return cache;
}

static struct ummu_watch **watch_of(const struct cache *cache,
				    mca_rcache_base_registration_t *registration)
{
	return (struct ummu_watch **)((char *)registration + cache->watch_at);
}

/*
 * The caches below this one, libfabric's for one, would answer with what they
 * keep of a registration that was given up here, and which nobody watches: so
 * they are told to forget the range before it is registered anew.
 */
static int register_anew(struct cache *cache, void *base, size_t size,
			 mca_rcache_base_registration_t *registration)
{
	uint64_t start = (uintptr_t)base;

	ummu_ompi_tell(start, start + size);
	return cache->btl.register_mem(cache->btl.reg_data, base, size,
				       registration);
}

/* Of use to the one transfer that asked, and to nobody else. */
static int register_uncached(struct cache *cache, void *base, size_t size,
			     mca_rcache_base_registration_t *registration)
{
	ummu_ompi_count(&ummu_ompi_counters.uncached);
	registration->flags |= MCA_RCACHE_FLAGS_INVALID;
	return register_anew(cache, base, size, registration);
}

/*
 * In place of the BTL's register_mem: watch, pin, look whether the pages have
 * stayed (G2).
 */
static int watched_register(void *data, void *base, size_t size,
			    mca_rcache_base_registration_t *registration)
{
	struct cache *cache = data;
	struct ummu_watch **watch = watch_of(cache, registration);
	int i, status;

	*watch = NULL;
	if (registration->flags & MCA_RCACHE_FLAGS_CACHE_BYPASS)
		return register_anew(cache, base, size, registration);
	for (i = 0; i < TRIES && !ummu_ompi_watch(base, size, watch); i++) {
		status = register_anew(cache, base, size, registration);
		if (status == OPAL_SUCCESS && ummu_watch_valid(*watch)) {
			ummu_ompi_count(&ummu_ompi_counters.watched);
			return status;
		}
		ummu_ompi_unwatch(*watch);
		*watch = NULL;
		if (status != OPAL_SUCCESS)
			return status;
		ummu_ompi_count(&ummu_ompi_counters.repeated);
		status = cache->btl.deregister_mem(cache->btl.reg_data,
						   registration);
		if (status != OPAL_SUCCESS)
			return status;
	}
	return register_uncached(cache, base, size, registration);
}

static int unwatched_deregister(void *data,
				mca_rcache_base_registration_t *registration)
{
	struct cache *cache = data;
	struct ummu_watch **watch = watch_of(cache, registration);

	ummu_ompi_unwatch(*watch);
	*watch = NULL;
	return cache->btl.deregister_mem(cache->btl.reg_data, registration);
}

static int asking_register(mca_rcache_base_module_t *module, void *addr,
			   size_t size, uint32_t flags, int32_t access,
			   mca_rcache_base_registration_t **registration)
{
	struct ummu_ompi_call call = ummu_ompi_begin_lookup();
	int status;

	if (call.look != UMMU_OMPI_TRUST)
		flags |= MCA_RCACHE_FLAGS_CACHE_BYPASS;
	status = cache_of(module)->own.rcache_register(module, addr, size,
						       flags, access,
						       registration);
	ummu_ompi_end_lookup(call);
	return status;
}

/*
 * grdma's find() gives out what was taken out too, and takes it off a list that
 * it is not on.  Who does not find registers, and finds it there.
 */
static int asking_find(mca_rcache_base_module_t *module, void *addr,
		       size_t size,
		       mca_rcache_base_registration_t **registration)
{
	(void)module;
	(void)addr;
	(void)size;
	*registration = NULL;
	return OPAL_SUCCESS;
}

static int asking_deregister(mca_rcache_base_module_t *module,
			     mca_rcache_base_registration_t *registration)
{
	struct ummu_ompi_call call = ummu_ompi_begin_use();
	int status = cache_of(module)->own.rcache_deregister(module,
							     registration);

	ummu_ompi_end_lookup(call);
	return status;
}

static bool asking_evict(mca_rcache_base_module_t *module)
{
	struct ummu_ompi_call call = ummu_ompi_begin_use();
	bool evicted = cache_of(module)->own.rcache_evict(module);

	ummu_ompi_end_lookup(call);
	return evicted;
}

/* Called by the hooks in libc, in the thread that is about to unmap. */
static int announced_invalidate(mca_rcache_base_module_t *module, void *base,
				size_t size)
{
	const uint64_t mask = (uint64_t)sysconf(_SC_PAGESIZE) - 1;
	const uint64_t start = (uintptr_t)base, end = start + size;

	(void)module;
	if (ummu_ompi_here() && !ummu_ompi_telling(start, end))
		ummu_ompi_announce(start & ~mask, (end + mask) & ~mask);
	return OPAL_SUCCESS;
}

static void unlink_cache(struct cache *cache)
{
	struct cache **link = &caches;

	while (*link != cache)
		link = &(*link)->next;
	*link = cache->next;
}

static void asking_finalize(mca_rcache_base_module_t *module)
{
	struct cache *cache;
	bool last;

	/* First: from here on nothing is taken out of what is about to go. */
	ummu_ompi_begin_change();
	cache = cache_of(module);
	unlink_cache(cache);
	last = !caches;
	ummu_ompi_end_change();
	cache->own.rcache_finalize(module);
	free(cache);
	if (last)
		last_ended();
}

static void put_in_front(struct cache *cache)
{
	mca_rcache_base_module_t *module = cache->module;

	cache->own = *module;
	module->rcache_register = asking_register;
	module->rcache_find = asking_find;
	module->rcache_deregister = asking_deregister;
	module->rcache_evict = asking_evict;
	module->rcache_finalize = asking_finalize;
	/* Nothing of the cache's runs in the thread that unmaps, either way. */
	module->rcache_invalidate_range = ummu_ompi_wants_hooks() ?
						  announced_invalidate :
						  NULL;

	ummu_ompi_begin_change();
	cache->next = caches;
	caches = cache;
	ummu_ompi_end_change();
}

static size_t align(size_t size)
{
	const size_t to = _Alignof(struct ummu_watch *);

	return (size + to - 1) / to * to;
}

/* In place of grdma's constructor. */
static mca_rcache_base_module_t *
construct_asking(mca_rcache_base_resources_t *resources)
{
	struct cache *cache = calloc(1, sizeof(*cache));
	mca_rcache_base_resources_t ours = *resources;

	if (!cache)
		return NULL;
	cache->btl = *resources;
	cache->watch_at = align(resources->sizeof_reg);
	ours.sizeof_reg = cache->watch_at + sizeof(struct ummu_watch *);
	ours.reg_data = cache;
	ours.register_mem = watched_register;
	ours.deregister_mem = unwatched_deregister;
	cache->module = construct(&ours);
	if (!cache->module) {
		free(cache);
		return NULL;
	}
	put_in_front(cache);
	return cache->module;
}

static mca_rcache_base_component_t *grdma(void)
{
	mca_base_component_list_item_t *item;

	if (!mca_base_framework_is_open(&opal_rcache_base_framework))
		return NULL;
	OPAL_LIST_FOREACH(item,
			  &opal_rcache_base_framework.framework_components,
			  mca_base_component_list_item_t)
	if (!strcmp(item->cli_component->mca_component_name, "grdma"))
		/* It is not constant: the framework says so to itself. */
		return (void *)(uintptr_t)item->cli_component;
	return NULL;
}

bool ummu_ompi_adopt_caches(void (*ended)(void))
{
	mca_rcache_base_component_t *component = grdma();

	if (!component)
		return false;
	last_ended = ended;
	construct = component->rcache_init;
	component->rcache_init = construct_asking;
	return true;
}

bool ummu_ompi_release_caches(void)
{
	/* It may have been unloaded by now, and is not looked for elsewhere. */
	mca_rcache_base_component_t *component = grdma();

	if (component && component->rcache_init == construct_asking)
		component->rcache_init = construct;
	construct = NULL;
	return !caches;
}

void ummu_ompi_forget(uint64_t start, uint64_t end)
{
	struct cache *cache;

	/*
	 * Registrations are whole pages.  Inside of the range by a byte on
	 * either side the same ones are hit, without those that it only touches,
	 * and none begins where it does: then grdma does not refuse to mark one
	 * that is in use.
	 */
	for (cache = caches; cache; cache = cache->next)
		cache->own.rcache_invalidate_range(cache->module,
						   (void *)(uintptr_t)(start +
								       1),
						   end - start - 2);
}
