/* SPDX-License-Identifier: MIT */
/* sized.c - pass structs that start with their size between old and new code. */
#include "sized.h"

#include <errno.h>
#include <string.h>

int ummu_sized_in(void *known, size_t known_size, const void *given,
		  size_t least)
{
	const unsigned char *bytes = given;
	size_t size;

	memcpy(&size, given, sizeof(size));
	if (size < least || size < sizeof(size))
		return -EINVAL;
	for (size_t i = known_size; i < size; i++)
		if (bytes[i])
			return -EINVAL;
	memset(known, 0, known_size);
	memcpy(known, given, size < known_size ? size : known_size);
	return 0;
}

int ummu_sized_out(void *given, const void *known, size_t known_size)
{
	size_t size;

	memcpy(&size, given, sizeof(size));
	if (size < sizeof(size))
		return -EINVAL;
	memset(given, 0, size);
	memcpy(given, known, size < known_size ? size : known_size);
	memcpy(given, &size, sizeof(size));
	return 0;
}
