// SPDX-License-Identifier: GPL-2.0-only
/*
 * slots.c - the memory of a file: places for watches, and the pages it shares.
 *
 * All of it is accounted to the memory cgroup of the caller.  Slots come in
 * chunks, and with a chunk the page of its state words and the pages of the log
 * that its watches may need; so the paths on which something is hit allocate
 * nothing.
 *
 * The mapping: the shared page; a page of state words for each chunk; the pages
 * of the log, those of the first chunk first.
 */
#include <linux/slab.h>

#include "ummunotify.h"

/* Pages of log that come with a chunk: room for more events than watches. */
#define LOG_PAGES 5
/* And with the first, for the two that log.c cannot count on. */
#define LOG_PAGES_MORE 3
#define LOGS_PER_PAGE ((u32)(PAGE_SIZE / UMMUNOTIFY_LOG_PAGE))

static struct page *shared_page(void)
{
	return alloc_page(UMMUNOTIFY_GFP | __GFP_ZERO);
}

/**
 * ummunotify_slots_open() - the page that every file has
 * @file: new
 *
 * Return: 0 or -ENOMEM.
 */
int ummunotify_slots_open(struct ummunotify_file *file)
{
	BUILD_BUG_ON(PAGE_SIZE % UMMUNOTIFY_LOG_PAGE);
	BUILD_BUG_ON(UMMUNOTIFY_LOG_ENTRIES + 1 !=
		     UMMUNOTIFY_LOG_PAGE / sizeof(struct ummunotify_log_entry));
	BUILD_BUG_ON(LOG_PAGES * LOGS_PER_PAGE * UMMUNOTIFY_LOG_ENTRIES <
		     UMMUNOTIFY_CHUNK);

	file->pages = kcalloc(1, sizeof(*file->pages), UMMUNOTIFY_GFP);
	if (!file->pages)
		return -ENOMEM;
	file->pages[0] = shared_page();
	if (!file->pages[0]) {
		kfree(file->pages);
		return -ENOMEM;
	}
	file->page_count = 1;
	file->shared = page_address(file->pages[0]);
	file->fresh = 1; /* no slot is number 0 */
	mutex_init(&file->growth);
	return 0;
}

/* So that all slots but number 0 can be used. */
static int set_chunks(struct ummunotify_file *file, u32 watches)
{
	u32 count;

	watches = min(watches, UMMUNOTIFY_WATCHES_MOST);
	count = DIV_ROUND_UP(watches + 1, UMMUNOTIFY_CHUNK);
	file->chunks = kvcalloc(count, sizeof(*file->chunks), UMMUNOTIFY_GFP);
	if (!file->chunks)
		return -ENOMEM;
	file->chunk_max = count;
	file->watches_max = watches;
	return 0;
}

static u32 first_log_page(const struct ummunotify_file *file, u32 chunk)
{
	return 1 + file->chunk_max + chunk * LOG_PAGES +
	       (chunk ? LOG_PAGES_MORE : 0);
}

/**
 * ummunotify_slots_setup() - make ready for the calls of today
 * @file: nobody else uses it
 * @setup: how many watches; receives the layout of the mapping
 *
 * Return: 0 or -ENOMEM; the caller calls ummunotify_slots_free() after either.
 */
int ummunotify_slots_setup(struct ummunotify_file *file,
			   struct ummunotify_setup *setup)
{
	struct page **pages;
	u32 count;
	int error = set_chunks(file, setup->watches);

	if (error)
		return error;
	setup->watches = file->watches_max;
	file->slot_size = sizeof(struct ummunotify_slot);
	count = first_log_page(file, file->chunk_max);
	pages = kvcalloc(count, sizeof(*pages), UMMUNOTIFY_GFP);
	if (!pages)
		return -ENOMEM;
	pages[0] = file->pages[0];
	kvfree(file->pages);
	file->pages = pages;
	file->page_count = count;

	setup->map_length = (u64)count << PAGE_SHIFT;
	setup->states_offset = PAGE_SIZE;
	setup->log_offset = (u64)first_log_page(file, 0) << PAGE_SHIFT;
	return 0;
}

/* Pages are set once, so that a fault needs no lock to look at them. */
static void publish(struct ummunotify_file *file, u32 number, struct page *page)
{
	/* Release: pairs with the fault handler's acquire. */
	smp_store_release(&file->pages[number], page);
}

static void free_pages_of(struct ummunotify_file *file, u32 first, u32 count)
{
	for (; count--; first++) {
		if (!file->pages[first])
			continue;
		put_page(file->pages[first]);
		file->pages[first] = NULL;
		cond_resched();
	}
}

static int allocate_pages(struct ummunotify_file *file, u32 first, u32 count)
{
	u32 i;

	for (i = 0; i < count; i++) {
		struct page *page = shared_page();

		if (!page) {
			free_pages_of(file, first, i);
			return -ENOMEM;
		}
		publish(file, first + i, page);
	}
	return 0;
}

/* What the log grows by; the caller adds the pages to it under the lock. */
static int allocate_log(struct ummunotify_file *file, u32 number,
			struct ummunotify_chunk *chunk, u32 *count_p)
{
	u32 first = first_log_page(file, number);
	u32 count = first_log_page(file, number + 1) - first;
	u32 i;

	chunk->log_pages = kvcalloc(count * LOGS_PER_PAGE,
				    sizeof(*chunk->log_pages), UMMUNOTIFY_GFP);
	if (!chunk->log_pages)
		return -ENOMEM;
	if (allocate_pages(file, first, count)) {
		kvfree(chunk->log_pages);
		return -ENOMEM;
	}
	for (i = 0; i < count * LOGS_PER_PAGE; i++) {
		struct page *page = file->pages[first + i / LOGS_PER_PAGE];
		u64 within = i % LOGS_PER_PAGE * UMMUNOTIFY_LOG_PAGE;

		chunk->log_pages[i].entries = page_address(page) + within;
		chunk->log_pages[i].offset = ((u64)(first + i / LOGS_PER_PAGE)
					      << PAGE_SHIFT) +
					     within;
	}
	*count_p = count * LOGS_PER_PAGE;
	return 0;
}

/* The first page of the log must be the first that is used. */
static void add_log(struct ummunotify_file *file,
		    struct ummunotify_log_page *pages, u32 count)
{
	u32 i;

	for (i = 0; i < count; i++)
		ummunotify_log_add_page(&file->log, &pages[i]);
}

static int add_chunk(struct ummunotify_file *file)
{
	bool today = file->language == UMMUNOTIFY_TODAY;
	u32 number = file->chunk_count, logs = 0;
	struct ummunotify_chunk chunk = {};
	int error = -ENOMEM;

	chunk.records = kvcalloc(UMMUNOTIFY_CHUNK, file->slot_size,
				 UMMUNOTIFY_GFP);
	if (!chunk.records)
		return -ENOMEM;
	if (today) {
		error = allocate_pages(file, 1 + number, 1);
		if (error)
			goto free_records;
		error = allocate_log(file, number, &chunk, &logs);
		if (error)
			goto free_states;
	}
	spin_lock(&file->space->lock);
	file->chunks[number] = chunk;
	file->chunk_count++;
	add_log(file, chunk.log_pages, logs);
	spin_unlock(&file->space->lock);
	return 0;

free_states:
	free_pages_of(file, 1 + number, 1);
free_records:
	kvfree(chunk.records);
	return error;
}

static bool has_unused(struct ummunotify_file *file)
{
	return file->unused ||
	       file->fresh < file->chunk_count * UMMUNOTIFY_CHUNK;
}

/**
 * ummunotify_slots_grow() - more slots
 * @file: had none left a moment ago; its language is decided
 *
 * Return: 0, -ENOMEM or -ENOSPC.
 */
int ummunotify_slots_grow(struct ummunotify_file *file)
{
	int error = 0;
	bool enough;

	mutex_lock(&file->growth);
	if (!file->chunks) {
		/* The calls of 2010 have none for this. */
		file->slot_size = sizeof(struct ummunotify_region);
		error = set_chunks(file, READ_ONCE(ummunotify_watches_per_file));
		if (error)
			goto out;
	}
	spin_lock(&file->space->lock);
	enough = has_unused(file);
	spin_unlock(&file->space->lock);
	if (enough)
		goto out;
	error = -ENOSPC;
	if (file->chunk_count < file->chunk_max)
		error = add_chunk(file);
out:
	mutex_unlock(&file->growth);
	return error;
}

/**
 * ummunotify_slots_free() - free all but the shared page
 * @file: nobody uses its slots any more, nor can fault in their pages
 *
 * What is mapped still is freed when it is unmapped.
 */
void ummunotify_slots_free(struct ummunotify_file *file)
{
	u32 i;

	for (i = 0; i < file->chunk_count; i++) {
		kvfree(file->chunks[i].records);
		kvfree(file->chunks[i].log_pages);
		cond_resched();
	}
	free_pages_of(file, 1, file->page_count - 1);
	kvfree(file->chunks);
	file->chunks = NULL;
	file->chunk_count = 0;
	file->chunk_max = 0;
	file->unused = 0;
	file->fresh = 1;
}

/**
 * ummunotify_slots_close() - free everything
 * @file: nobody uses it any more
 */
void ummunotify_slots_close(struct ummunotify_file *file)
{
	ummunotify_slots_free(file);
	free_pages_of(file, 0, 1);
	kvfree(file->pages);
}

static struct page *states_page(const struct ummunotify_file *file, u32 number)
{
	return file->pages[1 + number / UMMUNOTIFY_CHUNK];
}

static struct ummunotify_slot *make_slot(struct ummunotify_file *file)
{
	u32 number = file->fresh++;
	struct ummunotify_slot *slot = ummunotify_slot_at(file, number);

	slot->file = file;
	slot->number = number;
	if (file->language == UMMUNOTIFY_TODAY) {
		u64 *words = page_address(states_page(file, number));

		slot->word = &words[number % UMMUNOTIFY_CHUNK];
	}
	return slot;
}

/**
 * ummunotify_slot_take() - a slot for a watch
 * @file: whose; the caller holds the lock and has charged the user
 *
 * Return: the slot; -ENOSPC if a limit is reached; -EAGAIN if there is none
 * before ummunotify_slots_grow().
 */
struct ummunotify_slot *ummunotify_slot_take(struct ummunotify_file *file)
{
	struct ummunotify_slot *slot;

	if (!has_unused(file))
		return ERR_PTR(-EAGAIN);
	if (file->watches >= file->watches_max ||
	    file->space->watches >= READ_ONCE(ummunotify_watches_per_process))
		return ERR_PTR(-ENOSPC);
	if (file->unused) {
		slot = ummunotify_slot_at(file, file->unused);
		file->unused = slot->next_unused;
	} else {
		slot = make_slot(file);
	}
	file->watches++;
	file->space->watches++;
	ummunotify_count(watches_made);
	return slot;
}
