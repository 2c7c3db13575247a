/* SPDX-License-Identifier: GPL-2.0-only */
/* broken.h - what a build broken on purpose does instead; see breakable.h. */
#ifndef UMMUNOTIFY_BROKEN_H
#define UMMUNOTIFY_BROKEN_H

struct ummunotify_space;
struct mmu_notifier_range;

#ifdef UMMUNOTIFY_BREAKABLE
void ummunotify_broken_defer(struct ummunotify_space *space,
			     const struct mmu_notifier_range *range);
void ummunotify_broken_flush(void);
#else
static inline void
ummunotify_broken_defer(struct ummunotify_space *space,
			const struct mmu_notifier_range *range)
{
}

static inline void ummunotify_broken_flush(void)
{
}
#endif

#endif
