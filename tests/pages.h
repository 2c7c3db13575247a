/* SPDX-License-Identifier: MIT */
/* pages.h - memory for tests of pinners: anywhere, or anew where some was. */
#ifndef PAGES_H
#define PAGES_H

#include <stddef.h>
#include <sys/mman.h>

/**
 * pages_map - private memory of @length bytes; the test fails if there is none
 * @where: NULL, or an address at which nothing is mapped
 *
 * After cmocka.h.
 */
static inline void *pages_map(void *where, size_t length)
{
	void *addr = mmap(where, length, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS |
				  (where ? MAP_FIXED_NOREPLACE : 0),
			  -1, 0);

	assert_ptr_not_equal(addr, MAP_FAILED);
	return addr;
}

#endif
