/* SPDX-License-Identifier: MIT */
/*
 * watchset.h - the watches of a backend that matches ranges in user space.
 *
 * A watch set is a tree of live watches, the words that say whether each is
 * valid, and a queue of events per monitor.  Nothing here takes a lock: every
 * function that takes a set or a member is called under the backend's lock,
 * except where it says otherwise.  Marking a watch hit neither allocates nor
 * frees, because the thread that reads invalidations must do neither (a free
 * can unmap memory, and an unmap can wait for that very thread).
 */
#ifndef UMMU_WATCHSET_H
#define UMMU_WATCHSET_H

#include <sys/queue.h>

#include "../base/interval.h"
#include "backend.h"
#include "bell.h"

struct watch_chunk;

/**
 * struct watch - one watch
 * @handle:   what the caller holds; constant
 * @range:    what is watched; in the set's tree while the watch is live
 * @word:     the state word, as handle.state but writable
 * @queue:    of the monitor it belongs to
 * @cookie:   the caller's
 * @hint_start, @hint_last, @reason: of its event, once spent
 * @spent:    it was hit: out of the tree, its word is 0
 * @pending:  its event waits in queue->pending
 * @member:   of queue->watches
 * @waiting:  of queue->pending while @pending
 */
struct watch {
	struct ummu_watch handle;
	struct ummu_interval range;
	uint64_t *word;
	struct watch_queue *queue;
	uint64_t cookie;
	uint64_t hint_start, hint_last;
	uint32_t reason;
	bool spent;
	bool pending;
	LIST_ENTRY(watch) member;
	TAILQ_ENTRY(watch) waiting;
};

/**
 * struct watch_queue - what a monitor owns of a set
 * @generation: the monitor's generation word, in the first chunk
 * @bell:       once made, readable while @pending is not empty; @bell_serial is
 *              the backend's number for it
 * @of_process: of the backend's list of queues
 * @chunks:     memory for state words; zeros in a forked child
 * @free_word:  a list of words to use again, linked through the words
 * @watches:    every watch that is not freed, for ummu_watch_queue_destroy(),
 *              also in a forked child; this list and @chunks change only with
 *              a second lock held, the backend's, which a fork waits for
 * @pending:    watches whose event was not read, oldest first
 * @live, @hit, @read: counters
 */
struct watch_queue {
	uint64_t *generation;
	struct ummu_bell bell;
	uint64_t bell_serial;
	LIST_ENTRY(watch_queue) of_process;
	struct watch_chunk *chunks;
	uint64_t *free_word;
	LIST_HEAD(, watch) watches;
	TAILQ_HEAD(, watch) pending;
	uint64_t live, hit, read;
};

/** ummu_watch_queue_init - 0 or -errno; allocates, so called without the lock. */
int ummu_watch_queue_init(struct watch_queue *queue);

/** ummu_watch_queue_destroy - frees every watch too; without the lock. */
void ummu_watch_queue_destroy(struct watch_queue *queue);

/** ummu_watch_chunk_new - room for more words, or NULL; called without the lock. */
struct watch_chunk *ummu_watch_chunk_new(void);
void ummu_watch_chunk_free(struct watch_chunk *chunk);

/** ummu_watch_chunk_add - give it to the queue; under the lock of @watches. */
void ummu_watch_chunk_add(struct watch_queue *queue, struct watch_chunk *chunk);

/**
 * ummu_watch_arm - make @watch live: give it a word, put it in the tree
 *
 * Its range and cookie are set.  False if there is no word left: add a chunk,
 * which is made without the lock, and call again.
 */
bool ummu_watch_arm(struct ummu_interval_tree *tree, struct watch_queue *queue,
		    struct watch *watch);

/** ummu_watch_disarm - take @watch out of everything; the caller frees it later. */
void ummu_watch_disarm(struct ummu_interval_tree *tree, struct watch *watch);

/** ummu_watch_hit - [start, last] was invalidated: spend every watch it touches. */
void ummu_watch_hit(struct ummu_interval_tree *tree, uint64_t start,
		    uint64_t last, enum ummu_reason reason);

/** ummu_watch_take - move up to @max events out of the queue; returns how many. */
int ummu_watch_take(struct watch_queue *queue, struct ummu_event *events,
		    size_t max);

#endif
