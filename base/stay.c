/* SPDX-License-Identifier: MIT */
/* stay.c - keep this library's code in memory. */
#define _GNU_SOURCE
#include "stay.h"

#include <dlfcn.h>
#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Weak: a static program has no dlopen(), and its code is never unmapped. */
#pragma weak dlopen

/**
 * struct search - the search for the object that contains this code
 * @first: the next object is the program, which comes first, never unmapped
 * @name:  a copy of the object's name; NULL if it is the program, or not found
 */
struct search {
	bool first;
	char *name;
};

static bool contains(const struct dl_phdr_info *object, uintptr_t address)
{
	for (unsigned int i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &object->dlpi_phdr[i];

		if (part->p_type == PT_LOAD &&
		    address - object->dlpi_addr - part->p_vaddr < part->p_memsz)
			return true;
	}
	return false;
}

static int look_at(struct dl_phdr_info *object, size_t size, void *argument)
{
	struct search *search = argument;
	bool program = search->first;

	(void)size;
	search->first = false;
	if (!contains(object, (uintptr_t)look_at))
		return 0;
	if (!program)
		search->name = strdup(object->dlpi_name);
	return 1;
}

static void stay(void)
{
	struct search search = { .first = true };

	if (!dlopen)
		return;
	dl_iterate_phdr(look_at, &search);
	/* NODELETE is the purpose.  NOLOAD, as this code is loaded already. */
	if (search.name)
		dlopen(search.name, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
	free(search.name);
}

/*
 * Not by pthread_once(): a thread that waits there for another one may hold the
 * dynamic linker's lock, in a constructor, and that one waits for this lock.  To
 * do it twice does no harm.
 */
void ummu_stay_loaded(void)
{
	static bool done; /* a relaxed atomic: it orders nothing */

	if (__atomic_load_n(&done, __ATOMIC_RELAXED))
		return;
	stay();
	__atomic_store_n(&done, true, __ATOMIC_RELAXED);
}
