/* SPDX-License-Identifier: MIT */
/* frames.c - which physical pages are mapped, as /proc/self/pagemap says. */
#define _GNU_SOURCE
#include "frames.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PRESENT (1ULL << 63)
#define FRAME ((1ULL << 55) - 1)
#define HIDDEN 1 /* who is not root sees 0 for the frame of every page */

/* A child of fork() has to open its own. */
static int pagemap(void)
{
	static pid_t process;
	static int fd;

	if (process != getpid()) {
		fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
		if (fd < 0) {
			perror("/proc/self/pagemap");
			exit(1);
		}
		process = getpid();
	}
	return fd;
}

void frames_read(const volatile void *addr, size_t pages, uint64_t *frames)
{
	size_t size = pages * sizeof(*frames);
	off_t offset = (off_t)((uintptr_t)addr / (uintptr_t)getpagesize() *
			       sizeof(*frames));

	if (pread(pagemap(), frames, size, offset) != (ssize_t)size) {
		perror("/proc/self/pagemap");
		exit(1);
	}
	for (size_t i = 0; i < pages; i++) {
		if (!(frames[i] & PRESENT))
			frames[i] = FRAME_NONE;
		else
			frames[i] = frames[i] & FRAME ? frames[i] & FRAME :
							HIDDEN;
	}
}

uint64_t frame_of(const volatile void *addr)
{
	uint64_t frame;

	frames_read(addr, 1, &frame);
	return frame;
}

bool frames_shown(void)
{
	volatile char here = 0;

	return frame_of(&here) != HIDDEN;
}
