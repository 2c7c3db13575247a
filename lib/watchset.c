/* SPDX-License-Identifier: MIT */
/* watchset.c - watches that are matched in user space, and their events. */
#define _GNU_SOURCE
#include "watchset.h"

#include <errno.h>
#include <stdlib.h>

#include "../base/containerof.h"
#include "../base/wipe.h"
#include "explain.h"

/* 8,191 watches, and the generation or the link in word 0. */
#define CHUNK_BYTES ((size_t)64 << 10)
#define CHUNK_WORDS (CHUNK_BYTES / sizeof(uint64_t))

/*
 * A free word holds the address of the next one with this bit set, so that it
 * never equals what a handle expects.  User addresses leave the bit clear.
 */
#define FREE_WORD (1ULL << 63)

/**
 * struct watch_chunk - a piece of memory for state words
 * @words: CHUNK_BYTES that a forked child reads as zeros; [0] is the
 *         generation in a queue's first chunk, otherwise unused
 * @used:  words handed out so far, freed ones included
 */
struct watch_chunk {
	struct watch_chunk *next;
	uint64_t *words;
	size_t used;
};

/*
 * What a live word holds: a number that was never used before in this process
 * or its ancestors, so that no old handle matches a word that is used again.
 * Not in wiped memory: a child goes on counting.
 */
static uint64_t last_identity;

static uint64_t new_identity(void)
{
	return __atomic_add_fetch(&last_identity, 1, __ATOMIC_RELAXED);
}

struct watch_chunk *ummu_watch_chunk_new(void)
{
	struct watch_chunk *chunk = malloc(sizeof(*chunk));

	if (!chunk)
		return NULL;
	chunk->words = ummu_wipe_alloc(CHUNK_BYTES);
	if (!chunk->words) {
		free(chunk);
		return NULL;
	}
	chunk->next = NULL;
	chunk->used = 1;
	return chunk;
}

void ummu_watch_chunk_free(struct watch_chunk *chunk)
{
	if (!chunk)
		return;
	ummu_wipe_free(chunk->words, CHUNK_BYTES);
	free(chunk);
}

int ummu_watch_queue_init(struct watch_queue *queue)
{
	struct watch_chunk *chunk = ummu_watch_chunk_new();

	if (!chunk)
		return ummu_explain(
			-ENOMEM,
			"no memory for a monitor's state words (MADV_WIPEONFORK needs Linux 4.14)");
	queue->bell = UMMU_NO_BELL;
	queue->chunks = chunk;
	queue->generation = chunk->words;
	*queue->generation = 1;
	queue->free_word = NULL;
	LIST_INIT(&queue->watches);
	TAILQ_INIT(&queue->pending);
	queue->live = queue->hit = queue->read = 0;
	return 0;
}

void ummu_watch_queue_destroy(struct watch_queue *queue)
{
	struct watch_chunk *chunk;
	struct watch *watch;

	while ((watch = LIST_FIRST(&queue->watches))) {
		LIST_REMOVE(watch, member);
		free(watch);
	}
	while ((chunk = queue->chunks)) {
		queue->chunks = chunk->next;
		ummu_watch_chunk_free(chunk);
	}
	ummu_bell_destroy(&queue->bell);
}

void ummu_watch_chunk_add(struct watch_queue *queue, struct watch_chunk *chunk)
{
	chunk->next = queue->chunks;
	queue->chunks = chunk;
}

static uint64_t *take_word(struct watch_queue *queue)
{
	struct watch_chunk *chunk = queue->chunks;
	uint64_t *word = queue->free_word;

	if (word) {
		queue->free_word = (uint64_t *)(uintptr_t)(*word & ~FREE_WORD);
		return word;
	}
	return chunk->used < CHUNK_WORDS ? &chunk->words[chunk->used++] : NULL;
}

bool ummu_watch_arm(struct ummu_interval_tree *tree, struct watch_queue *queue,
		    struct watch *watch)
{
	uint64_t *word = take_word(queue);

	if (!word)
		return false;
	watch->word = word;
	watch->handle.state = word;
	watch->handle.expected = new_identity();
	/* Nobody loads the word before the handle is returned to its caller. */
	__atomic_store_n(word, watch->handle.expected, __ATOMIC_RELAXED);
	watch->queue = queue;
	watch->spent = false;
	watch->pending = false;
	ummu_interval_insert(tree, &watch->range);
	queue->live++;
	return true;
}

static void forget_event(struct watch *watch)
{
	TAILQ_REMOVE(&watch->queue->pending, watch, waiting);
	watch->pending = false;
	if (TAILQ_EMPTY(&watch->queue->pending))
		ummu_bell_silence(&watch->queue->bell);
}

void ummu_watch_disarm(struct ummu_interval_tree *tree, struct watch *watch)
{
	struct watch_queue *queue = watch->queue;

	if (!watch->spent)
		ummu_interval_remove(tree, &watch->range);
	if (watch->pending)
		forget_event(watch);
	__atomic_store_n(watch->word,
			 FREE_WORD | (uint64_t)(uintptr_t)queue->free_word,
			 __ATOMIC_RELAXED);
	queue->free_word = watch->word;
	queue->live--;
}

static void spend(struct watch *watch, uint64_t start, uint64_t last,
		  enum ummu_reason reason)
{
	struct watch_queue *queue = watch->queue;
	bool first = TAILQ_EMPTY(&queue->pending);

	watch->hint_start = start > watch->range.start ? start :
							 watch->range.start;
	watch->hint_last = last < watch->range.last ? last : watch->range.last;
	watch->reason = reason;
	watch->spent = true;
	watch->pending = true;
	TAILQ_INSERT_TAIL(&queue->pending, watch, waiting);
	queue->hit++;
	/*
	 * The word before the generation: who sees the generation moved
	 * (acquire) also sees the watch invalid.
	 */
	__atomic_store_n(watch->word, 0, __ATOMIC_RELEASE);
	__atomic_store_n(queue->generation, *queue->generation + 1,
			 __ATOMIC_RELEASE);
	if (first)
		ummu_bell_ring(&queue->bell);
}

void ummu_watch_hit(struct ummu_interval_tree *tree, uint64_t start,
		    uint64_t last, enum ummu_reason reason)
{
	struct ummu_interval *node;

	while ((node = ummu_interval_first(tree, start, last))) {
		ummu_interval_remove(tree, node);
		spend(container_of(node, struct watch, range), start, last,
		      reason);
	}
}

int ummu_watch_take(struct watch_queue *queue, struct ummu_event *events,
		    size_t max)
{
	struct watch *watch;
	int taken = 0;

	if (max > INT32_MAX)
		max = INT32_MAX;
	while ((size_t)taken < max && (watch = TAILQ_FIRST(&queue->pending))) {
		events[taken++] = (struct ummu_event){
			.cookie = watch->cookie,
			.hint_start = watch->hint_start,
			.hint_end = watch->hint_last + 1,
			.reason = watch->reason,
		};
		forget_event(watch);
	}
	queue->read += (uint64_t)taken;
	return taken;
}
