/* SPDX-License-Identifier: MIT */
/*
 * pin-verbs.c - tests the RDMA pinner under a cache on the module, with an
 * adapter that really moves the bytes.
 *
 * What a region's pages hold is read by the adapter, through a connection to
 * itself, into memory that is registered for good.  Skipped without an adapter.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/capability.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include <ummunotify/pin-verbs.h>

#include "tests/pages.h"
#include "tools/rdma/link.h"

#define LENGTH ((size_t)64 * 1024)

/**
 * struct fixture - an adapter, and a cache on top of it
 * @inbox:  where the adapter writes to
 * @window: its memory region
 * @buffer: LENGTH bytes, what regions are made of
 * @pinned: KiB before the test
 */
struct fixture {
	struct rdma_link link;
	struct ummu_monitor *monitor;
	struct ummu_rcache *cache;
	unsigned char *inbox;
	struct ibv_mr *window;
	unsigned char *buffer;
	long pinned;
};

/* Pages that this process has pinned for long, in KiB. */
static long pinned_kib(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	char line[128];
	long kib = -1;

	assert_non_null(file);
	while (kib < 0 && fgets(line, sizeof(line), file))
		sscanf(line, "VmPin: %ld", &kib);
	fclose(file);
	assert_true(kib >= 0);
	return kib;
}

static int open_fixture(void **state)
{
	struct ummu_monitor_opts opts = {
		.size = sizeof(opts),
		.backend = "kmod",
	};
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	*state = f;
	assert_int_equal(rdma_link_open(NULL, &f->link), 0);
	assert_int_equal(rdma_link_connect(&f->link, &f->link.end), 0);
	assert_int_equal(ummu_monitor_open(&opts, &f->monitor), 0);
	assert_int_equal(ummu_rcache_create(f->monitor, &ummu_pin_verbs_ops,
					    f->link.domain, NULL, &f->cache),
			 0);
	f->inbox = pages_map(NULL, LENGTH);
	f->window = ibv_reg_mr(f->link.domain, f->inbox, LENGTH,
			       IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
	assert_non_null(f->window);
	f->buffer = pages_map(NULL, LENGTH);
	/* Or else a pin for reading may find the zero page, which then goes. */
	memset(f->buffer, 1, LENGTH);
	f->pinned = pinned_kib();
	return 0;
}

static int close_fixture(void **state)
{
	struct fixture *f = *state;

	ummu_rcache_destroy(f->cache);
	assert_int_equal(pinned_kib(), f->pinned);
	ummu_monitor_close(f->monitor);
	assert_int_equal(ibv_dereg_mr(f->window), 0);
	rdma_link_close(&f->link);
	munmap(f->inbox, LENGTH);
	munmap(f->buffer, LENGTH);
	free(f);
	return 0;
}

static struct ummu_region *get(struct fixture *f, void *addr, uint64_t access)
{
	struct ummu_region *region;

	assert_int_equal(ummu_rcache_get(f->cache, addr, LENGTH, access,
					 &region),
			 0);
	assert_true(region->cached);
	assert_int_equal(ummu_pin_verbs_mr(region)->length, region->length);
	return region;
}

/* What the adapter finds at the buffer's address, to the last byte. */
static void assert_adapter_reads(struct fixture *f,
				 const struct ummu_region *region,
				 unsigned char byte)
{
	struct rdma_place from = { (uintptr_t)f->buffer,
				   ummu_pin_verbs_mr(region)->lkey };
	struct rdma_place to = { (uintptr_t)f->inbox, f->window->rkey };
	const char *reason = "";
	size_t i;
	int ret;

	memset(f->inbox, 0, LENGTH);
	ret = rdma_link_write(&f->link, &from, &to, LENGTH, &reason);
	if (ret)
		fail_msg("%s %s", strerror(-ret), reason);
	for (i = 0; i < LENGTH; i++)
		assert_int_equal(f->inbox[i], byte);
}

static struct ummu_rcache_stats stats_of(const struct fixture *f)
{
	struct ummu_rcache_stats stats = { .size = sizeof(stats) };

	assert_int_equal(ummu_rcache_stats(f->cache, &stats), 0);
	return stats;
}

static void registers_and_deregisters(void **state)
{
	struct fixture *f = *state;
	struct ummu_region *region;

	memset(f->buffer, 7, LENGTH);
	region = get(f, f->buffer, 0);
	assert_int_equal(pinned_kib(), f->pinned + (long)LENGTH / 1024);
	assert_adapter_reads(f, region, 7);
	memset(f->buffer, 8, LENGTH);
	assert_adapter_reads(f, region, 8);
	ummu_rcache_put(f->cache, region);

	assert_int_equal(ummu_rcache_flush(f->cache, true), 1);
	assert_int_equal(pinned_kib(), f->pinned);
}

static void remapped_memory_is_registered_anew(void **state)
{
	struct fixture *f = *state;
	struct ummu_region *region;
	unsigned char i;

	for (i = 1; i <= 100; i++) {
		memset(f->buffer, i, LENGTH);
		ummu_rcache_put(f->cache, get(f, f->buffer, 0));
		region = get(f, f->buffer, 0);
		assert_adapter_reads(f, region, i);
		ummu_rcache_put(f->cache, region);
		munmap(f->buffer, LENGTH);
		f->buffer = pages_map(f->buffer, LENGTH);
	}
	assert_int_equal(stats_of(f).registrations, 100);
	assert_int_equal(stats_of(f).hits, 100);
}

/* That the test above could fail. */
static void old_region_reads_old_pages(void **state)
{
	struct fixture *f = *state;
	struct ummu_region *region;

	memset(f->buffer, 1, LENGTH);
	region = get(f, f->buffer, 0);
	munmap(f->buffer, LENGTH);
	f->buffer = pages_map(f->buffer, LENGTH);
	memset(f->buffer, 2, LENGTH);
	assert_false(ummu_region_valid(region));
	assert_adapter_reads(f, region, 1);
	ummu_rcache_put(f->cache, region);
	assert_int_equal(pinned_kib(), f->pinned);
}

static void rights_decide_who_shares(void **state)
{
	static const struct {
		uint64_t have;
		uint64_t want;
		bool serves;
	} pairs[] = {
		{ IBV_ACCESS_LOCAL_WRITE, 0, true },
		{ 0, IBV_ACCESS_LOCAL_WRITE, false },
		{ IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE,
		  IBV_ACCESS_LOCAL_WRITE, true },
		{ IBV_ACCESS_REMOTE_READ,
		  IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ, false },
		{ IBV_ACCESS_RELAXED_ORDERING, 0, false },
		{ 0, IBV_ACCESS_RELAXED_ORDERING, true },
		{ IBV_ACCESS_ZERO_BASED, 0, false },
		{ 0, IBV_ACCESS_ZERO_BASED, false },
		{ IBV_ACCESS_ON_DEMAND, 0, false },
		{ IBV_ACCESS_HUGETLB, IBV_ACCESS_HUGETLB, true },
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(pairs) / sizeof(*pairs); i++)
		assert_int_equal(ummu_pin_verbs_ops.covers(NULL, pairs[i].have,
							   pairs[i].want),
				 pairs[i].serves);
}

static void more_rights_register_again(void **state)
{
	const uint64_t write = IBV_ACCESS_LOCAL_WRITE;
	struct fixture *f = *state;
	struct ummu_region *reader, *writer, *other;

	reader = get(f, f->buffer, 0);
	writer = get(f, f->buffer, write);
	assert_ptr_not_equal(reader, writer);
	other = get(f, f->buffer, write);
	assert_ptr_equal(other, writer);
	assert_int_equal(stats_of(f).registrations, 2);
	ummu_rcache_put(f->cache, reader);
	ummu_rcache_put(f->cache, writer);
	ummu_rcache_put(f->cache, other);
}

/* On demand there is nothing to cache, with any adapter. */
static void on_demand_is_refused(void **state)
{
	struct fixture *f = *state;
	struct ummu_region *region;

	assert_int_equal(ummu_rcache_get(f->cache, f->buffer, LENGTH,
					 IBV_ACCESS_ON_DEMAND, &region),
			 -EOPNOTSUPP);
	assert_int_equal(stats_of(f).registrations, 0);
	/* Nor does a region that is pinned serve for one that is not. */
	ummu_rcache_put(f->cache, get(f, f->buffer, 0));
	assert_int_equal(ummu_rcache_get(f->cache, f->buffer, LENGTH,
					 IBV_ACCESS_ON_DEMAND, &region),
			 -EOPNOTSUPP);
}

/* The adapter refuses remote writes into what the owner may not write. */
static void refusal_is_told(void **state)
{
	struct fixture *f = *state;
	struct ummu_region *region;

	assert_int_equal(ummu_rcache_get(f->cache, f->buffer, LENGTH,
					 IBV_ACCESS_REMOTE_WRITE, &region),
			 -EINVAL);
	assert_int_equal(ummu_rcache_get(f->cache, f->buffer, LENGTH, 1ul << 40,
					 &region),
			 -EINVAL);
	assert_int_equal(pinned_kib(), f->pinned);
	ummu_rcache_put(f->cache, get(f, f->buffer, 0));
}

/* Root may pin what it likes, but for this. */
static void set_effective(bool may_lock)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2];
	const unsigned int bit = 1u << CAP_IPC_LOCK;

	assert_int_equal(syscall(SYS_capget, &header, data), 0);
	data[0].effective = may_lock ? data[0].effective | bit :
				       data[0].effective & ~bit;
	assert_int_equal(syscall(SYS_capset, &header, data), 0);
}

static void eviction_makes_room(void **state)
{
	struct fixture *f = *state;
	struct rlimit before, limit;
	struct ummu_region *region, *none;
	void *other = pages_map(NULL, LENGTH);

	assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &before), 0);
	limit = before;
	limit.rlim_cur = (rlim_t)f->pinned * 1024 + LENGTH + LENGTH / 2;
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
	set_effective(false);

	ummu_rcache_put(f->cache, get(f, f->buffer, 0));
	region = get(f, other, 0); /* evicts the first */
	assert_int_equal(ummu_rcache_get(f->cache, f->buffer, LENGTH, 0, &none),
			 -ENOMEM);
	assert_int_equal(stats_of(f).evictions, 1);
	ummu_rcache_put(f->cache, region);

	set_effective(true);
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &before), 0);
	munmap(other, LENGTH);
}

static bool there_is_an_adapter(void)
{
	struct rdma_link link;
	int ret = rdma_link_open(NULL, &link);

	if (ret == -ENODEV)
		return false;
	if (!ret)
		rdma_link_close(&link);
	return true;
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, open_fixture, close_fixture)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(registers_and_deregisters),
		TEST(remapped_memory_is_registered_anew),
		TEST(old_region_reads_old_pages),
		cmocka_unit_test(rights_decide_who_shares),
		TEST(more_rights_register_again),
		TEST(on_demand_is_refused),
		TEST(refusal_is_told),
		TEST(eviction_makes_room),
	};

	if (!there_is_an_adapter()) {
		printf("no RDMA adapter here\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
