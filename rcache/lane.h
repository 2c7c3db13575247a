/* SPDX-License-Identifier: MIT */
/*
 * lane.h - where a thread notes which regions it holds.
 *
 * A hit notes its region in a slot of its thread's lane, with plain stores to a
 * line that no other thread writes; whoever retires a region looks at the lanes
 * of all.  internal.h has the proof.
 *
 * A thread has one number in all caches, and so at most one thread at a time
 * writes a lane.  A number is used again when its thread is gone, with what is
 * noted in its lanes: a hold belongs to whoever puts it, not to a thread.
 *
 * Lanes are memory that a fork wipes, and a free slot is not 0.  So in a forked
 * child, as in a lane that no thread has claimed, no slot is free and none
 * holds anything: hits go to the slow path, which finds out why.
 */
#ifndef UMMU_LANE_H
#define UMMU_LANE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Threads that can have a lane at one time, plus one: lane 0 is nobody's. */
#define LANE_COUNT 256

#define LANE_SLOTS 5
#define SLOT_FREE ((uintptr_t)1)

/** Most processors fetch lines of 64 bytes. */
#define LINE_BYTES 64

struct region;

/**
 * struct lane - what one thread writes on the hits of one cache
 * @slot:      regions held, or SLOT_FREE; written by the lane's thread, with
 *             release; anybody reads them, with acquire
 * @hits:      gets that were hits; as above, relaxed
 * @recent:    the region that the last lookup by containment found; its thread
 *             only, as all below
 * @window:    when it began to count @burst, in milliseconds
 * @burst:     how often hits and puts have reaped since
 * @patience:  how many calls may still leave invalidations to others
 */
struct lane {
	_Alignas(LINE_BYTES) uintptr_t slot[LANE_SLOTS];
	uint64_t hits;
	struct region *recent;
	uint32_t window;
	uint16_t burst;
	uint16_t patience;
};

/*
 * Threads are found by the address of their control block, in a small table
 * that all caches read.  A variable of each thread would be shorter, but a
 * shared library has it at a fixed place only if the loader finds room there,
 * and otherwise by a call.
 */
#define THREAD_WORDS 512
#define THREAD_SHIFT 16

/** ummu_thread - the calling thread, as no other living one is called. */
static inline uintptr_t ummu_thread(void)
{
	uintptr_t thread;

#if defined(__x86_64__) && defined(__LP64__)
	/* Not volatile: it does not change while a function runs. */
	__asm__("mov %%fs:0, %0" : "=r"(thread));
#elif defined(__aarch64__)
	__asm__("mrs %0, tpidr_el0" : "=r"(thread));
#else
	thread = (uintptr_t)pthread_self();
#endif
	return thread;
}

/** Where its word is, or one of that line. */
static inline size_t ummu_thread_index(uintptr_t thread)
{
	return (size_t)((uint64_t)thread * 0x9e3779b97f4a7c15ULL >> 55);
}

/** The number in a word, if it is that thread's; or 0. */
static inline unsigned int ummu_thread_match(uint64_t word, uintptr_t thread)
{
	if (__builtin_expect(word >> THREAD_SHIFT != thread, 0))
		return 0;
	return (unsigned int)(word & (LANE_COUNT - 1));
}

/** ummu_threads_prepare - make the table; 0 or -errno. */
int ummu_threads_prepare(const uint64_t **words_p);

/** ummu_number_further - the number of a thread that is not where it belongs. */
unsigned int ummu_number_further(const uint64_t *words);

/**
 * ummu_thread_number - the calling thread's number, given one if need be
 *
 * Locks a lock of its own.  0 where there is none left or lanes cannot work;
 * then each get and put of the thread takes the cache's lock: slow, never
 * wrong.
 */
unsigned int ummu_thread_number(void);

/** Order this thread's memory accesses before what the compiler has below. */
static inline void ummu_compiler_barrier(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/**
 * ummu_barrier_everywhere - a full memory barrier in every running thread
 *
 * False if the kernel refuses: nothing is known then.
 */
bool ummu_barrier_everywhere(void);

#endif
