// SPDX-License-Identifier: GPL-2.0-only
/*
 * log.c - events in pages that user space reads without a call.
 *
 * The pages form a ring.  When one is full the log goes on in the next, if all
 * of that was drained; otherwise a spare page goes in between.  The last entry
 * of a page says where the next is.
 *
 * That a page is always found: an event is logged only for a watch that was
 * armed, and a watch is armed only while unread events and armed watches
 * together are fewer than the entries of all pages less two.  Those two are
 * what can be lost at the ends of the unread part.
 */
#include "ummunotify.h"

#define LINK UMMUNOTIFY_LOG_ENTRIES

/*
 * The ring's next page if user space has left it, else a spare one.  Who has
 * read a page to its end, and no more, is still there to look for the link.
 */
static struct ummunotify_log_page *next_page(struct ummunotify_log *log)
{
	struct ummunotify_log_page *current_page = log->current_page;
	struct ummunotify_log_page *page = current_page->next;

	if (page->end >= log->drained) {
		page = log->spare;
		log->spare = page->next;
		page->next = current_page->next;
		current_page->next = page;
	}
	page->end = log->logged + UMMUNOTIFY_LOG_ENTRIES;
	return page;
}

/**
 * ummunotify_log_turn_page() - go on in another page
 * @log: one whose page is full; the watch that is hit is out of the tree
 */
void ummunotify_log_turn_page(struct ummunotify_log *log)
{
	struct ummunotify_log_page *page = next_page(log);

	log->current_page->entries[LINK].state = page->offset;
	log->current_page = page;
	log->index = 0;
}

/**
 * ummunotify_log_add_page() - room for more events
 * @log: which
 * @page: used by nobody yet
 */
void ummunotify_log_add_page(struct ummunotify_log *log,
			     struct ummunotify_log_page *page)
{
	log->room += UMMUNOTIFY_LOG_ENTRIES;
	if (!log->current_page) {
		page->next = page;
		page->end = UMMUNOTIFY_LOG_ENTRIES;
		log->current_page = page;
		return;
	}
	page->next = log->spare;
	log->spare = page;
}
