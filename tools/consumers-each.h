/* SPDX-License-Identifier: MIT */
/*
 * consumers-each.h - what consumers.c knows of each of them: how to look for it.
 */
#ifndef UMMU_CONSUMERS_EACH_H
#define UMMU_CONSUMERS_EACH_H

#include <stdbool.h>
#include <stddef.h>

#include "tools/consumers.h"

/**
 * struct ummu_consumer_kind - how to look for one
 * @name:    of the software
 * @soname:  of its library
 * @version: asks the library, which is loaded, for its version
 * @look:    fills in the rest; the library is installed
 */
struct ummu_consumer_kind {
	const char *name;
	const char *soname;
	void (*version)(void *library, char *text, size_t size);
	void (*look)(struct ummu_consumer *consumer);
};

extern const struct ummu_consumer_kind ummu_consumer_libfabric;
extern const struct ummu_consumer_kind ummu_consumer_openmpi;
extern const struct ummu_consumer_kind ummu_consumer_ucx;

/** ummu_consumer_file - is the file in the folder?  Then @path is its path. */
bool ummu_consumer_file(const char *folder, const char *file, char *path,
			size_t size);

/**
 * ummu_consumer_search - is the drop-in in one of these folders?
 * @folders:  with colons between
 * @mark:     what a folder may begin with that is not of its name, or 0
 * @file:     of the drop-in
 * @consumer: its @drop_in is set
 */
bool ummu_consumer_search(const char *folders, char mark, const char *file,
			  struct ummu_consumer *consumer);

#endif
