/* SPDX-License-Identifier: MIT */
/*
 * main.c - bench-rdma: what a message over RDMA takes by its size, with memory
 * that is registered for each, with the registration cache, and for good.
 *
 * Prints a line for each size: bytes, then for each way the median and the
 * quartiles, in microseconds.  The three take turns, so that they meet the same
 * weather.  Ends with 77 where there is no adapter.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <ummunotify/pin-verbs.h>

#include "tools/rdma/link.h"

#define SMALLEST ((size_t)4 * 1024)
#define LARGEST ((size_t)1024 * 1024)
#define SAMPLES 41
#define WARM 2

#define ACCESS (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE)

static struct rdma_link adapter;
static struct ummu_rcache *cache;
static unsigned char *buffer, *inbox;
static struct ibv_mr *window, *whole;

static void fail(const char *what, int error)
{
	fprintf(stderr, "bench-rdma: %s: %s\n", what, strerror(-error));
	exit(1);
}

static void send_with(const struct ibv_mr *mr, size_t length)
{
	struct rdma_place from = { (uintptr_t)buffer, mr->lkey };
	struct rdma_place to = { (uintptr_t)inbox, window->rkey };
	const char *reason = "";
	int error;

	error = rdma_link_write(&adapter, &from, &to, (uint32_t)length, &reason);
	if (error)
		fail(*reason ? reason : "send", error);
}

static void send_registered_each_time(size_t length)
{
	struct ibv_mr *mr = ibv_reg_mr(adapter.domain, buffer, length, ACCESS);

	if (!mr)
		fail("ibv_reg_mr", -errno);
	send_with(mr, length);
	ibv_dereg_mr(mr);
}

static void send_cached(size_t length)
{
	struct ummu_region *region;
	int error = ummu_rcache_get(cache, buffer, length, ACCESS, &region);

	if (error)
		fail("ummu_rcache_get", error);
	send_with(ummu_pin_verbs_mr(region), length);
	ummu_rcache_put(cache, region);
}

static void send_registered_for_good(size_t length)
{
	send_with(whole, length);
}

static void (*const ways[])(size_t length) = {
	send_registered_each_time,
	send_cached,
	send_registered_for_good,
};

#define WAYS (sizeof(ways) / sizeof(*ways))

static double now_us(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void measure(size_t length)
{
	double samples[WAYS][SAMPLES], start;
	size_t way;
	int i;

	for (i = -WARM; i < SAMPLES; i++)
		for (way = 0; way < WAYS; way++) {
			start = now_us();
			ways[way](length);
			if (i >= 0)
				samples[way][i] = now_us() - start;
		}
	printf("%zu", length);
	for (way = 0; way < WAYS; way++) {
		qsort(samples[way], SAMPLES, sizeof(double), compare);
		printf(" %.1f %.1f %.1f", samples[way][SAMPLES / 2],
		       samples[way][SAMPLES / 4],
		       samples[way][SAMPLES - 1 - SAMPLES / 4]);
	}
	printf("\n");
	fflush(stdout);
}

static unsigned char *map(void)
{
	void *addr = mmap(NULL, LARGEST, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (addr == MAP_FAILED)
		fail("mmap", -errno);
	memset(addr, 1, LARGEST);
	return addr;
}

static void check(const char *what, int error)
{
	if (error)
		fail(what, error);
}

int main(void)
{
	struct ummu_monitor *monitor;
	size_t length;
	int error = rdma_link_open(NULL, &adapter);

	if (error == -ENODEV) {
		fprintf(stderr, "bench-rdma: no RDMA adapter here\n");
		return 77;
	}
	check("adapter", error);
	check("connect", rdma_link_connect(&adapter, &adapter.end));
	check("monitor", ummu_monitor_open(NULL, &monitor));
	check("cache", ummu_rcache_create(monitor, &ummu_pin_verbs_ops,
					  adapter.domain, NULL, &cache));
	buffer = map();
	inbox = map();
	window = ibv_reg_mr(adapter.domain, inbox, LARGEST, ACCESS);
	whole = ibv_reg_mr(adapter.domain, buffer, LARGEST, ACCESS);
	if (!window || !whole)
		fail("ibv_reg_mr", -errno);

	printf("# backend %s, %d samples: median, quartiles, in us\n",
	       ummu_monitor_backend(monitor), SAMPLES);
	for (length = SMALLEST; length <= LARGEST; length *= 2)
		measure(length);

	ummu_rcache_destroy(cache);
	ummu_monitor_close(monitor);
	ibv_dereg_mr(window);
	ibv_dereg_mr(whole);
	rdma_link_close(&adapter);
	return 0;
}
