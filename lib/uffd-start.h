/* SPDX-License-Identifier: MIT */
/* uffd-start.h - what the thread that starts a reader tells it. */
#ifndef UMMU_UFFD_START_H
#define UMMU_UFFD_START_H

#include "uffd.h"

/**
 * struct uffd_stack - at the low end of a reader's stack
 * @bytes: of the whole mapping, with this and a guard page at both ends
 * @guard: of each of these
 * @thread: the reader; 0 until it runs
 */
struct uffd_stack {
	struct uffd_stack *next;
	size_t bytes, guard;
	pid_t thread;
};

/**
 * struct uffd_start - what a thread that starts a reader tells it; on its stack
 * @numbers: descriptors to keep, ascending, @count of them
 * @bells:   the latest bell that is among them
 * @afresh:  there may be a reader, which this one replaces
 * @done:    the reader runs or has failed, and this is not used any more; lock
 * @error:   what it failed with; @what is the step
 */
struct uffd_start {
	struct uffd_process *process;
	struct uffd_stack *stack;
	struct uffd_tools tools;
	int *numbers;
	size_t count;
	uint64_t bells;
	bool done;
	int error;
	const char *what;
};

/** ummu_uffd_reader - the thread; its argument is a struct uffd_start. */
void *ummu_uffd_reader(void *argument);

#endif
