/* SPDX-License-Identifier: MIT */
/*
 * changes.h - ways in which a buffer loses its pages and gets others at the
 * same address, as real programs do it.
 */
#ifndef UMMU_TEST_CHANGES_H
#define UMMU_TEST_CHANGES_H

#include <stdbool.h>
#include <stddef.h>

/**
 * struct change - one of them
 * @name:   for people, and for the command line
 * @make:   a buffer of @length bytes; NULL where the kernel has no such thing
 * @change: the pages go, and others come; returns the buffer, at the same
 *          address as a rule, or NULL where that failed
 *
 * One buffer at a time, which stays until the end of the process.
 */
struct change {
	const char *name;
	void *(*make)(size_t length);
	void *(*change)(void *buffer, size_t length);
};

extern const struct change changes[];
extern const size_t change_count;

/** changes_begin - start the other process that some of them need. */
bool changes_begin(void);
void changes_end(void);

#endif
