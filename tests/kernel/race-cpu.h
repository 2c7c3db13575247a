/* SPDX-License-Identifier: MIT */
/* race-cpu.h - which thread runs where, and which goes first. */
#ifndef RACE_CPU_H
#define RACE_CPU_H

#include <stdbool.h>

#define RACE_CPU 0 /* where the race is */

/** race_on_cpu - have the calling thread run on this CPU alone. */
void race_on_cpu(unsigned int cpu);

/**
 * race_real_time - the calling thread goes first, not what it starts
 *
 * Not for long: the kernel takes care that others are not kept waiting for more
 * than a second.  False: it may not (not root).
 */
bool race_real_time(void);

/** race_ordinary_time - it is like all others again. */
void race_ordinary_time(void);

#endif
