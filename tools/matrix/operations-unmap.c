/* SPDX-License-Identifier: MIT */
/*
 * operations-unmap.c - takes the addresses away: munmap and its relatives.
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/shm.h>

#include "calls.h"
#include "matrix.h"

static int unmap_whole(struct matrix_row *row)
{
	if (ummu_call_munmap(row->via, row->mapping.addr, row->mapping.length))
		return ummu_row_refused(row, "munmap");
	return 0;
}

/* A part in the middle, on the second huge page where there are two. */
static int aim_at_part(struct matrix_row *row)
{
	size_t granule = row->mapping.granule;

	row->hit.start = row->mapping.addr +
			 row->mapping.length / 2 / granule * granule;
	row->hit.length = granule;
	return 0;
}

static int unmap_part(struct matrix_row *row)
{
	if (ummu_call_munmap(row->via, row->hit.start, row->hit.length))
		return ummu_row_refused(row, "munmap");
	return 0;
}

/* All of it, a part of it, and two equal ones. */
static int watch_several(struct matrix_row *row)
{
	struct matrix_range whole = { row->mapping.addr, row->mapping.length };

	aim_at_part(row);
	row->watched[0] = whole;
	row->watched[1] = row->hit;
	row->watched[2] = row->hit;
	row->watched[3] = whole;
	row->watches = 4;
	return 0;
}

/* Other access rights in the middle make it several mappings. */
static int split(struct matrix_row *row)
{
	struct matrix_range all = { row->mapping.addr, row->mapping.length };

	aim_at_part(row);
	if (mprotect(row->hit.start, row->hit.length, PROT_READ))
		return ummu_row_refused(row, "mprotect");
	row->hit = all;
	return 0;
}

static int map_over(struct matrix_row *row)
{
	if (ummu_call_mmap(row->via, row->mapping.addr, row->mapping.length,
			   PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
			   0) == MAP_FAILED)
		return ummu_row_refused(row, "mmap(MAP_FIXED)");
	return 0;
}

static int map_over_part(struct matrix_row *row)
{
	if (ummu_call_mmap(row->via, row->hit.start, row->hit.length,
			   PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
			   0) == MAP_FAILED)
		return ummu_row_refused(row, "mmap(MAP_FIXED)");
	return 0;
}

static int shm_detach(struct matrix_row *row)
{
	if (ummu_call_shmdt(row->via, row->mapping.addr))
		return ummu_row_refused(row, "shmdt");
	return 0;
}

/* Another segment over the range, whatever was mapped there. */
static int shm_over(struct matrix_row *row)
{
	int id = shmget(IPC_PRIVATE, row->mapping.length, IPC_CREAT | 0600);
	void *got = MAP_FAILED;

	if (id >= 0)
		got = ummu_call_shmat(row->via, id, row->mapping.addr,
				      SHM_REMAP);
	shmctl(id, IPC_RMID, NULL);
	if (got != row->mapping.addr)
		return ummu_row_refused(row, "shmat(SHM_REMAP)");
	return 0;
}

static int break_lower(struct matrix_row *row)
{
	if (ummu_call_brk(row->via, row->mapping.addr))
		return ummu_row_refused(row, "brk");
	return 0;
}

const struct matrix_operation ummu_unmap_operations[] = {
	{
		.name = "munmap",
		.class = UMMU_OP_MUNMAP,
		.kinds = ON_EVERY,
		.vias = BY_BOTH,
		.run = unmap_whole,
	},
	{
		.name = "munmap a part",
		.class = UMMU_OP_MUNMAP,
		.kinds = ON_EVERY,
		.vias = BY_BOTH,
		.prepare = aim_at_part,
		.run = unmap_part,
	},
	{
		.name = "munmap under four watches",
		.class = UMMU_OP_MUNMAP,
		.kinds = ON_EVERY,
		.vias = BY_BOTH,
		.prepare = watch_several,
		.run = unmap_whole,
	},
	{
		.name = "munmap of three mappings",
		.class = UMMU_OP_MUNMAP,
		.kinds = ON_EVERY,
		.vias = BY_BOTH,
		.prepare = split,
		.run = unmap_whole,
	},
	{
		.name = "mmap MAP_FIXED over it",
		.class = UMMU_OP_MAP_FIXED,
		.kinds = ON_EVERY,
		.vias = BY_BOTH,
		.run = map_over,
	},
	{
		.name = "mmap MAP_FIXED over a part",
		.class = UMMU_OP_MAP_FIXED,
		.kinds = ON_EVERY,
		.vias = BY_BOTH,
		.prepare = aim_at_part,
		.run = map_over_part,
	},
	{
		.name = "shmdt",
		.class = UMMU_OP_SHMDT,
		.kinds = ON(KIND_SYSV_SHM),
		.vias = BY_BOTH,
		.run = shm_detach,
	},
	{
		.name = "shmat SHM_REMAP over it",
		.class = UMMU_OP_SHM_REMAP,
		.kinds = ON_EVERY,
		.vias = BY_BOTH,
		.run = shm_over,
	},
	{
		.name = "brk shrink",
		.class = UMMU_OP_BRK,
		.kinds = ON(KIND_BRK),
		.vias = BY_BOTH,
		.run = break_lower,
	},
	{ .name = NULL },
};
