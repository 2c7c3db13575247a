/* SPDX-License-Identifier: MIT */
/*
 * race-unmap.h - unmaps that take long, by threads and by other processes.
 *
 * The area is so large that its last page is still mapped when the kernel has
 * long announced that it goes.  Who unmaps runs on RACE_CPU: a real-time thread
 * there that is woken by the announcement runs before the page has gone.
 */
#ifndef RACE_UNMAP_H
#define RACE_UNMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * struct race_area - what is unmapped, over and over
 * @last: its last page
 * @file: behind it, or -1
 */
struct race_area {
	char *start;
	size_t length;
	char *last;
	int file;
};

/**
 * struct race_unmapper - a way to unmap
 * @shared:  the area is a shared file
 * @process: which acts on the file alone is another one
 * @borrows: is another process, but on this one's memory
 * @gone:    there is no mapping afterwards, and a pinner that asks for one
 *           finds none any more
 * @act:     the call; 0 or -errno
 * @also:    what another thread repeats meanwhile; NULL for nothing
 */
struct race_unmapper {
	const char *name;
	bool shared;
	bool process;
	bool borrows;
	bool gone;
	int (*act)(const struct race_area *area);
	int (*also)(const struct race_area *area);
};

extern const struct race_unmapper race_unmappers[];
extern const size_t race_unmapper_count;

struct race_unmapping;

/** race_unmap_open - starts who unmaps; @pages of memory.  Exits on errors. */
struct race_unmapping *race_unmap_open(const struct race_unmapper *unmapper,
				       size_t pages);
void race_unmap_close(struct race_unmapping *unmapping);

const struct race_area *race_unmap_area(const struct race_unmapping *unmapping);

/** race_unmap_fill - all pages are there again, this number in the last. */
void race_unmap_fill(struct race_unmapping *unmapping, uint64_t number);

/** race_unmap_begin, race_unmap_await - has it unmapped; returns when it was. */
void race_unmap_begin(struct race_unmapping *unmapping);
void race_unmap_await(struct race_unmapping *unmapping);

#endif
