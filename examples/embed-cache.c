/* SPDX-License-Identifier: MIT */
/*
 * embed-cache.c - a program with io_uring that embeds the registration cache.
 *
 * All that the cache needs stands between the two marks; the rest is the
 * program.  It reads half of a file into a buffer, unmaps the buffer, maps it
 * again at the same address and reads the other half.  With a cache by address
 * that nobody tells, the second half would land in pages that are gone.
 *
 * cc embed-cache.c $(pkg-config --cflags --libs libummunotify-uring liburing)
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HALF (256 * 1024)

static void check(const char *what, int error)
{
	if (error >= 0)
		return;
	fprintf(stderr, "%s: %s\n", what, strerror(-error));
	exit(1);
}

/* Reads into a buffer that the ring knows as number @slot. */
static void read_fixed(struct io_uring *ring, int fd, off_t offset, void *to,
		       uint64_t slot)
{
	struct io_uring_cqe *cqe;

	io_uring_prep_read_fixed(io_uring_get_sqe(ring), fd, to, HALF,
				 (uint64_t)offset, (int)slot);
	check("submit", io_uring_submit_and_wait(ring, 1));
	check("wait", io_uring_wait_cqe(ring, &cqe));
	check("read", cqe->res == HALF ? 0 : -EIO);
	io_uring_cqe_seen(ring, cqe);
}

/* ummu: begin */
#include <ummunotify/pin-uring.h>

static struct ummu_monitor *monitor; /* learns that memory went away */
static struct ummu_pin_uring *pin;   /* registers buffers with the ring */
static struct ummu_rcache *cache;    /* keeps them, while they are right */

static void cache_open(struct io_uring *ring)
{
	check("monitor", ummu_monitor_open(NULL, &monitor));
	check("pinner", ummu_pin_uring_create(ring, 64, &pin));
	check("cache", ummu_rcache_create(monitor, &ummu_pin_uring_ops, pin,
					  NULL, &cache));
}

static void cached_read(struct io_uring *ring, int fd, off_t offset, void *to)
{
	struct ummu_region *region;

	check("get", ummu_rcache_get(cache, to, HALF, 0, &region));
	read_fixed(ring, fd, offset, to, region->handle.number);
	ummu_rcache_put(cache, region);
}

static void cache_close(void)
{
	ummu_rcache_destroy(cache);
	ummu_pin_uring_destroy(pin);
	ummu_monitor_close(monitor);
}
/* ummu: end */

static int make_file(void)
{
	char name[] = "/tmp/embed-cache-XXXXXX";
	static char contents[2 * HALF];
	int fd = mkstemp(name);

	check("mkstemp", fd < 0 ? -errno : 0);
	unlink(name);
	memset(contents, 'a', HALF);
	memset(contents + HALF, 'b', HALF);
	if (write(fd, contents, sizeof(contents)) != sizeof(contents))
		check("write", -EIO);
	return fd;
}

/* At @where if that is free: another thread may be faster. */
static char *map_at(void *where)
{
	char *buffer = mmap(where, HALF, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	check("mmap", buffer == MAP_FAILED ? -errno : 0);
	return buffer;
}

static void expect(const char *buffer, char letter)
{
	size_t i;

	for (i = 0; i < HALF && buffer[i] == letter; i++)
		;
	if (i < HALF) {
		fprintf(stderr, "byte %zu is wrong\n", i);
		exit(1);
	}
	printf("%d bytes of '%c', as in the file\n", HALF, letter);
}

int main(void)
{
	struct io_uring ring;
	char *buffer;
	int fd = make_file();

	check("io_uring", io_uring_queue_init(8, &ring, 0));
	cache_open(&ring);

	buffer = map_at(NULL);
	cached_read(&ring, fd, 0, buffer); /* registers */
	cached_read(&ring, fd, 0, buffer); /* finds it registered */
	expect(buffer, 'a');

	munmap(buffer, HALF); /* the cache is not told, and knows */
	buffer = map_at(buffer);
	cached_read(&ring, fd, HALF, buffer); /* registers again */
	expect(buffer, 'b');

	munmap(buffer, HALF);
	cache_close();
	io_uring_queue_exit(&ring);
	close(fd);
	return 0;
}
