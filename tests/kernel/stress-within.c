/* SPDX-License-Identifier: MIT */
/*
 * stress-within.c - loaded into any program, watches all of its memory: and
 * that of its children, which have descriptors of their own.
 *
 * It reads nothing: what is hit stays pending, or spent.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/ummunotify.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Of an address space of 47 bits, but for its last page. */
#define END (1ULL << 47)
#define PARTS 64

/* A descriptor for each language; 0: none. */
static int fds[2];

static void watch_some(int fd)
{
	struct ummunotify_setup setup = {
		.size = sizeof(setup),
		.magic = UMMUNOTIFY_SETUP_MAGIC,
	};
	struct ummunotify_watch watches[PARTS];
	struct ummunotify_batch batch = {
		.entries = (uintptr_t)watches,
		.count = PARTS,
	};

	for (uint64_t i = 0; i < PARTS; i++)
		watches[i] = (struct ummunotify_watch){
			.start = i * (END / PARTS),
			.end = (i + 1) * (END / PARTS),
		};
	watches[PARTS - 1].end -= 4096;
	if (!ioctl(fd, UMMUNOTIFY_SETUP, &setup))
		ioctl(fd, UMMUNOTIFY_WATCH, &batch);
}

static void watch_all(void)
{
	struct ummunotify_register_ioctl all = { .end = ~0ULL };
	int saved = errno;

	for (int i = 0; i < 2; i++) {
		/* Its parent's. */
		if (fds[i])
			close(fds[i]);
		fds[i] = open("/dev/ummunotify", O_RDONLY | O_CLOEXEC);
		if (fds[i] < 0)
			fds[i] = 0;
	}
	if (fds[0])
		ioctl(fds[0], UMMUNOTIFY_REGISTER_REGION, &all);
	if (fds[1])
		watch_some(fds[1]);
	errno = saved;
}

__attribute__((constructor)) static void begin(void)
{
	watch_all();
	pthread_atfork(NULL, NULL, watch_all);
}
