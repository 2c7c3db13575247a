/* SPDX-License-Identifier: MIT */
/*
 * witness.h - a cache over the real monitor whose handles tell their pages.
 *
 * A region's handle is the number that its first bytes held when it was
 * registered.  Who writes a new number into each new mapping sees from the
 * handle whether a region belongs to the pages that are mapped now.
 */
#ifndef WITNESS_H
#define WITNESS_H

#include <ummunotify/rcache.h>

/**
 * struct witness - a monitor and a cache
 * @registered, @deregistered: calls of the pinner (atomic)
 */
struct witness {
	struct ummu_monitor *monitor;
	struct ummu_rcache *rcache;
	unsigned int registered, deregistered;
};

/** witness_registered - did this thread register since it set this to 0? */
extern __thread unsigned int witness_registered;

/**
 * witness_need_monitor - exits with 77 where no backend is to be had
 *
 * Not if UMMU_MONITOR names one: that has to work then.
 */
void witness_need_monitor(void);

/** witness_need_uffd - for tests of uffd: 77 without; names it if it is there. */
void witness_need_uffd(void);

/** witness_need_kmod - the same for the kernel module. */
void witness_need_kmod(void);

/** witness_on - is this the monitor's backend? */
bool witness_on(const struct ummu_monitor *monitor, const char *backend);

/** witness_open - 0 or -errno, said on stderr. */
int witness_open(struct witness *witness);
void witness_close(struct witness *witness);

/**
 * witness_get - get and put; what the cache says of the number at @addr
 *
 * Returns 0, 1 for a hit, or -errno.
 */
int witness_get(struct witness *witness, void *addr, size_t length,
		uint64_t *number);

struct ummu_rcache_stats witness_stats(const struct witness *witness);

#endif
