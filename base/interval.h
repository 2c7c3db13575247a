/* SPDX-License-Identifier: MIT */
/*
 * interval.h - a tree of address ranges that finds the ones overlapping another.
 *
 * A treap (Seidel and Aragon, 1996) whose nodes also know the greatest end
 * below them.  Nodes live in the caller's structs, so that no call allocates
 * or frees: the thread that reads invalidations must do neither.  Expected
 * O(log n) for each call; a walk over k overlapping ranges is O(k + log n)
 * for ranges of similar length.  The caller locks.
 */
#ifndef UMMU_INTERVAL_H
#define UMMU_INTERVAL_H

#include <stdint.h>

/**
 * struct ummu_interval - one range, inclusive at both ends
 * @start, @last: set by the caller before insertion, constant while inserted
 * @max_last:     greatest last in the subtree below and including this node
 * @priority:     heap order of the treap, greatest at the root
 */
struct ummu_interval {
	uint64_t start;
	uint64_t last;
	uint64_t max_last;
	struct ummu_interval *parent, *left, *right;
	uint32_t priority;
};

/** All zeros is an empty tree. */
struct ummu_interval_tree {
	struct ummu_interval *root;
};

/** Equal and overlapping ranges are fine. */
void ummu_interval_insert(struct ummu_interval_tree *tree,
			  struct ummu_interval *node);
void ummu_interval_remove(struct ummu_interval_tree *tree,
			  struct ummu_interval *node);

/** The leftmost range that overlaps [start, last], or NULL. */
struct ummu_interval *ummu_interval_first(const struct ummu_interval_tree *tree,
					  uint64_t start, uint64_t last);

/** The next one after @node, or NULL.  @node must still be in the tree. */
struct ummu_interval *ummu_interval_next(const struct ummu_interval *node,
					 uint64_t start, uint64_t last);

/**
 * ummu_interval_covering - a range that covers [start, last], without a lock
 *
 * While others change the tree it may overlook one that is there, and one that
 * it returns may be gone.  The memory of nodes must stay, and the caller of
 * insert sets start and last with atomic stores.  At most @steps steps.
 */
struct ummu_interval *
ummu_interval_covering(const struct ummu_interval_tree *tree, uint64_t start,
		       uint64_t last, unsigned int steps);

#endif
