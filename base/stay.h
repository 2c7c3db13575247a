/* SPDX-License-Identifier: MIT */
/*
 * stay.h - keep this library's code in memory.
 *
 * dlclose() must not unmap code that a thread of ours still runs, or that is a
 * destructor of thread-specific data.  The shared library is linked with
 * -z nodelete, but a plugin that contains the static library may not be.
 */
#ifndef UMMU_STAY_H
#define UMMU_STAY_H

/**
 * ummu_stay_loaded - from here on dlclose() does not unmap this code
 *
 * May be called any number of times, from any thread.  The caller holds no
 * lock, and nobody waits for it: the dynamic linker may allocate, and takes a
 * lock of its own.
 */
void ummu_stay_loaded(void);

#endif
