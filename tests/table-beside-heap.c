/* SPDX-License-Identifier: MIT */
/*
 * table-beside-heap.c - tables of regions are replaced; the heap keeps its own.
 *
 * A table that was replaced gives its pages back.  One that is smaller than a
 * page has none: on a kernel with pages of 64 KiB the kernel would zero what
 * the program keeps in the same page.  With pages of 4 KiB no table is that
 * small, so this test can fail only in suite pages64, or on such a kernel.
 */
#define _GNU_SOURCE
#include "rcache-fixture.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rcache/internal.h"
#include "rcache/table.h"

#define BLOCK 1000
#define FILLED 0xab

/* Many, at uneven distances: some begin where a page of 64 KiB does. */
#define TABLES 1000
#define LEAST_WORDS 512
#define MOST_BESIDE 7

#define CACHES 100
#define BLOCKS_EACH 16

static char *block_new(void)
{
	char *block = malloc(BLOCK);

	assert_non_null(block);
	return memset(block, FILLED, BLOCK);
}

static bool is_damaged(const char *block)
{
	for (size_t i = 0; i < BLOCK; i++)
		if ((unsigned char)block[i] != FILLED)
			return true;
	return false;
}

/* They are freed last, as a damaged heap may not survive it. */
static void expect_undamaged(char **blocks, size_t count)
{
	unsigned int damaged = 0;

	for (size_t i = 0; i < count; i++)
		damaged += is_damaged(blocks[i]);
	print_message("blocks of the heap damaged: %u of %zu\n", damaged, count);
	assert_int_equal(damaged, 0);
	for (size_t i = 0; i < count; i++)
		free(blocks[i]);
}

/* Tables of 4 KiB, as every cache starts with, and blocks between them. */
static void tables_beside_blocks(void **state)
{
	static struct table *tables[TABLES];
	static char *blocks[TABLES * MOST_BESIDE];
	size_t count = 0;

	(void)state;
	for (size_t i = 0; i < TABLES; i++) {
		tables[i] = ummu_table_new(LEAST_WORDS);
		assert_non_null(tables[i]);
		for (size_t j = 0; j <= i % MOST_BESIDE; j++)
			blocks[count++] = block_new();
	}
	for (size_t i = 0; i < TABLES; i++)
		ummu_table_forsake(tables[i]);
	expect_undamaged(blocks, count);
	for (size_t i = 0; i < TABLES; i++)
		ummu_table_free(tables[i]);
}

/* The same by what a program calls.  So many regions enlarge a table twice. */
static void caches_beside_blocks(void **state)
{
	static struct fixture *fixtures[CACHES];
	static char *blocks[CACHES * BLOCKS_EACH];
	size_t count = 0;

	(void)state;
	for (size_t i = 0; i < CACHES; i++) {
		fixture_setup((void **)&fixtures[i]);
		for (size_t j = 0; j < BLOCKS_EACH; j++)
			blocks[count++] = block_new();
	}
	for (size_t i = 0; i < CACHES; i++)
		for (size_t j = 0; j <= LEAST_WORDS; j++)
			fixture_touch(fixtures[i], 2 * j, 1);
	expect_undamaged(blocks, count);
	for (size_t i = 0; i < CACHES; i++)
		fixture_teardown((void **)&fixtures[i]);
}

static size_t words_in_use(const struct table *table)
{
	const uint64_t *words = ummu_table_words(table->view);
	size_t count = 0;

	for (size_t i = 0; i < table->size; i++)
		count += words[i] != 0;
	return count;
}

/* What is whole pages is given back, and so reads as zeros. */
static void pages_are_given_back(void **state)
{
	size_t words = 4 * (size_t)sysconf(_SC_PAGESIZE) / sizeof(uint64_t);
	struct table *table = ummu_table_new(words);
	static struct region region;
	char *block = block_new();

	(void)state;
	assert_non_null(table);
	region.node.start = (uintptr_t)&region;
	ummu_table_insert(table, &region);
	assert_int_equal(words_in_use(table), 1);
	ummu_table_forsake(table);
	assert_int_equal(words_in_use(table), 0);
	expect_undamaged(&block, 1);
	ummu_table_free(table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables_beside_blocks),
		cmocka_unit_test(caches_beside_blocks),
		cmocka_unit_test(pages_are_given_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
