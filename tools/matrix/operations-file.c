/* SPDX-License-Identifier: MIT */
/*
 * operations-file.c - takes the pages away behind the mapping: its file shrinks.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>

#include "calls.h"
#include "matrix.h"

static int punch(struct matrix_row *row)
{
	if (ummu_call_fallocate(row->via, row->mapping.fd,
				FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
				(off_t)row->mapping.length))
		return ummu_row_refused(row, "fallocate(PUNCH_HOLE)");
	return 0;
}

static int truncate_all(struct matrix_row *row)
{
	if (ummu_call_ftruncate(row->via, row->mapping.fd, 0))
		return ummu_row_refused(row, "ftruncate");
	return 0;
}

static int aim_at_second_half(struct matrix_row *row)
{
	row->hit.length = row->mapping.length / 2;
	row->hit.start = row->mapping.addr + row->hit.length;
	return 0;
}

static int truncate_half(struct matrix_row *row)
{
	if (ummu_call_ftruncate(row->via, row->mapping.fd,
				(off_t)row->hit.length))
		return ummu_row_refused(row, "ftruncate");
	return 0;
}

static int punch_by_other(struct matrix_row *row)
{
	return ummu_row_in_child(row, "fallocate(PUNCH_HOLE)", punch);
}

static int truncate_by_other(struct matrix_row *row)
{
	return ummu_row_in_child(row, "ftruncate", truncate_all);
}

const struct matrix_operation ummu_file_operations[] = {
	{
		.name = "fallocate PUNCH_HOLE",
		.class = UMMU_OP_PUNCH_HOLE,
		.kinds = ON_FILES,
		.vias = BY_BOTH,
		.run = punch,
	},
	{
		.name = "PUNCH_HOLE by another process",
		.class = UMMU_OP_PUNCH_HOLE,
		.kinds = ON_FILES,
		.vias = BY_BOTH,
		.run = punch_by_other,
	},
	{
		.name = "ftruncate",
		.class = UMMU_OP_FTRUNCATE,
		.kinds = ON_FILES,
		.vias = BY_BOTH,
		.run = truncate_all,
	},
	{
		.name = "ftruncate a part",
		.class = UMMU_OP_FTRUNCATE,
		.kinds = ON_FILES,
		.vias = BY_BOTH,
		.prepare = aim_at_second_half,
		.run = truncate_half,
	},
	{
		.name = "ftruncate by another process",
		.class = UMMU_OP_FTRUNCATE,
		.kinds = ON_FILES,
		.vias = BY_BOTH,
		.run = truncate_by_other,
	},
	{ .name = NULL },
};
