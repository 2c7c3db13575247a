/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * breakable.h - rules that a test can break on purpose, to show that it fails
 * without them: "make BREAK=LATE".  A real build breaks none, and the compiler
 * drops every trace of this.
 */
#ifndef UMMUNOTIFY_BREAKABLE_H
#define UMMUNOTIFY_BREAKABLE_H

enum ummunotify_breakable {
	UMMUNOTIFY_BREAK_NOTHING,
	UMMUNOTIFY_BREAK_NO_IN_FLIGHT, /* mark at the start only */
	UMMUNOTIFY_BREAK_ONLY_ADDED,   /* the table is for new watches only */
	UMMUNOTIFY_BREAK_LATE,	       /* mark at the end only */
	UMMUNOTIFY_BREAK_TRYLOCK,      /* lock is busy: mark some time later */
	UMMUNOTIFY_BREAK_NO_LAST,      /* UNREGISTER owes no LAST */
};

#ifndef UMMUNOTIFY_BREAK
#define UMMUNOTIFY_BREAK NOTHING
#endif

#define UMMUNOTIFY_BREAK_PASTE(name) UMMUNOTIFY_BREAK_##name
#define UMMUNOTIFY_BREAK_NAMED(name) UMMUNOTIFY_BREAK_PASTE(name)
#define UMMUNOTIFY_BROKEN(name) \
	(UMMUNOTIFY_BREAK_NAMED(UMMUNOTIFY_BREAK) == UMMUNOTIFY_BREAK_##name)

#endif
