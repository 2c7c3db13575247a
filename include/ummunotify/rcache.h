/* SPDX-License-Identifier: MIT */
/*
 * rcache.h - a registration cache that is never wrong about its memory.
 *
 * The cache keeps registrations ("regions") of buffers by address, and asks a
 * monitor before it hands one out again.  What registering means is up to a
 * pinner: a set of calls for io_uring, ibverbs, CUDA and so on.
 *
 * Guarantee: if an operation that removes or replaces a page of a region has
 * completed before ummu_rcache_get() begins, that get does not return the
 * region; and a registration made while its range was being unmapped is not
 * returned by any get that begins after the unmap (ummunotify(7): G1, G2, and
 * the operations that the monitor's backend cannot see).
 *
 * Errors are -errno; out-parameters are written only on success.
 *
 * THREAD SAFETY: any number of threads may use a cache, except while it is
 * created or destroyed.  Hits of 255 threads at a time take no lock and write
 * no memory that others write; those of more take a lock.  The pinner is called
 * in the caller's thread, with no lock of the library held; it may itself use
 * other caches, not this one.
 *
 * FORK: in a child, ummu_rcache_get() answers -ECHILD and nothing is ever
 * deregistered; ummu_rcache_destroy() frees memory.
 */
#ifndef UMMUNOTIFY_RCACHE_H
#define UMMUNOTIFY_RCACHE_H

#include <ummunotify/monitor.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ummu_rcache; /* opaque */

/**
 * struct ummu_region - a registered range (public prefix of the handle)
 * @addr, @length: what is registered: whole pages, covering what was asked
 * @access:        the access bits it was registered with
 * @handle:        the pinner's; set by its reg(), the library never looks at it
 * @cached:        false for a region that serves this one get only, because
 *                 the range could not be watched or the cache was full
 *
 * Constant from the return of ummu_rcache_get() to ummu_rcache_put().
 */
struct ummu_region {
	void *addr;
	size_t length;
	uint64_t access;
	union {
		void *pointer;
		uint64_t number;
	} handle;
	bool cached;
};

/**
 * struct ummu_rcache_ops - a pinner
 * @size:         sizeof(struct ummu_rcache_ops)
 * @private_size: bytes of zeroed storage per region, ummu_region_private()
 * @reg:          pin and register region->addr, length, access; set
 *                region->handle.  0 or -errno.  -ENOMEM, -EAGAIN and -ENOBUFS
 *                mean "no room": idle regions are deregistered and reg is
 *                called again
 * @dereg:        undo reg.  It cannot fail: the region is gone afterwards
 * @covers:       does a region registered with @have serve a request for
 *                @want?  Not asked where the two are equal: it does.  NULL:
 *                when it has all its bits
 *
 * They run in whichever thread calls the cache, in the middle of that call,
 * with no lock of the library held.  The thread cannot be cancelled meanwhile
 * (pthread_setcancelstate()), and what they leave in errno is not seen by its
 * caller.  They find errno as it is by then, and signals as the thread has
 * them.  They have to return: one that jumps out or ends the thread would leave
 * half done what the cache has begun.
 */
struct ummu_rcache_ops {
	size_t size;
	size_t private_size;
	int (*reg)(void *ctx, struct ummu_region *region);
	void (*dereg)(void *ctx, struct ummu_region *region);
	bool (*covers)(void *ctx, uint64_t have, uint64_t want);
};

/**
 * struct ummu_rcache_opts - bounds
 * @size:        sizeof(struct ummu_rcache_opts)
 * @max_bytes:   most bytes kept registered; 0: no bound
 * @max_regions: most regions kept; 0: no bound
 *
 * Idle regions leave in approximate least-recently-used order.  A request that
 * does not fit because everything kept is in use gets a region with cached =
 * false: what the program uses at one time is never refused by the bounds.
 */
struct ummu_rcache_opts {
	size_t size;
	uint64_t max_bytes;
	uint64_t max_regions;
};

/**
 * ummu_rcache_create - make a cache
 * @monitor:  its source of truth, for this cache alone (-EBUSY where somebody
 *            else reads it or has watches on it): others are refused then;
 *            must outlive the cache.  Monitors are cheap: open one a cache
 * @ops:      the pinner; copied
 * @ctx:      handed to the pinner's calls
 * @opts:     NULL: no bounds; copied
 * @rcache_p: receives the cache; ummu_rcache_destroy() frees it
 *
 * Errors: -EINVAL, -EBUSY, -ENOMEM, -ECHILD, -EBADF.
 */
int ummu_rcache_create(struct ummu_monitor *monitor,
		       const struct ummu_rcache_ops *ops, void *ctx,
		       const struct ummu_rcache_opts *opts,
		       struct ummu_rcache **rcache_p);

/**
 * ummu_rcache_destroy - deregister everything and free the cache
 *
 * Every region must have been put.  NULL is allowed.
 */
void ummu_rcache_destroy(struct ummu_rcache *rcache);

/**
 * ummu_rcache_get - a region that covers a range, registered if need be
 * @addr, @length: the range; all of it mapped, and staying so during the call
 * @access:        bits that the region must have (the pinner's meaning)
 * @region_p:      receives the region with one reference: ummu_rcache_put()
 *
 * Two threads that miss on the same range register it once; the second waits.
 * Where the monitor's backend is exact (UMMU_CAPS_EXACT), what a request
 * adjoins or overlaps is registered together with it, as one region.  Then
 * reg() is asked for memory of earlier requests too, which another thread may
 * be unmapping: if it fails, the request is registered alone.
 *
 * Errors: -EINVAL (length 0 or a range that wraps), -EFAULT (part of it is not
 * mapped), -EAGAIN (the memory kept
 * being unmapped during registration: is another thread freeing it?),
 * -ECHILD, -EBADF, -ENOMEM, or what the pinner's reg() returned.
 */
int ummu_rcache_get(struct ummu_rcache *rcache, void *addr, size_t length,
		    uint64_t access, struct ummu_region **region_p);

/** ummu_rcache_put - drop a reference that ummu_rcache_get() gave. */
void ummu_rcache_put(struct ummu_rcache *rcache, struct ummu_region *region);

/**
 * ummu_rcache_flush - deregister what was invalidated; with @all, what is idle
 *
 * Each call of the cache does the first by itself.  A get that misses, and this
 * call, do it for all that was invalidated; a hit or a put for 32 ranges, and
 * in each thread 16 times in 8 milliseconds.  After that it is left to others
 * until these are over, and for at most 512 calls of that thread more.
 * For a program that has gone quiet: poll ummu_monitor_fd() of the cache's
 * monitor, then flush.
 * Returns the number of regions deregistered, or -ECHILD.
 */
int ummu_rcache_flush(struct ummu_rcache *rcache, bool all);

/**
 * ummu_rcache_invalidate - forget every region that overlaps a range
 *
 * For changes that the monitor's backend cannot see (ummunotify(7)): call it
 * after the change and before the next get.  Regions in use leave lookup now
 * and are deregistered by their last put.  Returns how many left, or -errno.
 *
 * It ends with ummu_monitor_release() of the range.  The memory may be handed
 * to somebody else afterwards, such as a userfaultfd of the program's own,
 * unless a region of this or another cache, or a watch, still lies in the same
 * mapping.
 */
int ummu_rcache_invalidate(struct ummu_rcache *rcache, const void *addr,
			   size_t length);

/** ummu_region_private - the pinner's storage, ops.private_size bytes. */
void *ummu_region_private(const struct ummu_region *region);

/**
 * ummu_region_valid - do the registered pages still lie at these addresses?
 *
 * For pinners and for long transfers; as ummu_watch_valid().  Always false for
 * a region with cached = false, about which nothing is known.
 */
bool ummu_region_valid(const struct ummu_region *region);

/**
 * ummu_region_unmapped - which part of a region is no longer its memory?
 * @addr_p, @length_p: receive it
 *
 * For a dereg() that works by address: other memory may lie in that part by
 * now.  It is the part that was taken by the first unmap or move that hit the
 * region; later ones are not recorded.  Returns false if no unmap or move is
 * recorded; pages may still have been given back or replaced in place.
 */
bool ummu_region_unmapped(const struct ummu_region *region, void **addr_p,
			  size_t *length_p);

/**
 * struct ummu_rcache_stats - counters since the cache was created
 * @size: set by the caller
 */
struct ummu_rcache_stats {
	size_t size;
	uint64_t hits;
	uint64_t misses;	/* gets that registered, or waited for it */
	uint64_t registrations; /* successful reg() calls */
	uint64_t deregistrations;
	uint64_t uncached;  /* regions handed out with cached = false */
	uint64_t retries;   /* registrations undone: memory moved meanwhile */
	uint64_t evictions; /* idle regions that left to make room */
	uint64_t invalidated_unmap; /* regions that left, by enum ummu_reason */
	uint64_t invalidated_clear;
	uint64_t invalidated_move;
	uint64_t invalidated_other; /* found by a lookup, or by request */
	uint64_t regions;	    /* kept now */
	uint64_t bytes;		    /* kept now */
	uint64_t pinned_bytes; /* registered now, also retired and uncached */
	uint64_t reg_ns;       /* time spent in reg(), in nanoseconds */
};

/** ummu_rcache_stats - fill what @stats->size has room for; as _monitor_caps(). */
int ummu_rcache_stats(const struct ummu_rcache *rcache,
		      struct ummu_rcache_stats *stats);

#ifdef __cplusplus
}
#endif

#endif
