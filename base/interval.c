/* SPDX-License-Identifier: MIT */
/*
 * interval.c - a treap of ranges that finds the ones overlapping another.
 *
 * In order by start; in heap order by a priority that is a hash of the node's
 * own address, so that the shape is random without a generator's state.
 */
#include "interval.h"

#include <stdbool.h>
#include <stddef.h>

/* The finalizer of MurmurHash3: every bit of the address reaches every bit. */
static uint32_t priority_of(const struct ummu_interval *node)
{
	uint64_t hash = (uintptr_t)node;

	hash ^= hash >> 33;
	hash *= 0xff51afd7ed558ccdULL;
	hash ^= hash >> 33;
	hash *= 0xc4ceb9fe1a85ec53ULL;
	hash ^= hash >> 33;
	return (uint32_t)hash;
}

/*
 * What ummu_interval_covering() reads is stored atomically.  Release: a node is
 * whole before it can be found.
 */
static void set_link(struct ummu_interval **link, struct ummu_interval *node)
{
	__atomic_store_n(link, node, __ATOMIC_RELEASE);
}

static void set_max(struct ummu_interval *node, uint64_t max)
{
	__atomic_store_n(&node->max_last, max, __ATOMIC_RELAXED);
}

static void update_max(struct ummu_interval *node)
{
	uint64_t max = node->last;

	if (node->left && node->left->max_last > max)
		max = node->left->max_last;
	if (node->right && node->right->max_last > max)
		max = node->right->max_last;
	set_max(node, max);
}

/* Put @new where @old hangs; either child of @old's parent, or the root. */
static void replace_child(struct ummu_interval_tree *tree,
			  struct ummu_interval *old, struct ummu_interval *new)
{
	struct ummu_interval *parent = old->parent;

	if (!parent)
		set_link(&tree->root, new);
	else if (parent->left == old)
		set_link(&parent->left, new);
	else
		set_link(&parent->right, new);
	if (new)
		new->parent = parent;
}

/* Lift @node above its parent; keeps the order, repairs both max_last. */
static void rotate_up(struct ummu_interval_tree *tree,
		      struct ummu_interval *node)
{
	struct ummu_interval *parent = node->parent;
	struct ummu_interval *moved;

	replace_child(tree, parent, node);
	if (parent->left == node) {
		moved = node->right;
		set_link(&parent->left, moved);
		set_link(&node->right, parent);
	} else {
		moved = node->left;
		set_link(&parent->right, moved);
		set_link(&node->left, parent);
	}
	if (moved)
		moved->parent = parent;
	parent->parent = node;
	update_max(parent);
	update_max(node);
}

void ummu_interval_insert(struct ummu_interval_tree *tree,
			  struct ummu_interval *node)
{
	struct ummu_interval **link = &tree->root;
	struct ummu_interval *parent = NULL;

	while (*link) {
		parent = *link;
		if (parent->max_last < node->last)
			set_max(parent, node->last);
		link = node->start < parent->start ? &parent->left :
						     &parent->right;
	}
	node->parent = parent;
	set_link(&node->left, NULL);
	set_link(&node->right, NULL);
	set_max(node, node->last);
	node->priority = priority_of(node);
	set_link(link, node);

	while (node->parent && node->parent->priority < node->priority)
		rotate_up(tree, node);
}

void ummu_interval_remove(struct ummu_interval_tree *tree,
			  struct ummu_interval *node)
{
	struct ummu_interval *child;

	while (node->left && node->right)
		rotate_up(tree, node->left->priority > node->right->priority ?
					node->left :
					node->right);
	child = node->left ? node->left : node->right;
	replace_child(tree, node, child);
	for (node = node->parent; node; node = node->parent)
		update_max(node);
}

/* Does the subtree hold a range that ends at or after @start? */
static bool reaches(const struct ummu_interval *node, uint64_t start)
{
	return node && node->max_last >= start;
}

static struct ummu_interval *leftmost(struct ummu_interval *node,
				      uint64_t start, uint64_t last)
{
	if (!reaches(node, start))
		return NULL;
	for (;;) {
		/*
		 * If the left side reaches @start and yet has no overlap, then
		 * its ranges that do start after @last, and so does all else.
		 */
		if (reaches(node->left, start)) {
			node = node->left;
			continue;
		}
		if (node->start > last)
			return NULL;
		if (node->last >= start)
			return node;
		if (!reaches(node->right, start))
			return NULL;
		node = node->right;
	}
}

struct ummu_interval *ummu_interval_first(const struct ummu_interval_tree *tree,
					  uint64_t start, uint64_t last)
{
	return leftmost(tree->root, start, last);
}

struct ummu_interval *ummu_interval_next(const struct ummu_interval *node,
					 uint64_t start, uint64_t last)
{
	struct ummu_interval *parent;

	for (;;) {
		if (reaches(node->right, start))
			return leftmost(node->right, start, last);
		/* Up to the first node that lies to the right of this one. */
		while ((parent = node->parent) && parent->right == node)
			node = parent;
		if (!parent || parent->start > last)
			return NULL;
		if (parent->last >= start)
			return parent;
		node = parent;
	}
}

static struct ummu_interval *follow(struct ummu_interval *const *link)
{
	return __atomic_load_n(link, __ATOMIC_ACQUIRE);
}

static uint64_t peek(const uint64_t *field)
{
	return __atomic_load_n(field, __ATOMIC_RELAXED);
}

struct ummu_interval *
ummu_interval_covering(const struct ummu_interval_tree *tree, uint64_t start,
		       uint64_t last, unsigned int steps)
{
	struct ummu_interval *node = follow(&tree->root);

	while (node && steps--) {
		struct ummu_interval *left = follow(&node->left);

		if (peek(&node->start) > start) {
			node = left;
			continue;
		}
		/* All on the left start early enough: does one reach? */
		if (left && peek(&left->max_last) >= last)
			node = left;
		else if (peek(&node->last) >= last)
			return node;
		else
			node = follow(&node->right);
	}
	return NULL;
}
