/* SPDX-License-Identifier: MIT */
/*
 * announced.c - ranges that hooks in libc say are about to go, kept until the
 * next lookup.
 */
#include "announced.h"

#include <string.h>

/**
 * struct announced - what is kept
 * @lock:   1 while somebody writes the rest; a mutex may not be taken inside of
 *          an allocator, and is held for longer than this
 * @count:  ranges there are; atomic, for the look without the lock
 * @ranges: the last one becomes everything when there is no room
 */
static struct announced {
	int lock;
	size_t count;
	struct ummu_ompi_range ranges[UMMU_OMPI_ANNOUNCED];
} announced;

static void lock(void)
{
	/* Acquire: the ranges are as the last holder left them. */
	while (__atomic_exchange_n(&announced.lock, 1, __ATOMIC_ACQUIRE))
		;
}

static void unlock(void)
{
	/* Release: the next holder sees the ranges. */
	__atomic_store_n(&announced.lock, 0, __ATOMIC_RELEASE);
}

void ummu_ompi_announce(uint64_t start, uint64_t end)
{
	size_t count;

	if (start >= end)
		return;
	lock();
	count = announced.count;
	if (count < UMMU_OMPI_ANNOUNCED)
		announced.ranges[count++] = (struct ummu_ompi_range){ start,
								      end };
	else
		announced.ranges[count - 1] = (struct ummu_ompi_range){
			0, UINT64_MAX
		};
	/*
	 * Relaxed: the unlocking after it releases, and a lookup that began
	 * after the unmapping returned is ordered after it by whatever told
	 * its thread that it had.
	 */
	__atomic_store_n(&announced.count, count, __ATOMIC_RELAXED);
	unlock();
}

bool ummu_ompi_announced(void)
{
	/* Relaxed: as above; the ranges are read with the lock held. */
	return __atomic_load_n(&announced.count, __ATOMIC_RELAXED);
}

size_t
ummu_ompi_take_announced(struct ummu_ompi_range ranges[UMMU_OMPI_ANNOUNCED])
{
	size_t count;

	lock();
	count = announced.count;
	memcpy(ranges, announced.ranges, count * sizeof(*ranges));
	__atomic_store_n(&announced.count, 0, __ATOMIC_RELAXED);
	unlock();
	return count;
}
