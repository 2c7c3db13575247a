/* SPDX-License-Identifier: MIT */
/*
 * pin-both.c - one buffer, registered with an RDMA adapter, an io_uring and a
 * CUDA device from three caches of one process: all are told.
 *
 * The bytes are the oracle for the first two: the adapter sends what its pages
 * hold, and the ring writes what its pages hold to a file.  CUDA is a stand-in,
 * which keeps count.  Skipped without an adapter.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>
#include <liburing.h>

#include <ummunotify/pin-cuda.h>
#include <ummunotify/pin-uring.h>
#include <ummunotify/pin-verbs.h>

#include "tests/pages.h"
#include "tests/standin/cuda.h"
#include "tools/rdma/link.h"

#define LENGTH ((size_t)64 * 1024)
#define ROUNDS 50

enum { VERBS, URING, CUDA, CACHES };

static struct rdma_link adapter;
static struct io_uring ring;
static struct ummu_monitor *monitors[CACHES];
static struct ummu_rcache *caches[CACHES];
static struct ummu_pin_uring *uring;
static struct ummu_pin_cuda *cuda;
static unsigned char *buffer, *inbox;
static struct ibv_mr *window;
static int file;

static void open_cache(int which, const struct ummu_rcache_ops *ops, void *ctx)
{
	struct ummu_monitor_opts opts = {
		.size = sizeof(opts),
		.backend = "kmod",
	};

	assert_int_equal(ummu_monitor_open(&opts, &monitors[which]), 0);
	assert_int_equal(ummu_rcache_create(monitors[which], ops, ctx, NULL,
					    &caches[which]),
			 0);
}

static int open_all(void **state)
{
	(void)state;
	assert_int_equal(rdma_link_connect(&adapter, &adapter.end), 0);
	assert_int_equal(io_uring_queue_init(4, &ring, 0), 0);
	assert_int_equal(ummu_pin_uring_create(&ring, 4, &uring), 0);
	assert_int_equal(ummu_pin_cuda_create(0, &cuda), 0);
	open_cache(VERBS, &ummu_pin_verbs_ops, adapter.domain);
	open_cache(URING, &ummu_pin_uring_ops, uring);
	open_cache(CUDA, &ummu_pin_cuda_ops, cuda);
	file = memfd_create("pin-both", MFD_CLOEXEC);
	assert_true(file >= 0);
	buffer = pages_map(NULL, LENGTH);
	inbox = pages_map(NULL, LENGTH);
	window = ibv_reg_mr(adapter.domain, inbox, LENGTH,
			    IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
	assert_non_null(window);
	return 0;
}

static int close_all(void **state)
{
	int i;

	(void)state;
	for (i = 0; i < CACHES; i++)
		ummu_rcache_destroy(caches[i]);
	ummu_pin_cuda_destroy(cuda);
	ummu_pin_uring_destroy(uring);
	for (i = 0; i < CACHES; i++)
		ummu_monitor_close(monitors[i]);
	ibv_dereg_mr(window);
	rdma_link_close(&adapter);
	io_uring_queue_exit(&ring);
	close(file);
	return 0;
}

static void get_all(struct ummu_region **regions)
{
	int i;

	for (i = 0; i < CACHES; i++) {
		assert_int_equal(ummu_rcache_get(caches[i], buffer, LENGTH, 0,
						 &regions[i]),
				 0);
		assert_true(regions[i]->cached);
	}
}

static void put_all(struct ummu_region **regions)
{
	int i;

	for (i = 0; i < CACHES; i++)
		ummu_rcache_put(caches[i], regions[i]);
}

static bool arrived(unsigned char byte)
{
	size_t i;

	for (i = 0; i < LENGTH; i++)
		if (inbox[i] != byte)
			return false;
	return true;
}

static bool adapter_reads(const struct ummu_region *region, unsigned char byte)
{
	struct rdma_place from = { (uintptr_t)buffer,
				   ummu_pin_verbs_mr(region)->lkey };
	struct rdma_place to = { (uintptr_t)inbox, window->rkey };
	const char *reason = "";

	memset(inbox, 0, LENGTH);
	assert_int_equal(rdma_link_write(&adapter, &from, &to, LENGTH, &reason),
			 0);
	return arrived(byte);
}

static bool ring_reads(const struct ummu_region *region, unsigned char byte)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
	struct io_uring_cqe *cqe;

	io_uring_prep_write_fixed(sqe, file, buffer, LENGTH, 0,
				  (int)region->handle.number);
	assert_int_equal(io_uring_submit(&ring), 1);
	assert_int_equal(io_uring_wait_cqe(&ring, &cqe), 0);
	assert_int_equal(cqe->res, LENGTH);
	io_uring_cqe_seen(&ring, cqe);
	memset(inbox, 0, LENGTH);
	assert_int_equal(pread(file, inbox, LENGTH, 0), LENGTH);
	return arrived(byte);
}

static uint64_t registrations_of(int which)
{
	struct ummu_rcache_stats stats = { .size = sizeof(stats) };

	assert_int_equal(ummu_rcache_stats(caches[which], &stats), 0);
	return stats.registrations;
}

static void all_are_told(void **state)
{
	struct ummu_region *regions[CACHES];
	unsigned char i;
	int which;

	(void)state;
	for (i = 1; i <= ROUNDS; i++) {
		memset(buffer, i, LENGTH);
		get_all(regions);
		put_all(regions);
		get_all(regions);
		assert_true(adapter_reads(regions[VERBS], i));
		assert_true(ring_reads(regions[URING], i));
		assert_int_equal(ummu_pin_cuda_device(regions[CUDA]),
				 (uintptr_t)buffer + STANDIN_SHIFT);
		for (which = 0; which < CACHES; which++)
			assert_int_equal(registrations_of(which), i);
		put_all(regions);
		munmap(buffer, LENGTH);
		pages_map(buffer, LENGTH);
	}
}

/* That the test above could fail. */
static void old_regions_read_old_pages(void **state)
{
	struct ummu_region *regions[CACHES];
	int which;

	(void)state;
	memset(buffer, 1, LENGTH);
	get_all(regions);
	munmap(buffer, LENGTH);
	pages_map(buffer, LENGTH);
	memset(buffer, 2, LENGTH);
	for (which = 0; which < CACHES; which++)
		assert_false(ummu_region_valid(regions[which]));
	assert_true(adapter_reads(regions[VERBS], 1));
	assert_true(ring_reads(regions[URING], 1));
	put_all(regions);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_are_told),
		cmocka_unit_test(old_regions_read_old_pages),
	};

	if (rdma_link_open(NULL, &adapter)) {
		printf("no RDMA adapter here\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, open_all, close_all);
}
