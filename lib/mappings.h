/* SPDX-License-Identifier: MIT */
/* mappings.h - what this process has mapped, as /proc/self/maps tells. */
#ifndef UMMU_MAPPINGS_H
#define UMMU_MAPPINGS_H

#include <stdbool.h>
#include <stdint.h>

/** ummu_mappings_count - how many mappings there are now; -errno. */
long ummu_mappings_count(void);

/** ummu_mappings_limit - vm.max_map_count; 65530 if that cannot be read. */
long ummu_mappings_limit(void);

/**
 * ummu_mapping_extent - the run of like mappings around [*start, *last], inclusive
 *
 * Like: next to each other, with the same permissions and the same file or
 * none; our own registrations split a mapping into such a run.  Widens *start
 * and *last; false, and nothing changed, if *start is not mapped.
 *
 * Neither allocates nor frees.
 */
bool ummu_mapping_extent(uint64_t *start, uint64_t *last);

#endif
