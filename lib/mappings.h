/* SPDX-License-Identifier: MIT */
/*
 * mappings.h - what this process has mapped.
 *
 * Asked of a descriptor of /proc/self/maps, one mapping a call since Linux 6.11
 * (PROCMAP_QUERY), by reading its text before.  Neither allocates nor frees.
 */
#ifndef UMMU_MAPPINGS_H
#define UMMU_MAPPINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * struct ummu_mapping - one mapping
 * @start, @last: its addresses, inclusive
 * @write_protect: a userfaultfd has it in write-protect mode; only from the text
 *               of /proc/self/smaps, false otherwise
 */
struct ummu_mapping {
	uint64_t start, last;
	bool write_protect;
};

/**
 * struct ummu_mappings - a walk over mappings, lowest address first
 * @fd:     of /proc/self/maps or /proc/self/smaps
 * @from:   mappings that end before it are passed over
 * @text:   the kernel has to be asked by reading the text
 * @smaps:  the text is that of smaps
 * @offset, @used, @filled, @buffer: how far the text was read
 */
struct ummu_mappings {
	int fd;
	uint64_t from;
	bool text;
	bool smaps;
	uint64_t offset;
	size_t used, filled;
	char buffer[2048];
};

/** ummu_mappings_begin - start a walk over /proc/self/maps at @from. */
void ummu_mappings_begin(struct ummu_mappings *walk, int fd, uint64_t from);

/** ummu_mappings_begin_smaps - over all of /proc/self/smaps, which is slower. */
void ummu_mappings_begin_smaps(struct ummu_mappings *walk, int fd);

/** ummu_mappings_next - 1: the next mapping; 0: there is none; or -errno. */
int ummu_mappings_next(struct ummu_mappings *walk, struct ummu_mapping *mapping);

/** ummu_mappings_are_fast - does the kernel answer without making text? */
bool ummu_mappings_are_fast(int fd);

/**
 * ummu_mappings_around - widen [*start, *last] to whole mappings
 *
 * From the start of the mapping that contains *start to the end of the one that
 * contains *last.  0, -EFAULT where part of the range is not mapped, or -ENOENT
 * if the kernel does not tell.
 */
int ummu_mappings_around(int fd, uint64_t *start, uint64_t *last);

/** ummu_mappings_count - how many mappings there are now; -errno. */
long ummu_mappings_count(void);

/** ummu_mappings_limit - vm.max_map_count; 65530 if that cannot be read. */
long ummu_mappings_limit(void);

#endif
