/* SPDX-License-Identifier: MIT */
/*
 * announced.h - ranges that hooks in libc say are about to go, kept until the
 * next lookup.
 *
 * For a backend that is blind where the hooks are not: userfaultfd and shmdt().
 * The hooks run in the thread that unmaps, often inside of an allocator, so
 * nothing is done there but to note the range.
 */
#ifndef UMMU_OPENMPI_ANNOUNCED_H
#define UMMU_OPENMPI_ANNOUNCED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** More than so many, and everything counts as announced. */
#define UMMU_OMPI_ANNOUNCED 64

/** struct ummu_ompi_range - [start, end) in bytes */
struct ummu_ompi_range {
	uint64_t start;
	uint64_t end;
};

/**
 * ummu_ompi_announce - note a range
 *
 * From any thread and any signal handler.  It takes no lock, waits for nobody,
 * makes no system call and keeps errno.
 */
void ummu_ompi_announce(uint64_t start, uint64_t end);

/** ummu_ompi_announced - is there any?  One load. */
bool ummu_ompi_announced(void);

/**
 * ummu_ompi_take_announced - take them all
 *
 * The caller is the only taker (it holds the lock of truth.h alone).  It waits
 * for no announcer: a range whose announcement has not returned yet may be left
 * for the next taker.
 *
 * Returns how many ranges there were.
 */
size_t
ummu_ompi_take_announced(struct ummu_ompi_range ranges[UMMU_OMPI_ANNOUNCED]);

#endif
