/* SPDX-License-Identifier: MIT */
/* proc-self.h - what /proc tells of this process. */
#ifndef PROC_SELF_H
#define PROC_SELF_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/** proc_threads - how many threads it has. */
unsigned int proc_threads(void);

/** proc_reader - the thread that reads for the library; 0: there is none. */
pid_t proc_reader(void);

/** proc_reader_starts, proc_reader_ends - it does so within seconds. */
bool proc_reader_starts(void);
bool proc_reader_ends(void);

/** proc_fds - which descriptors are open, by number; at most @most. */
size_t proc_fds(int *numbers, size_t most);

/** proc_mappings - how many mappings it has. */
unsigned int proc_mappings(void);

/**
 * proc_smaps_kb - a number of the mapping at an address, in KiB
 * @field: "Size:", "AnonHugePages:" and so on
 *
 * -1 if there is no such mapping or no such field.
 */
long proc_smaps_kb(const void *addr, const char *field);

/** proc_registered - is a userfaultfd registered with the mapping there? */
bool proc_registered(const void *addr);

/** proc_blocks_signals - does this thread block all signals that it can? */
bool proc_blocks_signals(pid_t thread);

#endif
