/* SPDX-License-Identifier: MIT */
/* run.h - how a run of a test goes: its seed, its length, its end. */
#ifndef RUN_H
#define RUN_H

#include <stdbool.h>
#include <stdint.h>

/* The sanitizers, as gcc and clang tell of them. */
#if defined(__SANITIZE_THREAD__)
#define RUN_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RUN_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define RUN_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RUN_ASAN 1
#endif
#endif
#ifndef RUN_TSAN
#define RUN_TSAN 0
#endif
#ifndef RUN_ASAN
#define RUN_ASAN 0
#endif

/**
 * run_limit - kill this process after so many seconds, ten times with UMMU_LONG
 *
 * And UMMU_PATIENCE times where a machine is slow, as a virtual one is.
 * By SIGKILL: what hangs is a thread in munmap(), which no handler interrupts.
 * A child of fork has no limit until it asks for one.
 */
void run_limit(unsigned int seconds);

/** run_scaled - a count: ten times with UMMU_LONG=1, a tenth in sanitizers. */
unsigned int run_scaled(unsigned int count);

/** run_seed - UMMU_SEED, else the time; printed. */
uint64_t run_seed(void);

/** run_random - the next of a sequence; @state is any number but 0. */
uint64_t run_random(uint64_t *state);

/** run_seconds - CLOCK_MONOTONIC. */
double run_seconds(void);

#endif
