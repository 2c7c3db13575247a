/* SPDX-License-Identifier: MIT */
/* uffd-start.h - what the thread that starts a reader tells it. */
#ifndef UMMU_UFFD_START_H
#define UMMU_UFFD_START_H

#include "uffd.h"

/**
 * struct uffd_stack - a reader's stack; lies at its low end
 * @next:   the stack of the reader before; in process->stacks
 * @bytes:  size of the whole mapping, with this struct and both guards
 * @guard:  size of the guard at each end of the mapping
 * @thread: the thread number of the reader; 0 until it runs
 */
struct uffd_stack {
	struct uffd_stack *next;
	size_t bytes, guard;
	pid_t thread;
};

/**
 * struct uffd_start - what a thread that starts a reader tells it; on its stack
 * @stack:   the stack on which the reader runs
 * @tools:   the numbers that it reads and unregisters with
 * @numbers: the descriptors that it keeps, ascending; @count of them
 * @bells:   process->bells when @numbers were collected
 * @done:    the reader runs or has failed, and uses this struct no more;
 *           written and read with the process's lock held
 * @error:   0, or -errno of the step that failed; @what is that step's name
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
