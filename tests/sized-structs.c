/* SPDX-License-Identifier: MIT */
/*
 * sized-structs.c - a struct whose size was not set is neither read nor written.
 *
 * Each struct lies at the end of a page, and nothing is mapped behind it: who
 * trusts a size that is garbage ends by a signal.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake-backend.h"
#include "fake-pinner.h"
#include "run.h"

#define MOST 4096

static const size_t garbage[] = { 0,	   7, MOST + 1, 0xffffff, SIZE_MAX / 2,
				  SIZE_MAX };

static size_t page;

/* A copy of @bytes bytes that ends where a page does, its size set to @size. */
static void *at_the_edge(const void *given, size_t bytes, size_t size)
{
	char *memory = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *copy;

	assert_ptr_not_equal(memory, MAP_FAILED);
	assert_int_equal(munmap(memory + page, page), 0);
	copy = memory + page - bytes;
	memcpy(copy, given, bytes);
	memcpy(copy, &size, sizeof(size));
	return copy;
}

static void free_edge(void *copy, size_t bytes)
{
	munmap((char *)copy + bytes - page, page);
}

static void is_explained(size_t size, const char *name)
{
	assert_non_null(strstr(ummu_monitor_explain(), name));
	if (size > MOST)
		assert_non_null(strstr(ummu_monitor_explain(), "over 4096"));
}

static int set_up(void **state)
{
	*state = fake_open(false);
	return 0;
}

static int tear_down(void **state)
{
	fake_close(*state);
	return 0;
}

static void opens_nothing(void **state)
{
	struct ummu_monitor_opts opts = { .backend = "none" };
	struct ummu_monitor *monitor = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
		void *edge = at_the_edge(&opts, sizeof(opts), garbage[i]);

		assert_int_equal(ummu_monitor_open(edge, &monitor), -EINVAL);
		assert_null(monitor);
		is_explained(garbage[i], "struct ummu_monitor_opts");
		free_edge(edge, sizeof(opts));
	}
}

static void caps_are_not_written(void **state)
{
	struct fake_monitor *fake = *state;
	struct ummu_caps caps;

	memset(&caps, 0x5a, sizeof(caps));
	for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
		struct ummu_caps *edge = at_the_edge(&caps, sizeof(caps),
						     garbage[i]);

		assert_int_equal(ummu_monitor_caps(&fake->base, edge), -EINVAL);
		is_explained(garbage[i], "struct ummu_caps");
		assert_memory_equal(&edge->flags, &caps.flags,
				    sizeof(caps) - sizeof(caps.size));
		free_edge(edge, sizeof(caps));
	}
}

static void stats_are_not_written(void **state)
{
	struct fake_monitor *fake = *state;
	struct ummu_monitor_stats stats;

	memset(&stats, 0x5a, sizeof(stats));
	for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
		struct ummu_monitor_stats *edge = at_the_edge(&stats,
							      sizeof(stats),
							      garbage[i]);

		assert_int_equal(ummu_monitor_stats(&fake->base, edge), -EINVAL);
		is_explained(garbage[i], "struct ummu_monitor_stats");
		assert_int_equal(edge->watches, stats.watches);
		free_edge(edge, sizeof(stats));
	}
}

static void cache_is_not_created(void **state)
{
	const struct ummu_rcache_opts opts = { .max_regions = 3 };
	struct fake_monitor *fake = *state;
	struct ummu_rcache *rcache = NULL;

	for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
		void *edge = at_the_edge(&fake_pinner_ops,
					 sizeof(fake_pinner_ops), garbage[i]);

		assert_int_equal(ummu_rcache_create(&fake->base, edge, NULL,
						    NULL, &rcache),
				 -EINVAL);
		is_explained(garbage[i], "struct ummu_rcache_ops");
		free_edge(edge, sizeof(fake_pinner_ops));

		edge = at_the_edge(&opts, sizeof(opts), garbage[i]);
		assert_int_equal(ummu_rcache_create(&fake->base,
						    &fake_pinner_ops, NULL,
						    edge, &rcache),
				 -EINVAL);
		is_explained(garbage[i], "struct ummu_rcache_opts");
		free_edge(edge, sizeof(opts));
		assert_null(rcache);
	}
}

static void cache_stats_are_not_written(void **state)
{
	struct fake_monitor *fake = *state;
	struct ummu_rcache_stats stats;
	struct fake_pinner pinner;
	struct ummu_rcache *rcache;

	fake_pinner_init(&pinner);
	assert_int_equal(ummu_rcache_create(&fake->base, &fake_pinner_ops,
					    &pinner, NULL, &rcache),
			 0);
	memset(&stats, 0x5a, sizeof(stats));
	for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
		struct ummu_rcache_stats *edge = at_the_edge(&stats,
							     sizeof(stats),
							     garbage[i]);

		assert_int_equal(ummu_rcache_stats(rcache, edge), -EINVAL);
		is_explained(garbage[i], "struct ummu_rcache_stats");
		assert_int_equal(edge->hits, stats.hits);
		free_edge(edge, sizeof(stats));
	}
	ummu_rcache_destroy(rcache);
}

/* A program of the future may be as large as that. */
static void a_page_is_a_size(void **state)
{
	static union {
		struct ummu_caps caps;
		struct ummu_monitor_opts opts;
		unsigned char bytes[MOST];
	} large;
	struct fake_monitor *fake = *state;
	struct ummu_monitor *monitor;

	memset(&large, 0x5a, sizeof(large));
	large.caps.size = MOST;
	assert_int_equal(ummu_monitor_caps(&fake->base, &large.caps), 0);
	assert_int_equal(large.caps.size, MOST);
	assert_int_equal(large.bytes[MOST - 1], 0);

	memset(&large, 0, sizeof(large));
	large.opts.size = MOST;
	large.opts.backend = "none";
	assert_int_equal(ummu_monitor_open(&large.opts, &monitor), 0);
	ummu_monitor_close(monitor);
	large.bytes[MOST - 1] = 1;
	assert_int_equal(ummu_monitor_open(&large.opts, &monitor), -EINVAL);
	assert_non_null(strstr(ummu_monitor_explain(), "does not know"));
}

#define ON_FAKE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_FAKE(opens_nothing),
		ON_FAKE(caps_are_not_written),
		ON_FAKE(stats_are_not_written),
		ON_FAKE(cache_is_not_created),
		ON_FAKE(cache_stats_are_not_written),
		ON_FAKE(a_page_is_a_size),
	};

	run_limit(60);
	unsetenv("UMMU_MONITOR");
	page = (size_t)sysconf(_SC_PAGESIZE);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
