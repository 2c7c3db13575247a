/* SPDX-License-Identifier: MIT */
/*
 * owners.c - finds memory that somebody else allocates, and has it freed.
 *
 * The heap, thread stacks and the data of a shared library: what applications
 * free without knowing that anybody unmaps anything.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "matrix.h"

#define PAGES 8

static char *round_up(char *addr, size_t align)
{
	return addr + (-(uintptr_t)addr & (align - 1));
}

static int refused(struct matrix_row *row, const char *why)
{
	snprintf(row->reason, sizeof(row->reason), "%s", why);
	return -ENOTSUP;
}

/* The break has to stay ours: give malloc all that it will want first. */
static int make_brk(struct matrix_row *row)
{
	size_t length = row->mapping.length, page = ummu_page_size();
	char *block, *end, *start;

	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	mallopt(M_MMAP_THRESHOLD, 4 << 20);
	block = malloc(2 << 20);
	free(block);

	end = sbrk(0);
	start = round_up(end, page);
	if (!block || sbrk((start - end) + (intptr_t)length) != end)
		return ummu_row_refused(row, "sbrk");
	row->mapping.addr = start;
	ummu_mapping_touch(start, length);
	return 0;
}

static int give_back_block(struct matrix_mapping *mapping)
{
	free(mapping->owner);
	return 0;
}

static int give_back_trimmed(struct matrix_mapping *mapping)
{
	free(mapping->owner);
	malloc_trim(0);
	return 0;
}

/* A block between two others: free() alone keeps it. */
static int make_malloc(struct matrix_row *row)
{
	size_t page = ummu_page_size(), size = (PAGES + 3) * page;
	char *low, *block, *high;

	mallopt(M_MMAP_THRESHOLD, 4 << 20);
	low = malloc(size);
	block = malloc(size);
	high = malloc(size);
	if (!low || !block || !high) {
		free(low);
		free(block);
		free(high);
		return ummu_row_refused(row, "malloc");
	}
	row->mapping.addr = round_up(block + 64, page);
	row->mapping.owner = block;
	row->mapping.give_back = give_back_trimmed;
	row->mapping.borrowed = true;
	ummu_mapping_touch(row->mapping.addr, row->mapping.length);
	/* low and high stay allocated until the row's process ends */
	return 0;
}

static int make_malloc_large(struct matrix_row *row)
{
	size_t page = ummu_page_size();
	char *block;

	mallopt(M_MMAP_THRESHOLD, 128 << 10);
	block = malloc(1 << 20);
	if (!block)
		return ummu_row_refused(row, "malloc");
	row->mapping.addr = round_up(block + page, page);
	row->mapping.owner = block;
	row->mapping.give_back = give_back_block;
	row->mapping.borrowed = true;
	ummu_mapping_touch(row->mapping.addr, row->mapping.length);
	return 0;
}

/* A thread that lends its stack and then ends. */
struct lender {
	pthread_t thread;
	sem_t lent;
	sem_t end;
	char *middle;
};

static void *lend(void *argument)
{
	struct lender *lender = argument;
	char here;

	lender->middle = &here;
	sem_post(&lender->lent);
	while (sem_wait(&lender->end))
		;
	return NULL;
}

static int give_back_stack(struct matrix_mapping *mapping)
{
	struct lender *lender = mapping->owner;

	sem_post(&lender->end);
	return -pthread_join(lender->thread, NULL);
}

static int make_stack(struct matrix_row *row, size_t size, bool own)
{
	static struct lender lender;
	pthread_attr_t attr;
	char *stack;
	int err;

	sem_init(&lender.lent, 0, 0);
	sem_init(&lender.end, 0, 0);
	pthread_attr_init(&attr);
	if (own) {
		stack = mmap(NULL, size, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
		if (stack == MAP_FAILED)
			return ummu_row_refused(row, "mmap");
		pthread_attr_setstack(&attr, stack, size);
	} else {
		pthread_attr_setstacksize(&attr, size);
	}
	err = pthread_create(&lender.thread, &attr, lend, &lender);
	pthread_attr_destroy(&attr);
	if (err) {
		errno = err;
		return ummu_row_refused(row, "pthread_create");
	}
	while (sem_wait(&lender.lent))
		;
	/* far below what the thread itself uses */
	row->mapping.addr = round_up(lender.middle - size / 2, ummu_page_size());
	row->mapping.owner = &lender;
	row->mapping.give_back = give_back_stack;
	row->mapping.borrowed = !own;
	ummu_mapping_touch(row->mapping.addr, row->mapping.length);
	return 0;
}

/* The part of a library's data that stays writable. */
static int find_data(struct dl_phdr_info *info, size_t size, void *argument)
{
	struct matrix_row *row = argument;
	uintptr_t page = ummu_page_size(), start = 0, end = 0, sealed = 0;
	const ElfW(Phdr) * header;
	int i;

	(void)size;
	if (info->dlpi_addr != (uintptr_t)row->mapping.owner)
		return 0;
	for (i = 0; i < info->dlpi_phnum; i++) {
		header = &info->dlpi_phdr[i];
		if (header->p_type == PT_LOAD && (header->p_flags & PF_W)) {
			start = info->dlpi_addr + header->p_vaddr;
			end = start + header->p_memsz;
		} else if (header->p_type == PT_GNU_RELRO) {
			sealed = info->dlpi_addr + header->p_vaddr +
				 header->p_memsz;
		}
	}
	if (sealed > start && sealed <= end)
		start = sealed;
	start &= -page;
	end = (end + page - 1) & -page;
	if (!end || start >= end)
		return 0;
	row->mapping.addr = (char *)start;
	row->mapping.length = end - start;
	return 1;
}

static int give_back_library(struct matrix_mapping *mapping)
{
	return dlclose(mapping->owner) ? -EBUSY : 0;
}

/* Any small library will do that nobody here has loaded. */
static int make_library(struct matrix_row *row)
{
	static const char *const names[] = {
		"libBrokenLocale.so.1", "libthread_db.so.1", "libresolv.so.2",
		"libnss_compat.so.2",	"libcrypt.so.1",     "libz.so.1",
	};
	size_t i, offset, page = ummu_page_size();
	struct link_map *map;
	void *handle;

	for (i = 0; i < sizeof(names) / sizeof(*names); i++) {
		handle = dlopen(names[i], RTLD_LAZY | RTLD_NOLOAD);
		if (handle) {
			dlclose(handle);
			continue;
		}
		handle = dlopen(names[i], RTLD_LAZY | RTLD_LOCAL);
		if (!handle)
			continue;
		if (dlinfo(handle, RTLD_DI_LINKMAP, &map))
			continue;
		row->mapping.owner = (void *)map->l_addr;
		if (!dl_iterate_phdr(find_data, row))
			continue;
		row->mapping.owner = handle;
		row->mapping.borrowed = true;
		row->mapping.give_back = give_back_library;
		for (offset = 0; offset < row->mapping.length; offset += page) {
			volatile char *byte = row->mapping.addr + offset;

			*byte = *byte;
		}
		return 0;
	}
	return refused(row, "no shared library to load and unload");
}

/** ummu_owner_make - for the kinds that are not plain mappings. */
int ummu_owner_make(struct matrix_row *row)
{
	switch (row->kind) {
	case KIND_BRK:
		return make_brk(row);
	case KIND_MALLOC:
		return make_malloc(row);
	case KIND_MALLOC_LARGE:
		return make_malloc_large(row);
	case KIND_STACK_CACHED:
		return make_stack(row, 8 << 20, false);
	case KIND_STACK_FREED:
		/* beyond the 40 MiB of stacks that glibc keeps */
		return make_stack(row, 64 << 20, false);
	case KIND_STACK_OWN:
		return make_stack(row, 8 << 20, true);
	case KIND_LIBRARY:
		return make_library(row);
	default:
		return refused(row, "no such memory");
	}
}
