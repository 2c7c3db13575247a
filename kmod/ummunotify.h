/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ummunotify.h - the objects of the module, and who may touch them.
 *
 * A space is what the module knows of one address space (mm); a file is one
 * open descriptor; a slot is a numbered place for one watch of a file; a
 * region is a slot with what the calls of 2010 need besides.
 *
 * One spinlock, of the space, is all the locking that the hot paths have.
 * Invalidate, arm, disarm and drain are one critical section each, so they
 * have one order that everybody sees; the proof (model/kmod.pml) rests on it.
 * Nothing that may sleep, and no access to user memory that may fault, happens
 * under it.
 */
#ifndef UMMUNOTIFY_H
#define UMMUNOTIFY_H

#include <linux/fs.h>
#include <linux/interval_tree.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/wait.h>

#include "compat.h"
#include "filter.h"
#include "in_flight.h"
#include "stats.h"

/*
 * What a user makes us allocate is charged to the user's memory cgroup, and if
 * there is not enough the call fails: no OOM kill, and no word in the log.
 */
#define UMMUNOTIFY_GFP (GFP_KERNEL_ACCOUNT | __GFP_RETRY_MAYFAIL | __GFP_NOWARN)

/* No file may have more watches, whatever the parameter says. */
#define UMMUNOTIFY_WATCHES_MOST (16U << 20)

/*
 * However many watches there are, a tree of those in one granule stays low: of
 * 100,000 that are far apart, it has six.  Takes 256 KiB.
 */
#define UMMUNOTIFY_NARROW_TREES 16384

/* Watches whose state words fill a page are allocated together. */
#define UMMUNOTIFY_CHUNK ((u32)(PAGE_SIZE / sizeof(u64)))

/* The lock is dropped after so many, so that nobody waits for long. */
#define UMMUNOTIFY_HITS_PER_LOCK 256
#define UMMUNOTIFY_TREES_PER_LOCK 2048

/**
 * struct ummunotify_space - an address space that is watched
 * @notifier: the registration with the kernel; counts the files
 * @lock: guards all below but @teardown
 * @wanted: classes that one of the files wants
 * @invalidation: number of the last hold of the lock that hit something
 * @watches: how many exist, spent ones included
 * @states: the last state value given out; never reused
 * @in_flight: invalidations that have started and not ended
 * @walkers: walks over a tree that have dropped the lock
 * @files: open descriptors
 * @teardown: held while the watches of a file are freed, at its close or at
 *            the death of the mm; keeps @files as it is
 * @filter: in front of the trees: where armed watches are
 * @wide: armed watches that lie in more than one granule of the filter
 * @narrow: the others, by their granule's hash
 */
struct ummunotify_space {
	struct mmu_notifier notifier;
	spinlock_t lock; /* of all the hot paths; see above */
	unsigned int wanted;
	u64 invalidation;
	unsigned long watches;
	u64 states;
	struct ummunotify_in_flight in_flight;
	struct list_head walkers;
	struct list_head files;
	struct mutex teardown; /* taken before the spinlock */
	struct ummunotify_filter filter;
	struct rb_root_cached wide;
	struct rb_root_cached narrow[UMMUNOTIFY_NARROW_TREES];
};

/**
 * struct ummunotify_slot - a place for a watch
 * @range: its node in the tree while it is armed
 * @file: whose it is; constant
 * @word: today: the state word that user space sees; constant
 * @state: today: what @word holds, or held before the hit; 0 while unused
 * @number: of the slot; constant
 * @next_unused: the next slot in the list of unused ones
 * @armed: it is in the tree
 *
 * Under the lock of the space, where not constant.
 */
struct ummunotify_slot {
	struct interval_tree_node range;
	struct ummunotify_file *file;
	u64 *word;
	u64 state;
	u32 number;
	u32 next_unused;
	bool armed;
};

/**
 * struct ummunotify_region - a watch by cookie
 * @slot: its place
 * @by_cookie: in the file's tree
 * @cookie: its name
 * @pending: in the file's list while @hits is not 0
 * @hint_start: first byte that was hit
 * @hint_last: last byte that was hit
 * @hits: since the event was read: 0, 1, or 2 for more
 */
struct ummunotify_region {
	struct ummunotify_slot slot;
	struct rb_node by_cookie;
	u64 cookie;
	struct list_head pending;
	u64 hint_start;
	u64 hint_last;
	unsigned int hits;
};

/**
 * struct ummunotify_log_page - one link in the chain of the log
 * @entries: what user space sees; never read by the kernel
 * @offset: of @entries in the mapping
 * @end: number of the event after its last one; 0 before its first use
 * @next: in the ring; or in the list of spare pages
 */
struct ummunotify_log_page {
	struct ummunotify_log_entry *entries;
	u64 offset;
	u64 end;
	struct ummunotify_log_page *next;
};

/**
 * struct ummunotify_log - events that user space reads without a call
 * @logged: number of the next event
 * @drained: what user space says it has read
 * @room: events for which pages are there, whatever the state of the ring
 * @current_page: where the next event goes
 * @index: and at which entry
 * @spare: pages not in the ring yet
 */
struct ummunotify_log {
	u64 logged;
	u64 drained;
	u64 room;
	struct ummunotify_log_page *current_page;
	unsigned int index;
	struct ummunotify_log_page *spare;
};

/**
 * enum ummunotify_language - what a file speaks; its first call decides
 * @UMMUNOTIFY_UNDECIDED: nothing was called yet
 * @UMMUNOTIFY_SETTING_UP: UMMUNOTIFY_SETUP is under way; nobody may call
 * @UMMUNOTIFY_2010: regions by cookie, events by read()
 * @UMMUNOTIFY_TODAY: slots, state words and a log
 */
enum ummunotify_language {
	UMMUNOTIFY_UNDECIDED,
	UMMUNOTIFY_SETTING_UP,
	UMMUNOTIFY_2010,
	UMMUNOTIFY_TODAY,
};

/**
 * struct ummunotify_chunk - slots that were allocated together
 * @records: struct ummunotify_slot or _region, by the file's language
 * @log_pages: those that came with it
 */
struct ummunotify_chunk {
	void *records;
	struct ummunotify_log_page *log_pages;
};

/**
 * struct ummunotify_file - one open descriptor
 * @space: of the mm that opened it
 * @in_space: in the list of @space
 * @wait: for read() and poll()
 * @fasync: for SIGIO
 * @user: whose limit its watches count for
 * @language: decided by the first call
 * @classes: UMMUNOTIFY_CLASS_... that hit
 * @used: a region was registered or unregistered
 * @dead: the mm is gone
 * @generation: of the shared page; that one is never read back
 * @invalidation: 2010: the hold of the lock that last moved @generation
 * @shared: the first page of the mapping
 * @watches: how many exist
 * @watches_max: how many may
 * @armed: how many are in the tree
 * @cookies: 2010: regions by cookie
 * @pending: 2010: regions with an event
 * @reported: 2010: the counter in the last LAST that was read
 * @log: today
 * @unused: first slot in the list of unused ones, 0 if none
 * @fresh: slots from here on were never used
 * @slot_size: of a record
 * @chunks: slots by number / UMMUNOTIFY_CHUNK
 * @chunk_count: how many there are
 * @chunk_max: how many there may be
 * @pages: what can be mapped, by page of the mapping; NULL where there is
 *         nothing yet.  Set once; freed when nobody can fault them in
 * @page_count: length of @pages
 * @growth: held to add chunks
 */
struct ummunotify_file {
	struct ummunotify_space *space;
	struct list_head in_space;
	wait_queue_head_t wait;
	struct fasync_struct *fasync;
	struct ummunotify_user *user;

	enum ummunotify_language language;
	unsigned int classes;
	bool used;
	bool dead;
	u64 generation;
	u64 invalidation;
	struct ummunotify_shared *shared;

	u32 watches;
	u32 watches_max;
	u32 armed;

	struct rb_root cookies;
	struct list_head pending;
	u64 reported;

	struct ummunotify_log log;

	u32 unused;
	u32 fresh;
	u32 slot_size;
	struct ummunotify_chunk *chunks;
	u32 chunk_count;
	u32 chunk_max;
	struct page **pages;
	u32 page_count;
	struct mutex growth; /* taken before the spinlock */
};

/**
 * struct ummunotify_user - a user that has a descriptor open
 * @in_users: in the table of user.c
 * @uid: who
 * @files: open descriptors, under the lock of that table
 * @watches: of all of them
 */
struct ummunotify_user {
	struct hlist_node in_users;
	kuid_t uid;
	unsigned long files;
	atomic_long_t watches;
};

static inline struct ummunotify_region *
ummunotify_region_of(struct ummunotify_slot *slot)
{
	return container_of(slot, struct ummunotify_region, slot);
}

/* Only the address space that opened a file may use it. */
static inline bool ummunotify_file_is_mine(const struct ummunotify_file *file)
{
	return current->mm == file->space->notifier.mm;
}

/* Is there something to say?  Under the lock. */
static inline bool ummunotify_readable(const struct ummunotify_file *file)
{
	if (file->language == UMMUNOTIFY_TODAY)
		return file->log.logged != file->log.drained;
	return !list_empty(&file->pending) ||
	       file->generation != file->reported;
}

/* main.c */
extern unsigned int ummunotify_watches_per_file;
extern unsigned long ummunotify_watches_per_process;
extern unsigned long ummunotify_watches_per_user;

/* file.c */
extern const struct file_operations ummunotify_file_operations;
int ummunotify_speak(struct ummunotify_file *file,
		     enum ummunotify_language language);
void ummunotify_wake(struct ummunotify_file *file);

/* notifier.c */
struct ummunotify_space *ummunotify_space_get(void);
void ummunotify_space_put(struct ummunotify_space *space);
void ummunotify_space_wants(struct ummunotify_space *space);

/* watch.c */
void ummunotify_arm(struct ummunotify_slot *slot, unsigned long start,
		    unsigned long last);
void ummunotify_disarm(struct ummunotify_slot *slot);
bool ummunotify_born_hit(struct ummunotify_slot *slot);
void ummunotify_hit_range(struct ummunotify_space *space, unsigned long start,
			  unsigned long last, unsigned int class,
			  bool may_sleep);
void ummunotify_end_all(struct ummunotify_file *file);

/*
 * model: WATCH, REARM, DRAIN.  The slot was armed, or drained, since the lock was taken.
 *
 * While an invalidation of the range is in flight its old page may still be
 * there to be pinned, and nobody will mark the watch later: so it is marked
 * now.  If the window has closed, the page tables have changed, and this
 * critical section comes after that of its end: a pin finds the new page.
 */
static inline bool ummunotify_hit_if_in_flight(struct ummunotify_slot *slot)
{
	return !ummunotify_in_flight_none(&slot->file->space->in_flight) &&
	       ummunotify_born_hit(slot);
}

/* slots.c */
int ummunotify_slots_open(struct ummunotify_file *file);
int ummunotify_slots_setup(struct ummunotify_file *file,
			   struct ummunotify_setup *setup);
int ummunotify_slots_grow(struct ummunotify_file *file);
void ummunotify_slots_free(struct ummunotify_file *file);
void ummunotify_slots_close(struct ummunotify_file *file);
struct ummunotify_slot *ummunotify_slot_take(struct ummunotify_file *file);

/* A slot by its number, which is not 0 and less than @fresh of the file. */
static inline struct ummunotify_slot *
ummunotify_slot_at(struct ummunotify_file *file, u32 number)
{
	return file->chunks[number / UMMUNOTIFY_CHUNK].records +
	       number % UMMUNOTIFY_CHUNK * file->slot_size;
}

/* It is not armed; the caller holds the lock, and uncharges the user. */
static inline void ummunotify_slot_give_back(struct ummunotify_slot *slot)
{
	struct ummunotify_file *file = slot->file;

	slot->next_unused = file->unused;
	file->unused = slot->number;
	file->watches--;
	file->space->watches--;
	ummunotify_count(watches_ended);
}

/* log.c */
void ummunotify_log_turn_page(struct ummunotify_log *log);
void ummunotify_log_add_page(struct ummunotify_log *log,
			     struct ummunotify_log_page *page);

/* Where the next event goes. */
static inline struct ummunotify_log_entry *
ummunotify_log_next(struct ummunotify_log *log)
{
	if (unlikely(log->index == UMMUNOTIFY_LOG_ENTRIES))
		ummunotify_log_turn_page(log);
	return &log->current_page->entries[log->index];
}

/* It is there. */
static inline void ummunotify_log_publish(struct ummunotify_file *file)
{
	file->log.index++;
	/* Release: who sees the number sees the entry, and the link to it. */
	smp_store_release(&file->shared->logged, ++file->log.logged);
}

/* A lie harms the liar only, and cannot pass what was logged. */
static inline void ummunotify_log_drained(struct ummunotify_log *log,
					  u64 drained)
{
	if (drained > log->drained)
		log->drained = min(drained, log->logged);
}

/* mapping.c */
int ummunotify_mapping_init(void);
void ummunotify_mapping_exit(void);
int ummunotify_mmap(struct file *filp, struct vm_area_struct *vma);

/* region.c */
long ummunotify_exchange_features(struct ummunotify_file *file,
				  u32 __user *mask);
long ummunotify_register(struct ummunotify_file *file,
			 const struct ummunotify_register_ioctl __user *arg);
long ummunotify_unregister(struct ummunotify_file *file,
			   const u64 __user *cookie);
void ummunotify_hit_region(struct ummunotify_region *region,
			   unsigned long start, unsigned long last);
ssize_t ummunotify_read(struct file *filp, char __user *buffer, size_t size,
			loff_t *position);

/* setup.c */
long ummunotify_setup(struct ummunotify_file *file,
		      struct ummunotify_setup __user *arg);

/* calls.c */
long ummunotify_watch(struct ummunotify_file *file,
		      const struct ummunotify_batch __user *arg);
long ummunotify_unwatch(struct ummunotify_file *file,
			const struct ummunotify_batch __user *arg);
long ummunotify_rearm(struct ummunotify_file *file,
		      const struct ummunotify_batch __user *arg);
long ummunotify_drained(struct ummunotify_file *file, const u64 __user *drained);

/* user.c */
struct ummunotify_user *ummunotify_user_get(void);
void ummunotify_user_put(struct ummunotify_user *user);

/* More watches, if the user may have them. */
static inline bool ummunotify_user_charge(struct ummunotify_user *user,
					  long watches)
{
	unsigned long most = READ_ONCE(ummunotify_watches_per_user);

	if (likely(atomic_long_add_return(watches, &user->watches) <= most))
		return true;
	atomic_long_sub(watches, &user->watches);
	return false;
}

static inline void ummunotify_user_uncharge(struct ummunotify_user *user,
					    long watches)
{
	atomic_long_sub(watches, &user->watches);
}

#endif
