/* SPDX-License-Identifier: GPL-2.0-only */
/* broken.h - what a build broken on purpose does instead; see breakable.h. */
#ifndef UMMUNOTIFY_BROKEN_H
#define UMMUNOTIFY_BROKEN_H

struct ummunotify_space;
struct ummunotify_window;

#ifdef UMMUNOTIFY_BREAK
void ummunotify_broken_defer(struct ummunotify_space *space,
			     const struct ummunotify_window *window);
void ummunotify_broken_flush(void);
#else
static inline void
ummunotify_broken_defer(struct ummunotify_space *space,
			const struct ummunotify_window *window)
{
}

static inline void ummunotify_broken_flush(void)
{
}
#endif

#endif
