/* SPDX-License-Identifier: MIT */
/* sized.c - pass structs that start with their size between old and new code. */
#include "sized.h"

#include <string.h>

/* No such struct is larger: more is no size, and nothing is read or written. */
#define MOST 4096

/* NULL, or why @size cannot be that of a struct. */
static const char *why_no_size(size_t size, size_t least)
{
	if (size < least || size < sizeof(size))
		return "its size is not set, or too small";
	if (size > MOST)
		return "its size is over 4096: is it not set?";
	return NULL;
}

const char *ummu_sized_in(void *known, size_t known_size, const void *given,
			  size_t least)
{
	const unsigned char *bytes = given;
	const char *why;
	size_t size;

	memcpy(&size, given, sizeof(size));
	why = why_no_size(size, least);
	if (why)
		return why;
	for (size_t i = known_size; i < size; i++)
		if (bytes[i])
			return "something is set in it that this library does not know";
	memset(known, 0, known_size);
	memcpy(known, given, size < known_size ? size : known_size);
	return NULL;
}

const char *ummu_sized_out(void *given, const void *known, size_t known_size)
{
	const char *why;
	size_t size;

	memcpy(&size, given, sizeof(size));
	why = why_no_size(size, sizeof(size));
	if (why)
		return why;
	memset(given, 0, size);
	memcpy(given, known, size < known_size ? size : known_size);
	memcpy(given, &size, sizeof(size));
	return NULL;
}
