/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * breakable.h - rules that a test can break on purpose, to show that it fails
 * without them.  A module of "make BREAKABLE=1" breaks those that its parameters
 * name: "insmod ummunotify.ko LATE=1".  A real build breaks none, and the
 * compiler drops every trace of this.
 */
#ifndef UMMUNOTIFY_BREAKABLE_H
#define UMMUNOTIFY_BREAKABLE_H

#include <linux/types.h>

#ifdef UMMUNOTIFY_BREAKABLE
extern bool ummunotify_broken_NO_IN_FLIGHT;
extern bool ummunotify_broken_ONLY_ADDED;
extern bool ummunotify_broken_LATE;
extern bool ummunotify_broken_TRYLOCK;
extern bool ummunotify_broken_NO_LAST;

#define UMMUNOTIFY_BROKEN(name) (ummunotify_broken_##name)
#else
#define UMMUNOTIFY_BROKEN(name) (false)
#endif

#endif
