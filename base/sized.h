/* SPDX-License-Identifier: MIT */
/*
 * sized.h - pass structs that start with their size between old and new code.
 *
 * Such a struct grows at its end.  A program built with older headers passes a
 * smaller one, a program built with newer headers a larger one.  None is larger
 * than 4096 bytes: what says so has no size set, and is neither read nor written.
 */
#ifndef UMMU_SIZED_H
#define UMMU_SIZED_H

#include <stddef.h>

/**
 * ummu_sized_in - copy what a caller gave into the struct this library knows
 * @known, @known_size: the library's; what the caller does not have becomes 0
 * @given:              the caller's
 * @least:              bytes that the caller must have
 *
 * Returns NULL, or why not: it is smaller than that or larger than any, or has
 * something set that this library does not know.
 */
const char *ummu_sized_in(void *known, size_t known_size, const void *given,
			  size_t least);

/**
 * ummu_sized_out - copy a struct of the library into a caller's
 * @given: the caller's, its size set; as much of @known as it has room for,
 *         what the library does not know becomes 0, its size stays
 *
 * Returns NULL, or why not: its size is too small for itself, or larger than any.
 */
const char *ummu_sized_out(void *given, const void *known, size_t known_size);

#endif
