/* SPDX-License-Identifier: MIT */
/*
 * kmod-log.h - read the events that the kernel module logs in shared memory.
 *
 * The layout is that of <linux/ummunotify.h>: a chain of pages, each with 127
 * events and then the offset of the next page.  The caller locks.
 */
#ifndef UMMU_KMOD_LOG_H
#define UMMU_KMOD_LOG_H

#include <stddef.h>
#include <stdint.h>

#include "../include/uapi/linux/ummunotify.h"

/**
 * struct kmod_log - how far the log was read
 * @map:    the mapping, which starts with struct ummunotify_shared
 * @page:   what the next event is on
 * @index:  and which of it that is
 * @read:   events read so far
 * @logged: events that are known to be there
 */
struct kmod_log {
	const char *map;
	const struct ummunotify_log_entry *page;
	unsigned int index;
	uint64_t read;
	uint64_t logged;
};

static inline const struct ummunotify_log_entry *
ummu_kmod_log_page(const struct kmod_log *log, uint64_t offset)
{
	return (const struct ummunotify_log_entry *)(log->map + offset);
}

static inline void ummu_kmod_log_init(struct kmod_log *log, const void *map,
				      uint64_t offset)
{
	*log = (struct kmod_log){ .map = map };
	log->page = ummu_kmod_log_page(log, offset);
}

/** ummu_kmod_log_total - events logged so far; 0 in a forked child. */
static inline uint64_t ummu_kmod_log_total(const struct kmod_log *log)
{
	const struct ummunotify_shared *shared = (const void *)log->map;

	/* Acquire: the events, and the link to their page, came before it. */
	return __atomic_load_n(&shared->logged, __ATOMIC_ACQUIRE);
}

/**
 * ummu_kmod_log_next - the next event, or NULL
 *
 * To be copied before the module is told that it was read.
 */
static inline const struct ummunotify_log_entry *
ummu_kmod_log_next(struct kmod_log *log)
{
	if (log->read >= log->logged) {
		log->logged = ummu_kmod_log_total(log);
		if (log->read >= log->logged)
			return NULL;
	}
	if (log->index == UMMUNOTIFY_LOG_ENTRIES) {
		/* Good, as an event after it was logged. */
		log->page = ummu_kmod_log_page(log, log->page[log->index].state);
		log->index = 0;
	}
	log->read++;
	return &log->page[log->index++];
}

#endif
