/* SPDX-License-Identifier: MIT */
/*
 * pin-mlock.h - the pinner that keeps pages resident with mlock(2).
 *
 * Not a pin: a locked page stays in memory but the kernel may migrate it to
 * another physical page.  Use it to keep memory from being swapped, never to
 * hand physical addresses to hardware.
 *
 * Overlapping regions are counted: a page stays locked until the last region
 * over it is gone.  Locks that the application itself took on the same pages
 * cannot be told apart and end with the last region.  When part of a region was
 * unmapped, the part that went first is not unlocked, as its address may by
 * then hold other memory, which its owner has locked; the rest is unlocked.
 *
 * Link with -lummunotify-mlock.
 */
#ifndef UMMUNOTIFY_PIN_MLOCK_H
#define UMMUNOTIFY_PIN_MLOCK_H

#include <ummunotify/rcache.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ummu_pin_mlock; /* opaque */

/** ummu_pin_mlock_create - make a pinner; -ENOMEM. */
int ummu_pin_mlock_create(struct ummu_pin_mlock **pin_p);

/** ummu_pin_mlock_destroy - after its cache was destroyed.  NULL is allowed. */
void ummu_pin_mlock_destroy(struct ummu_pin_mlock *pin);

/**
 * ummu_pin_mlock_ops - the pinner's calls, with a struct ummu_pin_mlock as ctx
 *
 * reg() returns what mlock(2) said: -ENOMEM (RLIMIT_MEMLOCK, or unmapped),
 * -EAGAIN, -EPERM.  The access bits have no meaning; the handle is not used.
 */
extern const struct ummu_rcache_ops ummu_pin_mlock_ops;

#ifdef __cplusplus
}
#endif

#endif
