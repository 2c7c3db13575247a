/* SPDX-License-Identifier: MIT */
/*
 * page-backend.h - a monitor whose words lie in pages like the kernel module's.
 *
 * For benchmarks where no module can be loaded: a check is the same one load,
 * of a state word among 512 in a page that a fork wipes, and news are one load
 * of a generation in a page of its own.  What the kernel does to them is a call
 * here, made by whoever unmaps.
 */
#ifndef PAGE_BACKEND_H
#define PAGE_BACKEND_H

#include <stddef.h>

#include <ummunotify/monitor.h>

/** page_monitor_open - with room for @watches; 0 or -errno. */
int page_monitor_open(size_t watches, struct ummu_monitor **monitor_p);

/** page_invalidate - [addr, addr + length) was unmapped. */
void page_invalidate(struct ummu_monitor *monitor, const void *addr,
		     size_t length);

#endif
