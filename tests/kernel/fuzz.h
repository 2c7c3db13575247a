/* SPDX-License-Identifier: MIT */
/* fuzz.h - what the parts of fuzz-ioctl share: descriptors, memory, chance. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FUZZ_FILES 12
#define FUZZ_MAPS 8
#define FUZZ_PAGES 64

/*
 * Memory that is mapped, unmapped and changed all the time, where the kernel
 * puts no mapping of its own choice.
 */
#define FUZZ_ARENA ((char *)0x100000000)

/**
 * struct fuzz - one process under test
 * @files:   numbers of descriptors, 0 for none; each may be closed any time
 * @maps:    mappings of descriptors: the address, and in its low bits the pages;
 *           0 for none.  Who takes one out (atomically) has it to himself
 * @stop:    the time is over
 * @calls:   how many were made
 */
struct fuzz {
	int files[FUZZ_FILES];
	uintptr_t maps[FUZZ_MAPS];
	bool stop;
	unsigned long calls;
};

/* Chance of a thread. */
uint64_t fuzz_chance(uint64_t *state, uint64_t below);

/** fuzz_address - in the arena mostly, else anywhere bad. */
char *fuzz_address(uint64_t *state);

/** fuzz_file - a number that is, or was, a descriptor. */
int fuzz_file(struct fuzz *fuzz, uint64_t *state);

/** fuzz_failed - says what must not be, and ends the process. */
void fuzz_failed(const char *what, long value);

/* One call: of the device's; to the memory; on the descriptor otherwise. */
void fuzz_call(struct fuzz *fuzz, uint64_t *state);
void fuzz_memory(uint64_t *state);
void fuzz_descriptor(struct fuzz *fuzz, uint64_t *state);

#endif
