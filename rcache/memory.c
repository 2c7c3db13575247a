/* SPDX-License-Identifier: MIT */
/* memory.c - the memory of regions, which stays theirs while the cache lives. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "internal.h"

#define LEAST_CHUNK ((size_t)16 << 10)
/* A huge page.  No kernel has base pages that are as large. */
#define LARGE_CHUNK ((size_t)2 << 20)

/**
 * struct chunk - memory for some regions
 * @older: the chunk before this one
 * @bytes: its size
 * @count: regions that fit
 * @used:  regions of it that were ever handed out; lock
 * @keep:  a region of it is still in use, so it must outlive the cache
 */
struct chunk {
	struct chunk *older;
	size_t bytes;
	size_t count, used;
	bool keep;
	_Alignas(LINE_BYTES) unsigned char regions[];
};

static struct region *region_of(const struct ummu_rcache *rcache,
				struct chunk *chunk, size_t i)
{
	return (struct region *)(chunk->regions + i * rcache->region_bytes);
}

/* An eighth of what there is, so that little is unused.  No lock held. */
static struct chunk *chunk_new(const struct ummu_rcache *rcache, size_t before)
{
	size_t least = sizeof(struct chunk) + rcache->region_bytes;
	size_t bytes = before / 8 / LINE_BYTES * LINE_BYTES;
	struct chunk *chunk;

	if (bytes < LEAST_CHUNK)
		bytes = LEAST_CHUNK;
	if (bytes > LARGE_CHUNK)
		bytes = LARGE_CHUNK;
	if (least > bytes) {
		if (least > SIZE_MAX / 2)
			return NULL;
		bytes = (least + LINE_BYTES - 1) / LINE_BYTES * LINE_BYTES;
	}
	chunk = aligned_alloc(bytes == LARGE_CHUNK ? LARGE_CHUNK : LINE_BYTES,
			      bytes);
	if (!chunk)
		return NULL;
	/* Of many regions one is read: spare the address translation. */
	if (bytes == LARGE_CHUNK)
		madvise(chunk, bytes, MADV_HUGEPAGE);
	memset(chunk, 0, bytes);
	chunk->bytes = bytes;
	chunk->count = (bytes - sizeof(*chunk)) / rcache->region_bytes;
	return chunk;
}

/* Under the lock; NULL: there is none. */
static struct region *take(struct ummu_rcache *rcache)
{
	struct region *region = rcache->free;
	struct chunk *chunk = rcache->chunks;

	if (region)
		rcache->free = region->next;
	else if (chunk && chunk->used < chunk->count)
		region = region_of(rcache, chunk, chunk->used++);
	return region;
}

/* model: LOOKUP, where it takes an unused region.  Under the lock. */
static void begin(struct region *region)
{
	/*
	 * Where a put left ->refs behind, a slot of some lane makes up for it;
	 * so from 0 and no slot, or from less and a slot, to 1 in all.
	 */
	region->laned = __atomic_fetch_add(&region->refs, 1,
					   __ATOMIC_SEQ_CST) != 0;
	ummu_set_state(region, REGION_PENDING);
}

static struct region *take_and_begin(struct ummu_rcache *rcache,
				     struct chunk **more, size_t *bytes)
{
	struct region *region;

	ummu_lock(rcache);
	region = take(rcache);
	if (!region && *more) {
		(*more)->older = rcache->chunks;
		rcache->chunk_bytes += (*more)->bytes;
		/* Release: whole before a fork can find it. */
		__atomic_store_n(&rcache->chunks, *more, __ATOMIC_RELEASE);
		*more = NULL;
		region = take(rcache);
	}
	if (region)
		begin(region);
	*bytes = rcache->chunk_bytes;
	ummu_unlock(rcache);
	return region;
}

static void fill_in(const struct ummu_rcache *rcache, struct region *region,
		    const struct range *range, uint64_t access)
{
	region->pub = (struct ummu_region){
		.addr = (void *)(uintptr_t)range->start,
		.length = ummu_range_length(range),
		.access = access,
		.cached = true,
	};
	region->proof = NULL;
	region->expected = 0;
	__atomic_store_n(&region->stale, false, __ATOMIC_RELAXED);
	__atomic_store_n(&region->unmapped_start, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&region->unmapped_end, 0, __ATOMIC_RELAXED);
	region->registered = false;
	region->watch = NULL;
	/* Atomic for those who search the tree without the lock. */
	__atomic_store_n(&region->node.start, range->start, __ATOMIC_RELAXED);
	__atomic_store_n(&region->node.last, range->last, __ATOMIC_RELAXED);
	memset(region->private, 0, rcache->ops.private_size);
}

/* A PENDING region that nobody else knows, held once.  No lock held. */
int ummu_region_new(struct ummu_rcache *rcache, const struct range *range,
		    uint64_t access, struct region **region_p)
{
	struct chunk *more = NULL;
	struct region *region;
	size_t bytes;

	while (!(region = take_and_begin(rcache, &more, &bytes))) {
		more = chunk_new(rcache, bytes);
		if (!more)
			return -ENOMEM;
	}
	free(more); /* another thread was faster */
	fill_in(rcache, region, range, access);
	*region_p = region;
	return 0;
}

/* Their watches have ended.  No lock held. */
void ummu_regions_free(struct ummu_rcache *rcache, struct region_list *dead)
{
	struct region *region;

	ummu_lock(rcache);
	while ((region = ummu_list_take(dead))) {
		ummu_set_state(region, REGION_FREE);
		region->next = rcache->free;
		rcache->free = region;
	}
	ummu_unlock(rcache);
}

/*
 * Before destroy, when nobody else is here: release what a refused barrier has
 * left.
 */
void ummu_sweep(struct ummu_rcache *rcache)
{
	struct region_list dead = { NULL };
	struct chunk *chunk;

	ummu_lock(rcache);
	ummu_count_slots(rcache);
	for (chunk = rcache->chunks; chunk; chunk = chunk->older)
		for (size_t i = 0; i < chunk->used; i++) {
			struct region *region = region_of(rcache, chunk, i);

			if (ummu_state(region) != REGION_RETIRED ||
			    ummu_is_held(rcache, region))
				continue;
			ummu_set_state(region, REGION_DEAD);
			ummu_list_add(&dead, region);
		}
	ummu_unlock(rcache);
	ummu_release(rcache, &dead);
}

/*
 * A region that was not put is a mistake of the caller, who may still have I/O
 * on it: it stays registered and its memory is not freed.  But its watch ends,
 * because the next owner of the monitor's events would take the cookie for one
 * of its own.
 */
void ummu_abandon(struct ummu_rcache *rcache)
{
	struct chunk *chunk;

	for (chunk = rcache->chunks; chunk; chunk = chunk->older)
		for (size_t i = 0; i < chunk->used; i++) {
			struct region *region = region_of(rcache, chunk, i);

			if (ummu_state(region) == REGION_FREE)
				continue;
			chunk->keep = true;
			region->pub.cached = false; /* never valid again */
			ummu_unwatch(rcache, region);
		}
}

/* Also in a forked child. */
void ummu_chunks_free(struct ummu_rcache *rcache)
{
	struct chunk *chunk, *older;

	for (chunk = rcache->chunks; chunk; chunk = older) {
		older = chunk->older;
		if (!chunk->keep)
			free(chunk);
	}
}

/* Into what lookups and others who register see.  Under the lock. */
void ummu_link(struct ummu_rcache *rcache, struct region *region)
{
	ummu_interval_insert(&rcache->tree, &region->node);
	/* Relaxed: for statistics. */
	__atomic_store_n(&rcache->regions, rcache->regions + 1,
			 __ATOMIC_RELAXED);
	__atomic_store_n(&rcache->bytes, rcache->bytes + region->pub.length,
			 __ATOMIC_RELAXED);
}
