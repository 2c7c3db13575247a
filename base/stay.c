/* SPDX-License-Identifier: MIT */
/* stay.c - keep this library's code in memory. */
#define _GNU_SOURCE
#include "stay.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
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

void ummu_stay_loaded(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, stay);
}
