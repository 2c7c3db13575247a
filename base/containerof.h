/* SPDX-License-Identifier: MIT */
/* containerof.h - from a member of a struct to the struct. */
#ifndef UMMU_CONTAINEROF_H
#define UMMU_CONTAINEROF_H

#include <stddef.h>

#define container_of(pointer, type, member) \
	((type *)((char *)(pointer)-offsetof(type, member)))

#endif
