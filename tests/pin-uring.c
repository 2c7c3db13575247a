/* SPDX-License-Identifier: MIT */
/*
 * pin-uring.c - tests the io_uring pinner under a real cache, with real I/O.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <ummunotify/pin-uring.h>

#include "pages.h"

#define LENGTH ((size_t)64 * 1024)
#define SLOTS 4

struct fixture {
	struct io_uring ring;
	struct ummu_monitor *monitor;
	struct ummu_pin_uring *pin;
	struct ummu_rcache *cache;
	unsigned char *buffer; /* LENGTH bytes each */
	unsigned char *other;
	long pinned; /* KiB before the test */
};

/* At @where if that is free: another thread may be faster. */
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

/* Kernels before 6.4 unpin up to a second later. */
static void expect_pinned(const struct fixture *f, size_t bytes)
{
	const struct timespec moment = { .tv_nsec = 10 * 1000 * 1000 };
	long kib = f->pinned + (long)(bytes / 1024);
	int tries;

	for (tries = 0; tries < 300 && pinned_kib() != kib; tries++)
		nanosleep(&moment, NULL);
	assert_int_equal(pinned_kib(), kib);
}

struct setup {
	unsigned int flags;
	unsigned int slots;
};

static struct setup one_slot = { 0, 1 };
static struct setup four_slots = { 0, SLOTS };
static struct setup most_slots = { 0, 16384 };
static struct setup one_slot_of_the_owner = {
	IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, 1
};

static int open_fixture(void **state)
{
	const struct setup *setup = *state;
	struct fixture *f = calloc(1, sizeof(*f));
	int ret;

	*state = f;
	if (!f)
		return -1;
	ret = io_uring_queue_init(8, &f->ring, setup->flags);
	if (!ret)
		ret = ummu_monitor_open(NULL, &f->monitor);
	if (!ret)
		ret = ummu_pin_uring_create(&f->ring, setup->slots, &f->pin);
	if (!ret)
		ret = ummu_rcache_create(f->monitor, &ummu_pin_uring_ops,
					 f->pin, NULL, &f->cache);
	f->buffer = pages_map(NULL, LENGTH);
	f->other = pages_map(NULL, LENGTH);
	f->pinned = pinned_kib();
	return ret;
}

static int close_fixture(void **state)
{
	struct fixture *f = *state;

	ummu_rcache_destroy(f->cache);
	ummu_pin_uring_destroy(f->pin);
	ummu_monitor_close(f->monitor);
	io_uring_queue_exit(&f->ring);
	munmap(f->buffer, LENGTH);
	munmap(f->other, LENGTH);
	free(f);
	return 0;
}

static struct ummu_region *get(struct fixture *f, void *addr)
{
	struct ummu_region *region;

	assert_int_equal(ummu_rcache_get(f->cache, addr, LENGTH, 0, &region), 0);
	return region;
}

static int refused(struct fixture *f, void *addr)
{
	struct ummu_region *region = NULL;
	int ret = ummu_rcache_get(f->cache, addr, LENGTH, 0, &region);

	assert_null(region);
	return ret;
}

static uint64_t evictions(const struct fixture *f)
{
	struct ummu_rcache_stats stats = { .size = sizeof(stats) };

	assert_int_equal(ummu_rcache_stats(f->cache, &stats), 0);
	return stats.evictions;
}

static int file_of(unsigned char byte)
{
	static unsigned char contents[LENGTH];
	int fd = memfd_create("pin-uring", MFD_CLOEXEC);

	assert_true(fd >= 0);
	memset(contents, byte, sizeof(contents));
	assert_int_equal(write(fd, contents, LENGTH), LENGTH);
	return fd;
}

/* READ_FIXED through a region; the result of the completion. */
static int read_fixed(struct fixture *f, const struct ummu_region *region,
		      void *to, int fd)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&f->ring);
	struct io_uring_cqe *cqe;
	int result;

	io_uring_prep_read_fixed(sqe, fd, to, LENGTH, 0,
				 (int)region->handle.number);
	assert_int_equal(io_uring_submit_and_wait(&f->ring, 1), 1);
	assert_int_equal(io_uring_wait_cqe(&f->ring, &cqe), 0);
	result = cqe->res;
	io_uring_cqe_seen(&f->ring, cqe);
	return result;
}

static void assert_filled(const unsigned char *buffer, unsigned char byte)
{
	size_t i;

	for (i = 0; i < LENGTH; i++)
		assert_int_equal(buffer[i], byte);
}

static void create_refuses(void **state)
{
	struct ummu_pin_uring *pin = NULL;
	struct fixture *f = *state;

	assert_int_equal(ummu_pin_uring_create(&f->ring, 0, &pin), -EINVAL);
	assert_int_equal(ummu_pin_uring_create(&f->ring, 16385, &pin), -EINVAL);
	assert_int_equal(ummu_pin_uring_create(&f->ring, SLOTS, &pin), -EBUSY);
	assert_null(pin);
	ummu_pin_uring_destroy(NULL);
}

static void pins_and_reads(void **state)
{
	struct fixture *f = *state;
	struct ummu_region *region = get(f, f->buffer);
	int fd = file_of(7);

	expect_pinned(f, LENGTH);
	assert_int_equal(read_fixed(f, region, f->buffer, fd), LENGTH);
	assert_filled(f->buffer, 7);
	ummu_rcache_put(f->cache, region);

	assert_int_equal(ummu_rcache_flush(f->cache, true), 1);
	expect_pinned(f, 0);
	close(fd);
}

static void any_access_hits(void **state)
{
	struct fixture *f = *state;
	struct ummu_region *region = get(f, f->buffer), *other;

	assert_int_equal(ummu_rcache_get(f->cache, f->buffer, LENGTH, 6, &other),
			 0);
	assert_ptr_equal(region, other);
	ummu_rcache_put(f->cache, region);
	ummu_rcache_put(f->cache, other);
}

static void reads_into_new_pages(void **state)
{
	struct fixture *f = *state;
	struct ummu_region *region;
	int old = file_of(1), new = file_of(2), i;

	for (i = 0; i < 100; i++) {
		region = get(f, f->buffer);
		read_fixed(f, region, f->buffer, old);
		ummu_rcache_put(f->cache, region);
		assert_filled(f->buffer, 1);

		munmap(f->buffer, LENGTH);
		f->buffer = pages_map(f->buffer, LENGTH);
		region = get(f, f->buffer);
		read_fixed(f, region, f->buffer, new);
		ummu_rcache_put(f->cache, region);
		assert_filled(f->buffer, 2);
	}
	close(old);
	close(new);
}

static void eviction_gives_slots_back(void **state)
{
	struct ummu_region *regions[SLOTS];
	struct fixture *f = *state;
	void *buffers[SLOTS];
	int i, j;

	for (i = 0; i < SLOTS; i++) {
		buffers[i] = pages_map(NULL, LENGTH);
		regions[i] = get(f, buffers[i]);
		for (j = 0; j < i; j++)
			assert_int_not_equal(regions[i]->handle.number,
					     regions[j]->handle.number);
	}
	assert_int_equal(refused(f, f->buffer), -ENOBUFS);
	assert_int_equal(evictions(f), 0);

	ummu_rcache_put(f->cache, regions[2]);
	regions[2] = get(f, f->buffer);
	assert_int_equal(evictions(f), 1);
	for (i = 0; i < SLOTS; i++) {
		ummu_rcache_put(f->cache, regions[i]);
		munmap(buffers[i], LENGTH);
	}
}

/* A request in flight keeps the old buffer although its slot has another. */
static void emptied_slot_is_reused(void **state)
{
	struct fixture *f = *state;
	struct ummu_region *region = get(f, f->buffer);
	uint64_t slot = region->handle.number;
	struct io_uring_cqe *cqe;
	int pipe_fds[2];

	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	io_uring_prep_read_fixed(io_uring_get_sqe(&f->ring), pipe_fds[0],
				 f->buffer, 1, 0, (int)slot);
	assert_int_equal(io_uring_submit(&f->ring), 1);

	/* Too early: the program has to put after the completion. */
	ummu_rcache_put(f->cache, region);
	region = get(f, f->other);
	assert_int_equal(region->handle.number, slot);

	assert_int_equal(write(pipe_fds[1], "x", 1), 1);
	assert_int_equal(io_uring_wait_cqe(&f->ring, &cqe), 0);
	assert_int_equal(cqe->res, 1);
	io_uring_cqe_seen(&f->ring, cqe);
	assert_int_equal(f->buffer[0], 'x');
	assert_int_equal(f->other[0], 0);
	ummu_rcache_put(f->cache, region);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

static void refused_emptying_keeps_the_slot(void **state)
{
	struct fixture *f = *state;
	int ring_fd = f->ring.ring_fd;

	ummu_rcache_put(f->cache, get(f, f->buffer));

	f->ring.ring_fd = -1; /* the kernel now refuses every update */
	assert_int_equal(ummu_rcache_flush(f->cache, true), 1);
	assert_int_equal(refused(f, f->other), -ENOBUFS);
	assert_int_equal(ummu_pin_uring_service(f->pin), 0);

	f->ring.ring_fd = ring_fd;
	ummu_rcache_put(f->cache, get(f, f->other));
}

/* What another thread does on a ring that only its owner may enter. */
struct stranger {
	struct fixture *f;
	struct ummu_region *put;
	void *addr;
	int got;
	int serviced;
};

static void *visit(void *arg)
{
	struct stranger *stranger = arg;
	struct ummu_region *region = NULL;

	if (stranger->put)
		ummu_rcache_put(stranger->f->cache, stranger->put);
	if (stranger->addr)
		stranger->got = ummu_rcache_get(stranger->f->cache,
						stranger->addr, LENGTH, 0,
						&region);
	if (region)
		ummu_rcache_put(stranger->f->cache, region);
	stranger->serviced = ummu_pin_uring_service(stranger->f->pin);
	return NULL;
}

static void let_visit(struct stranger *stranger)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, visit, stranger), 0);
	pthread_join(thread, NULL);
}

/* The last put, after the memory is gone, is in another thread. */
static struct stranger retired_by_another(struct fixture *f)
{
	struct stranger stranger = { .f = f, .put = get(f, f->buffer) };

	munmap(f->buffer, LENGTH);
	let_visit(&stranger);
	f->buffer = pages_map(NULL, LENGTH);
	return stranger;
}

static void only_the_owner_registers(void **state)
{
	struct fixture *f = *state;
	struct stranger stranger = { .f = f, .addr = f->buffer };

	let_visit(&stranger);
	assert_int_equal(stranger.got, -EXDEV);
	assert_int_equal(stranger.serviced, -EXDEV);

	/* What is registered, others may use. */
	ummu_rcache_put(f->cache, get(f, f->buffer));
	let_visit(&stranger);
	assert_int_equal(stranger.got, 0);
}

static void owner_empties_what_others_retire(void **state)
{
	struct fixture *f = *state;

	retired_by_another(f);
	assert_int_equal(pinned_kib(), f->pinned + (long)LENGTH / 1024);
	assert_int_equal(ummu_pin_uring_service(f->pin), 1);
	assert_int_equal(ummu_pin_uring_service(f->pin), 0);
	expect_pinned(f, 0);

	/* The owner's next registration does the same. */
	retired_by_another(f);
	ummu_rcache_put(f->cache, get(f, f->other));
	assert_int_equal(ummu_pin_uring_service(f->pin), 0);
	expect_pinned(f, LENGTH);
}

static void anyone_empties_on_a_shared_ring(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(retired_by_another(f).serviced, 0);
	expect_pinned(f, 0);
}

static void child_leaves_the_ring_alone(void **state)
{
	struct fixture *f = *state;
	struct ummu_region *region = get(f, f->buffer);
	int fd = file_of(9), status;
	pid_t child;

	child = fork();
	if (!child) {
		ummu_rcache_destroy(f->cache);
		ummu_pin_uring_destroy(f->pin);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(read_fixed(f, region, f->buffer, fd), LENGTH);
	assert_filled(f->buffer, 9);
	ummu_rcache_put(f->cache, region);
	close(fd);
}

#define TEST(function, setup)                                            \
	cmocka_unit_test_prestate_setup_teardown(function, open_fixture, \
						 close_fixture, &(setup))

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(create_refuses, most_slots),
		TEST(pins_and_reads, four_slots),
		TEST(any_access_hits, most_slots),
		TEST(reads_into_new_pages, four_slots),
		TEST(eviction_gives_slots_back, four_slots),
		TEST(emptied_slot_is_reused, one_slot),
		TEST(refused_emptying_keeps_the_slot, one_slot),
		TEST(only_the_owner_registers, one_slot_of_the_owner),
		TEST(owner_empties_what_others_retire, one_slot_of_the_owner),
		TEST(anyone_empties_on_a_shared_ring, one_slot),
		TEST(child_leaves_the_ring_alone, four_slots),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
