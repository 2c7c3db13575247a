/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * compat.h - every difference between the kernels that this module builds on,
 * and what it takes for granted of all of them.
 */
#ifndef UMMUNOTIFY_COMPAT_H
#define UMMUNOTIFY_COMPAT_H

#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/ummunotify.h>

#ifndef CONFIG_64BIT
#error "ummunotify needs a 64-bit kernel: its counters are read with one load"
#endif

/* Kbuild has looked; before 6.3, and where nobody has brought it there. */
#ifdef UMMUNOTIFY_NO_VM_FLAGS_MOD
static inline void vm_flags_mod(struct vm_area_struct *vma, vm_flags_t set,
				vm_flags_t clear)
{
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
}
#endif

/*
 * For variables of which only what was filled in is used: kernels that clear the
 * stack would spend more on some arrays than on the rest of a call.
 */
#define ummunotify_not_cleared __attribute__((uninitialized))

/* The classes of the ABI are the kernel's events, a bit for each. */
static_assert(UMMUNOTIFY_CLASS_UNMAP == 1 << MMU_NOTIFY_UNMAP);
static_assert(UMMUNOTIFY_CLASS_CLEAR == 1 << MMU_NOTIFY_CLEAR);
static_assert(UMMUNOTIFY_CLASS_PROTECTION_VMA == 1 << MMU_NOTIFY_PROTECTION_VMA);
static_assert(UMMUNOTIFY_CLASS_PROTECTION_PAGE ==
	      1 << MMU_NOTIFY_PROTECTION_PAGE);
static_assert(UMMUNOTIFY_CLASS_SOFT_DIRTY == 1 << MMU_NOTIFY_SOFT_DIRTY);
static_assert(UMMUNOTIFY_CLASS_MIGRATE == 1 << MMU_NOTIFY_MIGRATE);
static_assert(UMMUNOTIFY_CLASS_EXCLUSIVE == 1 << MMU_NOTIFY_EXCLUSIVE);

#endif
