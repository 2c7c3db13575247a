/* SPDX-License-Identifier: MIT */
/* wipe.c - memory that reads as zeros in a child of fork. */
#define _GNU_SOURCE
#include "wipe.h"

#include <errno.h>
#include <sys/mman.h>

void *ummu_wipe_alloc(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int error;

	if (memory == MAP_FAILED)
		return NULL;
	if (madvise(memory, bytes, MADV_WIPEONFORK)) {
		error = errno;
		munmap(memory, bytes);
		errno = error;
		return NULL;
	}
	return memory;
}

void ummu_wipe_free(void *memory, size_t bytes)
{
	if (memory)
		munmap(memory, bytes);
}
