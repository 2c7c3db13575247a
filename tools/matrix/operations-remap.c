/* SPDX-License-Identifier: MIT */
/*
 * operations-remap.c - moves mappings: mremap and remap_file_pages.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/mman.h>

#include "calls.h"
#include "matrix.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

/* Addresses of the same size and alignment as the mapping. */
static int reserve_other(struct matrix_row *row)
{
	size_t align = row->mapping.granule;

	if (row->kind == KIND_THP)
		align = row->mapping.length / 2;
	row->other = ummu_mapping_reserve(row->mapping.length, align);
	return row->other ? 0 : ummu_row_refused(row, "mmap");
}

static int map_other(struct matrix_row *row)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
	int err = reserve_other(row);

	if (err)
		return err;
	if (mmap(row->other, row->mapping.length, PROT_READ | PROT_WRITE, flags,
		 -1, 0) == MAP_FAILED)
		return ummu_row_refused(row, "mmap");
	ummu_mapping_touch(row->other, row->mapping.length);
	return 0;
}

static int move(struct matrix_row *row)
{
	size_t length = row->mapping.length;

	if (ummu_call_mremap(row->via, row->mapping.addr, length, length,
			     MREMAP_MAYMOVE | MREMAP_FIXED,
			     row->other) == MAP_FAILED)
		return ummu_row_refused(row, "mremap(MREMAP_FIXED)");
	return 0;
}

/* The addresses stay mapped and come back as fresh pages. */
static int move_pages_only(struct matrix_row *row)
{
	size_t length = row->mapping.length;

	if (ummu_call_mremap(row->via, row->mapping.addr, length, length,
			     MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,
			     row->other) == MAP_FAILED)
		return ummu_row_refused(row, "mremap(MREMAP_DONTUNMAP)");
	return 0;
}

static int move_onto(struct matrix_row *row)
{
	size_t length = row->mapping.length;

	if (ummu_call_mremap(row->via, row->other, length, length,
			     MREMAP_MAYMOVE | MREMAP_FIXED,
			     row->mapping.addr) == MAP_FAILED)
		return ummu_row_refused(row, "mremap(MREMAP_FIXED)");
	return 0;
}

static int aim_at_second_half(struct matrix_row *row)
{
	row->hit.length = row->mapping.length / 2;
	row->hit.start = row->mapping.addr + row->hit.length;
	return 0;
}

static int shrink(struct matrix_row *row)
{
	size_t length = row->mapping.length;

	if (ummu_call_mremap(row->via, row->mapping.addr, length, length / 2, 0,
			     NULL) == MAP_FAILED)
		return ummu_row_refused(row, "mremap");
	return 0;
}

static int move_part(struct matrix_row *row)
{
	if (ummu_call_mremap(row->via, row->hit.start, row->hit.length,
			     row->hit.length, MREMAP_MAYMOVE | MREMAP_FIXED,
			     row->other) == MAP_FAILED)
		return ummu_row_refused(row, "mremap(MREMAP_FIXED)");
	return 0;
}

static int prepare_part(struct matrix_row *row)
{
	aim_at_second_half(row);
	return reserve_other(row);
}

static int aim_at_first_page(struct matrix_row *row)
{
	row->hit.start = row->mapping.addr;
	row->hit.length = row->mapping.granule;
	return 0;
}

/* The first page's addresses show the second page of the file. */
static int show_other_page(struct matrix_row *row)
{
	if (ummu_call_remap_file_pages(row->via, row->mapping.addr,
				       row->mapping.granule,
				       row->mapping.granule / ummu_page_size()))
		return ummu_row_refused(row, "remap_file_pages");
	return 0;
}

const struct matrix_operation ummu_remap_operations[] = {
	{
		.name = "mremap move",
		.class = UMMU_OP_MREMAP_MOVE,
		.kinds = ON_EVERY,
		.vias = BY_BOTH,
		.prepare = reserve_other,
		.run = move,
	},
	{
		.name = "mremap move a part",
		.class = UMMU_OP_MREMAP_MOVE,
		.kinds = ON_EVERY,
		.vias = BY_BOTH,
		.prepare = prepare_part,
		.run = move_part,
	},
	{
		.name = "mremap shrink",
		.class = UMMU_OP_MREMAP_SHRINK,
		.kinds = ON_EVERY,
		.vias = BY_BOTH,
		.prepare = aim_at_second_half,
		.run = shrink,
	},
	{
		.name = "mremap DONTUNMAP",
		.class = UMMU_OP_MREMAP_DONTUNMAP,
		.kinds = ON_EVERY,
		.vias = BY_BOTH,
		.prepare = reserve_other,
		.run = move_pages_only,
	},
	{
		.name = "mremap onto it",
		.class = UMMU_OP_MREMAP_ONTO,
		.kinds = ON_EVERY,
		.vias = BY_BOTH,
		.prepare = map_other,
		.run = move_onto,
	},
	{
		.name = "remap_file_pages",
		.class = UMMU_OP_REMAP_FILE_PAGES,
		.kinds = ON_EVERY,
		.vias = BY_BOTH,
		.prepare = aim_at_first_page,
		.run = show_other_page,
	},
	{ .name = NULL },
};
