/* SPDX-License-Identifier: MIT */
/*
 * mpi-remaps.h - ways in which a message buffer gets other pages at the same
 * address.
 */
#ifndef UMMU_TEST_MPI_REMAPS_H
#define UMMU_TEST_MPI_REMAPS_H

#include <stdbool.h>
#include <stddef.h>

/**
 * struct buffer - what messages are sent from, and received into
 * @addr, @length: bytes
 * @file:          memfd behind it, or -1
 * @segment:       System V shared memory behind it, or -1
 */
struct buffer {
	void *addr;
	size_t length;
	int file;
	int segment;
};

/**
 * struct remap - one way
 * @name:  for people
 * @hooks: hooks in libc see it
 * @uffd:  userfaultfd sees it (ummunotify(7))
 * @stays: pages that are pinned do not go, so that nobody has to see it
 * @make:  a buffer of @length
 * @renew: give it other pages
 * @end:   the buffer goes
 *
 * All end the program when something fails, renew with @stays excepted.
 */
struct remap {
	const char *name;
	bool hooks;
	bool uffd;
	bool stays;
	void (*make)(struct buffer *buffer);
	void (*renew)(struct buffer *buffer);
	void (*end)(struct buffer *buffer);
};

extern const struct remap remaps[];
extern const size_t remap_count;

/**
 * remaps_begin - start the other process that some of them need
 *
 * Before MPI_Init(), for a program with an adapter open had better not fork.
 */
void remaps_begin(void);
void remaps_end(void);

/** remaps_fail - "what: strerror(errno)", and end the program. */
__attribute__((noreturn)) void remaps_fail(const char *what);

#endif
