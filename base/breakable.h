/* SPDX-License-Identifier: MIT */
/*
 * breakable.h - the deliberate faults that the race tests must notice.
 *
 * A test that has never failed proves little, so a second build of the library,
 * for the tests alone, can leave out the steps that the proofs rest on: those of
 * lib/ are switches of model/ too, those of rcache/ are in rcache/internal.h.
 * In the library that ships, ummu_broken() is the constant 0.
 */
#ifndef UMMU_BREAKABLE_H
#define UMMU_BREAKABLE_H

enum ummu_break {
	UMMU_BREAK_NO_PROBE = 1 << 0,
	UMMU_BREAK_READ_OUTSIDE_LOCK = 1 << 1,
	UMMU_BREAK_NO_BARRIER = 1 << 2, /* R2 */
	UMMU_BREAK_NO_COUNT = 1 << 3,	/* R3's look at the slots */
};

#ifdef UMMU_BREAKABLE
extern unsigned int ummu_broken_steps; /* set before any monitor is opened */
#define ummu_broken(step) (ummu_broken_steps & (step))
#else
#define ummu_broken(step) 0
#endif

#endif
