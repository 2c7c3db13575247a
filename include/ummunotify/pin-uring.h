/* SPDX-License-Identifier: MIT */
/*
 * pin-uring.h - the pinner for io_uring fixed buffers.
 *
 * A region is one slot of a ring's buffer table; region->handle.number is the
 * buf_index for IORING_OP_READ_FIXED and IORING_OP_WRITE_FIXED.  The kernel
 * pins the pages (FOLL_LONGTERM) while the slot holds them: io_uring_register(2).
 *
 * Link with -lummunotify-uring.
 */
#ifndef UMMUNOTIFY_PIN_URING_H
#define UMMUNOTIFY_PIN_URING_H

#include <ummunotify/rcache.h>

#ifdef __cplusplus
extern "C" {
#endif

struct io_uring;
struct ummu_pin_uring; /* opaque */

/**
 * ummu_pin_uring_create - make a sparse buffer table on a ring
 * @ring:  without registered buffers; must outlive the pinner
 * @slots: size of the table, 1 to 16384: the most regions at one time
 * @pin_p: receives the pinner, the ctx of ummu_pin_uring_ops
 *
 * Rings with IORING_SETUP_SINGLE_ISSUER or IORING_SETUP_DEFER_TASKRUN may be
 * entered by their owner only, the thread that calls this.  On such a ring
 * ummu_rcache_get() that has to register fails with -EXDEV in other threads,
 * and what other threads retire stays pinned until the owner's next
 * registration or ummu_pin_uring_service().
 *
 * Errors: -EINVAL (slots; a kernel before 5.19 has no sparse tables), -EBUSY
 * (the ring has buffers already), -EXDEV (another thread owns the ring), -ENOMEM.
 */
int ummu_pin_uring_create(struct io_uring *ring, unsigned int slots,
			  struct ummu_pin_uring **pin_p);

/**
 * ummu_pin_uring_destroy - give the table back and free the pinner
 *
 * After the cache that uses it was destroyed; by the owner, where only the
 * owner may enter the ring.  NULL is allowed.
 */
void ummu_pin_uring_destroy(struct ummu_pin_uring *pin);

/**
 * ummu_pin_uring_service - unpin what other threads retired
 *
 * By the owner; returns the number of slots emptied, -EXDEV elsewhere.  Always
 * 0 on rings that every thread may enter.
 */
int ummu_pin_uring_service(struct ummu_pin_uring *pin);

/**
 * ummu_pin_uring_ops - the pinner's calls, with a struct ummu_pin_uring as ctx
 *
 * reg() returns -ENOBUFS when every slot is taken (eviction gives them back),
 * -EXDEV as above, or what the kernel said: -ENOMEM (RLIMIT_MEMLOCK),
 * -EFAULT (also for more than 1 GiB), -EOPNOTSUPP (file mappings on some
 * kernels).  Any access bits are accepted: io_uring has one kind of buffer, and
 * needs it writable.
 */
extern const struct ummu_rcache_ops ummu_pin_uring_ops;

#ifdef __cplusplus
}
#endif

#endif
