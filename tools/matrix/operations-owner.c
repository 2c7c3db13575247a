/* SPDX-License-Identifier: MIT */
/*
 * operations-owner.c - has memory freed by whoever allocated it.
 */
#include <errno.h>

#include "matrix.h"

static int give_back(struct matrix_row *row)
{
	int err = row->mapping.give_back(&row->mapping);

	errno = -err;
	return err ? ummu_row_refused(row, row->operation->name) : 0;
}

const struct matrix_operation ummu_owner_operations[] = {
	{
		.name = "free of a large block",
		.class = UMMU_OP_MUNMAP,
		.kinds = ON(KIND_MALLOC_LARGE),
		.vias = BY_LIBC,
		.run = give_back,
	},
	{
		.name = "malloc_trim",
		.class = UMMU_OP_MADV_DONTNEED,
		.kinds = ON(KIND_MALLOC),
		.vias = BY_LIBC,
		.run = give_back,
	},
	{
		.name = "thread end, stack unmapped",
		.class = UMMU_OP_MUNMAP,
		.kinds = ON(KIND_STACK_FREED),
		.vias = BY_LIBC,
		.run = give_back,
	},
	{
		.name = "thread end, stack cached",
		.class = UMMU_OP_MADV_DONTNEED,
		.kinds = ON(KIND_STACK_CACHED),
		.vias = BY_LIBC,
		.run = give_back,
	},
	{
		.name = "thread end, application's stack",
		.class = NO_CLASS,
		.kinds = ON(KIND_STACK_OWN),
		.vias = BY_LIBC,
		.run = give_back,
	},
	{
		.name = "dlclose",
		.class = UMMU_OP_MUNMAP,
		.kinds = ON(KIND_LIBRARY),
		.vias = BY_LIBC,
		.run = give_back,
	},
	{ .name = NULL },
};
