/* SPDX-License-Identifier: MIT */
/*
 * stay.h - keep this library's code in memory.
 *
 * A thread that runs our code, and a destructor of thread-specific data, must
 * not lose it to dlclose().  The shared library is linked with -z nodelete; a
 * plugin that contains the static one is not.
 */
#ifndef UMMU_STAY_H
#define UMMU_STAY_H

/**
 * ummu_stay_loaded - from here on dlclose() does not unmap this code
 *
 * Any number of times, from any thread, with no lock held: the dynamic linker
 * may allocate, and runs under a lock of its own.
 */
void ummu_stay_loaded(void);

#endif
