/* SPDX-License-Identifier: MIT */
/*
 * mappings.h - what this process has mapped.
 *
 * The answers come from a descriptor of /proc/self/maps: by PROCMAP_QUERY, one
 * mapping a call, since Linux 6.11; by reading its text before.  Nothing here
 * allocates or frees.
 */
#ifndef UMMU_MAPPINGS_H
#define UMMU_MAPPINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * struct ummu_mapping - one mapping
 * @start, @last: its addresses, inclusive
 * @write_protect: it is registered with a userfaultfd in write-protect mode.
 *               Always false unless the walk reads /proc/self/smaps
 */
struct ummu_mapping {
	uint64_t start, last;
	bool write_protect;
};

/**
 * struct ummu_mappings - a walk over mappings, lowest address first
 * @fd:     a descriptor of /proc/self/maps or /proc/self/smaps
 * @from:   mappings that end before this address are skipped
 * @text:   the walk reads the text, as PROCMAP_QUERY is missing or slower
 * @smaps:  the text is that of smaps
 * @offset: how many bytes of the text were read into @buffer so far
 * @used, @filled: how many bytes of @buffer were used, and how many it has
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

/** ummu_mappings_begin_smaps - start a walk over smaps, which is slower. */
void ummu_mappings_begin_smaps(struct ummu_mappings *walk, int fd);

/** ummu_mappings_next - 1: the next mapping; 0: there is none; or -errno. */
int ummu_mappings_next(struct ummu_mappings *walk, struct ummu_mapping *mapping);

/** ummu_mappings_are_fast - does the kernel answer without making text? */
bool ummu_mappings_are_fast(int fd);

/**
 * ummu_mappings_around - widen [*start, *last] to whole mappings
 *
 * From the start of the mapping that contains *start to the end of the one that
 * contains *last.  Returns 0, -EFAULT if part of the range is not mapped, or
 * -ENOENT if the kernel does not tell.
 */
int ummu_mappings_around(int fd, uint64_t *start, uint64_t *last);

/** ummu_mappings_count - how many mappings there are now, or -errno. */
long ummu_mappings_count(void);

/** ummu_mappings_limit - vm.max_map_count, or 65530 if it cannot be read. */
long ummu_mappings_limit(void);

#endif
