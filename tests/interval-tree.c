/* SPDX-License-Identifier: MIT */
/* interval-tree.c - the interval treap against an array that is searched. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/interval.h"
#include "run.h"

#define NODES 300
#define ROUNDS 100000

/* The array: a node is in it, and so in the tree, or it is not. */
struct model {
	struct ummu_interval_tree tree;
	struct ummu_interval nodes[NODES];
	bool inserted[NODES];
	unsigned int count;
	uint64_t random;
};

/* Few numbers, so that ranges are equal, touch and nest; the ends often. */
static uint64_t some_end(struct model *model)
{
	uint64_t random = run_random(&model->random);

	switch (random % 16) {
	case 0:
		return 0;
	case 1:
		return UINT64_MAX;
	case 2:
		return UINT64_MAX - (random >> 32) % 4;
	default:
		return (random >> 32) % 500;
	}
}

static void some_range(struct model *model, uint64_t *start, uint64_t *last)
{
	uint64_t a = some_end(model), b = some_end(model);

	/* Most are short. */
	if (run_random(&model->random) % 4 && a < 500)
		b = a + b % 8;
	*start = a < b ? a : b;
	*last = a < b ? b : a;
}

static unsigned int check_below(const struct ummu_interval *node,
				const struct ummu_interval *parent)
{
	uint64_t max;
	unsigned int count;

	if (!node)
		return 0;
	assert_ptr_equal(node->parent, parent);
	if (parent)
		assert_true(node->priority <= parent->priority);
	count = 1 + check_below(node->left, node) +
		check_below(node->right, node);
	max = node->last;
	if (node->left) {
		assert_true(node->left->start <= node->start);
		max = node->left->max_last > max ? node->left->max_last : max;
	}
	if (node->right) {
		assert_true(node->right->start >= node->start);
		max = node->right->max_last > max ? node->right->max_last : max;
	}
	assert_true(node->max_last == max);
	return count;
}

/* Order within subtrees, heap, max_last, links; and the order as a whole. */
static void check_structure(const struct model *model)
{
	const struct ummu_interval *node;
	uint64_t before = 0;
	unsigned int count = 0;

	assert_int_equal(check_below(model->tree.root, NULL), model->count);
	for (node = ummu_interval_first(&model->tree, 0, UINT64_MAX); node;
	     node = ummu_interval_next(node, 0, UINT64_MAX)) {
		assert_true(node->start >= before);
		before = node->start;
		count++;
	}
	assert_int_equal(count, model->count);
}

static void check_query(struct model *model)
{
	const struct ummu_interval *node;
	bool found[NODES] = { false };
	uint64_t start, last, before = 0;

	some_range(model, &start, &last);
	for (node = ummu_interval_first(&model->tree, start, last); node;
	     node = ummu_interval_next(node, start, last)) {
		ptrdiff_t i = node - model->nodes;

		assert_true(i >= 0 && i < NODES);
		assert_true(model->inserted[i]);
		assert_false(found[i]);
		found[i] = true;
		assert_true(node->start >= before);
		before = node->start;
	}
	for (unsigned int i = 0; i < NODES; i++) {
		const struct ummu_interval *other = &model->nodes[i];
		bool overlaps = model->inserted[i] && other->start <= last &&
				other->last >= start;

		assert_int_equal(found[i], overlaps);
	}
}

static void change(struct model *model, unsigned int i)
{
	struct ummu_interval *node = &model->nodes[i];

	if (model->inserted[i]) {
		ummu_interval_remove(&model->tree, node);
		model->count--;
		/* Whoever still looks at it is found out. */
		memset(node, 0xa5, sizeof(*node));
	} else {
		some_range(model, &node->start, &node->last);
		ummu_interval_insert(&model->tree, node);
		model->count++;
	}
	model->inserted[i] = !model->inserted[i];
}

static void random_changes(void **state)
{
	static struct model model;
	unsigned int rounds = run_scaled(ROUNDS);
	unsigned int most = 0;

	(void)state;
	model.random = run_seed();
	for (unsigned int round = 0; round < rounds; round++) {
		/* At times only few nodes take part: the tree shrinks again. */
		unsigned int part = round / 1000 % 4 ? NODES : 8;

		change(&model, (unsigned int)(run_random(&model.random) % part));
		most = model.count > most ? model.count : most;
		check_query(&model);
		if (round % 64 == 0)
			check_structure(&model);
	}
	for (unsigned int i = 0; i < NODES; i++)
		if (model.inserted[i])
			change(&model, i);
	assert_null(model.tree.root);
	print_message("%u changes and queries, at most %u ranges\n", rounds,
		      most);
}

static void empty_tree(void **state)
{
	struct ummu_interval_tree tree = { NULL };

	(void)state;
	assert_null(ummu_interval_first(&tree, 0, UINT64_MAX));
}

static unsigned int depth(const struct ummu_interval *node)
{
	unsigned int left, right;

	if (!node)
		return 0;
	left = depth(node->left);
	right = depth(node->right);
	return 1 + (left > right ? left : right);
}

/* Ascending addresses, the common order, must not make a list of it. */
static void stays_shallow(void **state)
{
	static struct ummu_interval nodes[1 << 16];
	struct ummu_interval_tree tree = { NULL };
	unsigned int deep;

	(void)state;
	for (uint64_t i = 0; i < 1 << 16; i++) {
		nodes[i].start = i << 13;
		nodes[i].last = nodes[i].start + 4095;
		ummu_interval_insert(&tree, &nodes[i]);
	}
	deep = depth(tree.root);
	print_message("65536 ascending ranges: depth %u\n", deep);
	assert_in_range(deep, 16, 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_tree),
		cmocka_unit_test(random_changes),
		cmocka_unit_test(stays_shallow),
	};

	run_limit(250);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
