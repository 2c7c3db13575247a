/* SPDX-License-Identifier: MIT */
/*
 * mappings.c - makes a fresh mapping of each kind, every page of it touched.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include "matrix.h"

#define PAGES 8 /* of a mapping of base pages */

size_t ummu_page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

/** ummu_huge_page_size - the default one, in bytes; 0 if there is none. */
size_t ummu_huge_page_size(void)
{
	unsigned long kilobytes = 0;
	char line[128];
	FILE *file;

	file = fopen("/proc/meminfo", "re");
	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "Hugepagesize: %lu kB", &kilobytes) == 1)
			break;
	fclose(file);
	return kilobytes * 1024;
}

static size_t thp_size(void)
{
	unsigned long size = 0;

	ummu_setting_read("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size",
			  &size);
	return size;
}

/**
 * ummu_mapping_reserve - an address that nothing else is mapped next to
 *
 * A PROT_NONE mapping stays around it, so that the row's mapping is never
 * merged with another one.  NULL if there is no room.
 */
char *ummu_mapping_reserve(size_t length, size_t align)
{
	char *area = mmap(NULL, length + 2 * align, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (area == MAP_FAILED)
		return NULL;
	return area + (align - ((uintptr_t)area & (align - 1)));
}

void ummu_mapping_touch(char *addr, size_t length)
{
	size_t offset, page = ummu_page_size();

	for (offset = 0; offset < length; offset += page)
		*(volatile uint64_t *)(addr + offset) = 0x1d1e + offset;
}

static int map_at(struct matrix_row *row, size_t align, int flags, int fd)
{
	struct matrix_mapping *mapping = &row->mapping;
	char *addr = ummu_mapping_reserve(mapping->length, align);

	if (!addr || mmap(addr, mapping->length, PROT_READ | PROT_WRITE,
			  flags | MAP_FIXED, fd, 0) == MAP_FAILED)
		return ummu_row_refused(row, "mmap");
	mapping->addr = addr;
	mapping->fd = fd;
	return 0;
}

static size_t align_of(const struct matrix_row *row)
{
	return row->operation->huge ? row->mapping.length : ummu_page_size();
}

static int make_anonymous(struct matrix_row *row)
{
	struct matrix_mapping *mapping = &row->mapping;
	int err;

	err = map_at(row, align_of(row), MAP_PRIVATE | MAP_ANONYMOUS, -1);
	if (err)
		return err;
	/* base pages, whatever the system's policy; EINVAL: it has no others */
	madvise(mapping->addr, mapping->length, MADV_NOHUGEPAGE);
	ummu_mapping_touch(mapping->addr, mapping->length);
	return 0;
}

/**
 * ummu_mapping_detail - one number of /proc/self/smaps, 0 if it is not there
 * @format: as for sscanf(), the line of the number
 */
unsigned long ummu_mapping_detail(const char *addr, const char *format)
{
	unsigned long start, end, value = 0;
	bool here = false;
	char line[512];
	FILE *file;

	file = fopen("/proc/self/smaps", "re");
	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = start == (uintptr_t)addr;
		else if (here && sscanf(line, format, &value) == 1)
			break;
	}
	fclose(file);
	return value;
}

static int make_thp(struct matrix_row *row)
{
	struct matrix_mapping *mapping = &row->mapping;
	size_t size = thp_size();
	int err;

	if (!size) {
		snprintf(row->reason, sizeof(row->reason),
			 "this kernel has no transparent huge pages");
		return -ENOSYS;
	}
	mapping->length = 2 * size;
	err = map_at(row, size, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	if (err)
		return err;
	if (madvise(mapping->addr, mapping->length, MADV_HUGEPAGE))
		return ummu_row_refused(row, "madvise(MADV_HUGEPAGE)");
	ummu_mapping_touch(mapping->addr, mapping->length);
	if (ummu_mapping_detail(mapping->addr, "AnonHugePages: %lu") * 1024 ==
	    mapping->length)
		return 0;
	snprintf(row->reason, sizeof(row->reason),
		 "no transparent huge page to be had: memory is fragmented, or "
		 "/sys/kernel/mm/transparent_hugepage/enabled says never");
	return -ENOMEM;
}

static int map_file(struct matrix_row *row, int flags, int fd)
{
	size_t page = ummu_page_size(), length = row->mapping.length;
	off_t end = (off_t)length;
	int err;

	/* one page more than is mapped: remap_file_pages() needs another */
	if (fd < 0 || ftruncate(fd, end + (off_t)page))
		return ummu_row_refused(row, "a file to map");
	err = map_at(row, align_of(row), flags, fd);
	if (!err)
		ummu_mapping_touch(row->mapping.addr, length);
	return err;
}

static int make_memfd(struct matrix_row *row)
{
	return map_file(row, MAP_SHARED,
			memfd_create("ummunotify-row", MFD_CLOEXEC));
}

static int make_hugetlb(struct matrix_row *row, int flags)
{
	struct matrix_mapping *mapping = &row->mapping;
	size_t size = ummu_huge_page_size();
	int fd, err;

	if (!size || size > (32 << 20)) {
		snprintf(row->reason, sizeof(row->reason),
			 "no huge pages of 32 MiB or less by default");
		return -ENOSYS;
	}
	mapping->granule = size;
	mapping->length = 2 * size;
	fd = memfd_create("ummunotify-row", MFD_CLOEXEC | MFD_HUGETLB);
	if (fd < 0 || ftruncate(fd, (off_t)mapping->length))
		return ummu_row_refused(row, "memfd_create(MFD_HUGETLB)");
	err = map_at(row, size, flags, fd);
	if (err) {
		snprintf(row->reason, sizeof(row->reason),
			 "no free huge pages: vm.nr_hugepages (needs root)");
		return err;
	}
	ummu_mapping_touch(mapping->addr, mapping->length);
	return 0;
}

static int make_shm(struct matrix_row *row)
{
	struct matrix_mapping *mapping = &row->mapping;
	char *addr;
	int id;

	addr = ummu_mapping_reserve(mapping->length, align_of(row));
	id = shmget(IPC_PRIVATE, mapping->length, IPC_CREAT | 0600);
	if (!addr || id < 0)
		return ummu_row_refused(row, "shmget");
	mapping->addr = shmat(id, addr, SHM_REMAP);
	/* it lives on until the last process detaches it */
	shmctl(id, IPC_RMID, NULL);
	if (mapping->addr != addr)
		return ummu_row_refused(row, "shmat");
	mapping->shmid = id;
	ummu_mapping_touch(addr, mapping->length);
	return 0;
}

/* A file without a name, on a file system that is not memory if possible. */
static int open_file(void)
{
	const char *const folders[] = { getenv("TMPDIR"), "/tmp", ".",
					"/var/tmp", "/tmp" };
	size_t i, last = sizeof(folders) / sizeof(*folders) - 1;
	struct statfs where;
	char path[4096];
	int fd;

	for (i = 0; i <= last; i++) {
		if (!folders[i] || statfs(folders[i], &where))
			continue;
		if (where.f_type == TMPFS_MAGIC && i < last)
			continue;
		snprintf(path, sizeof(path), "%s/ummunotify-XXXXXX", folders[i]);
		fd = mkostemp(path, O_CLOEXEC);
		if (fd < 0)
			continue;
		unlink(path);
		return fd;
	}
	return -1;
}

/** ummu_mapping_make - make the row's mapping; 0, or -errno and a reason. */
int ummu_mapping_make(struct matrix_row *row)
{
	struct matrix_mapping *mapping = &row->mapping;
	size_t thp = thp_size();

	memset(mapping, 0, sizeof(*mapping));
	mapping->fd = -1;
	mapping->shmid = -1;
	mapping->granule = ummu_page_size();
	mapping->length = PAGES * mapping->granule;
	if (row->operation->huge && thp)
		mapping->length = thp;

	switch (row->kind) {
	case KIND_ANONYMOUS:
		return make_anonymous(row);
	case KIND_THP:
		return make_thp(row);
	case KIND_MEMFD:
		return make_memfd(row);
	case KIND_HUGETLB_SHARED:
		return make_hugetlb(row, MAP_SHARED);
	case KIND_HUGETLB_PRIVATE:
		return make_hugetlb(row, MAP_PRIVATE);
	case KIND_SYSV_SHM:
		return make_shm(row);
	case KIND_FILE_PRIVATE:
		return map_file(row, MAP_PRIVATE, open_file());
	case KIND_FILE_SHARED:
		return map_file(row, MAP_SHARED, open_file());
	default:
		return ummu_owner_make(row);
	}
}
