/* SPDX-License-Identifier: MIT */
/*
 * invalidate-while-registering.c - registrations that race with the unmap of
 * their range (G2), with pins that are real.
 *
 * One thread keeps mapping a range anew and writes a new number into each
 * page; others keep registering it as io_uring buffers all the while.  A get
 * that begins after a new mapping is there must give a buffer that holds the
 * new numbers, as the kernel itself reads them through the pinned pages.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <ummunotify/pin-uring.h>

#include "run.h"

#define ROUNDS 6000
#define SECONDS 20.0 /* at the most: emulated machines are slow */
#define PAGES 16
#define REGISTRARS 2
#define LONGEST_US 60 /* about as long as a registration takes */
#define SLOTS 64

struct scene {
	struct ummu_monitor *monitor;
	struct ummu_rcache *rcache;
	struct io_uring ring;
	struct ummu_pin_uring *pin;
	size_t page, length;
	char *range;
	int file;
	char *copy;
	bool stop;
	/* Of the registrars (atomic). */
	uint64_t got, faulted, again, failed;
	int failure;
};

static void die(const char *what, int error)
{
	fprintf(stderr, "%s: %s (%s)\n", what, strerror(-error),
		ummu_monitor_explain());
	exit(1);
}

static void count(uint64_t *counter)
{
	__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

/* Registers what another thread unmaps under it; never looks at the memory. */
static void *keep_registering(void *argument)
{
	struct scene *scene = argument;
	struct ummu_region *region;
	int error;

	while (!__atomic_load_n(&scene->stop, __ATOMIC_RELAXED)) {
		error = ummu_rcache_get(scene->rcache, scene->range,
					scene->length, 0, &region);
		switch (error) {
		case 0:
			count(&scene->got);
			ummu_rcache_put(scene->rcache, region);
			break;
		case -EFAULT: /* unmapped at the moment */
			count(&scene->faulted);
			break;
		case -EAGAIN:
			count(&scene->again);
			break;
		default:
			__atomic_store_n(&scene->failure, error,
					 __ATOMIC_RELAXED);
			count(&scene->failed);
		}
	}
	return NULL;
}

static void map_anew(struct scene *scene, uint64_t number)
{
	char *mapped = mmap(scene->range, scene->length, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
			    -1, 0);

	if (mapped != scene->range)
		die("mmap", -errno);
	for (size_t i = 0; i < PAGES; i++)
		*(uint64_t *)(mapped + i * scene->page) = number + i;
}

/* Has the kernel copy the pinned pages out. */
static void read_through(struct scene *scene, const struct ummu_region *region)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&scene->ring);
	struct io_uring_cqe *cqe;
	int result;

	io_uring_prep_write_fixed(sqe, scene->file, scene->range,
				  (unsigned int)scene->length, 0,
				  (int)region->handle.number);
	io_uring_submit(&scene->ring);
	do {
		result = io_uring_wait_cqe(&scene->ring, &cqe);
	} while (result == -EINTR);
	if (result)
		die("io_uring_wait_cqe", result);
	if (cqe->res != (int)scene->length)
		die("WRITE_FIXED", cqe->res < 0 ? cqe->res : -EIO);
	io_uring_cqe_seen(&scene->ring, cqe);
	if (pread(scene->file, scene->copy, scene->length, 0) !=
	    (ssize_t)scene->length)
		die("pread", -errno);
}

static unsigned int wrong_pages(const struct scene *scene, uint64_t number)
{
	unsigned int wrong = 0;

	for (size_t i = 0; i < PAGES; i++)
		wrong += *(uint64_t *)(scene->copy + i * scene->page) !=
			 number + i;
	return wrong;
}

/* What the remapping thread saw. */
struct tally {
	unsigned int checked, cached, again, wrong_pages;
};

/* Somebody begins to register it, and may or may not be done. */
static void unmap_again_soon(struct scene *scene, uint64_t *random,
			     uint64_t number)
{
	double until;

	map_anew(scene, number);
	until = run_seconds() +
		(double)(run_random(random) % LONGEST_US) * 1e-6;
	while (run_seconds() < until)
		;
	munmap(scene->range, scene->length);
}

static void keep_remapping(struct scene *scene, struct tally *tally)
{
	double end = run_seconds() + SECONDS * (getenv("UMMU_LONG") ? 10 : 1);
	unsigned int rounds = run_scaled(ROUNDS);
	struct ummu_region *region;
	uint64_t random = run_seed(), number = 1;
	int error;

	for (unsigned int i = 0; i < rounds && run_seconds() < end;
	     i++, number += 2 * PAGES) {
		unmap_again_soon(scene, &random, number + PAGES);
		map_anew(scene, number);
		error = ummu_rcache_get(scene->rcache, scene->range,
					scene->length, 0, &region);
		if (error && error != -EAGAIN)
			die("get", error);
		if (!error) {
			read_through(scene, region);
			tally->wrong_pages += wrong_pages(scene, number);
			tally->cached += region->cached;
			tally->checked++;
			ummu_rcache_put(scene->rcache, region);
		} else {
			tally->again++;
		}
		munmap(scene->range, scene->length);
	}
}

static void skip(const char *what, int error)
{
	printf("skipped: %s: %s\n", what, strerror(-error));
	exit(77);
}

static void set_up(struct scene *scene)
{
	int error;

	memset(scene, 0, sizeof(*scene));
	scene->page = (size_t)sysconf(_SC_PAGESIZE);
	scene->length = PAGES * scene->page;
	scene->file = memfd_create("copy", MFD_CLOEXEC);
	scene->copy = malloc(scene->length);
	/* In the middle of a hole, where nothing else will be mapped soon. */
	scene->range = mmap(NULL, (size_t)1 << 30, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (scene->file < 0 || !scene->copy || scene->range == MAP_FAILED)
		die("set up", -errno);
	munmap(scene->range, (size_t)1 << 30);
	scene->range += (size_t)1 << 29;

	error = ummu_monitor_open(NULL, &scene->monitor);
	if (error)
		skip(ummu_monitor_explain(), error);
	error = io_uring_queue_init(4, &scene->ring, 0);
	if (error)
		skip("io_uring", error);
	error = ummu_pin_uring_create(&scene->ring, SLOTS, &scene->pin);
	if (error)
		skip("a sparse buffer table", error);
	error = ummu_rcache_create(scene->monitor, &ummu_pin_uring_ops,
				   scene->pin, NULL, &scene->rcache);
	if (error)
		die("cache", error);
}

static void tear_down(struct scene *scene)
{
	ummu_rcache_destroy(scene->rcache);
	ummu_pin_uring_destroy(scene->pin);
	io_uring_queue_exit(&scene->ring);
	ummu_monitor_close(scene->monitor);
	close(scene->file);
	free(scene->copy);
}

static void print(const struct scene *scene, const struct tally *tally)
{
	struct ummu_rcache_stats stats = { .size = sizeof(stats) };

	ummu_rcache_stats(scene->rcache, &stats);
	printf("remapped and read through the pin %u times: %u through cached regions, %u EAGAIN, %u wrong pages\n",
	       tally->checked, tally->cached, tally->again, tally->wrong_pages);
	printf("meanwhile: %llu gets, %llu EFAULT, %llu EAGAIN, %llu failed otherwise (%d)\n",
	       (unsigned long long)scene->got,
	       (unsigned long long)scene->faulted,
	       (unsigned long long)scene->again,
	       (unsigned long long)scene->failed, scene->failure);
	printf("cache: %llu hits, %llu registrations, %llu retries, %llu uncached\n",
	       (unsigned long long)stats.hits,
	       (unsigned long long)stats.registrations,
	       (unsigned long long)stats.retries,
	       (unsigned long long)stats.uncached);
}

int main(void)
{
	pthread_t registrars[REGISTRARS];
	struct tally tally = { 0 };
	struct scene scene;

	run_limit(250);
	set_up(&scene);
	for (int i = 0; i < REGISTRARS; i++)
		if (pthread_create(&registrars[i], NULL, keep_registering,
				   &scene))
			die("pthread_create", -errno);
	keep_remapping(&scene, &tally);
	__atomic_store_n(&scene.stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < REGISTRARS; i++)
		pthread_join(registrars[i], NULL);
	print(&scene, &tally);
	tear_down(&scene);
	return tally.wrong_pages || !tally.cached || scene.failed;
}
