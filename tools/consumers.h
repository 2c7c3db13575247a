/* SPDX-License-Identifier: MIT */
/*
 * consumers.h - which software with a registration cache of its own is here,
 * and whether this project's drop-in tells it.
 */
#ifndef UMMU_CONSUMERS_H
#define UMMU_CONSUMERS_H

#include <limits.h>
#include <stdbool.h>

struct json_object;

#define UMMU_CONSUMERS 3

/**
 * struct ummu_consumer - one of them, as this process would find it
 * @name:    of the software
 * @library: the file of its library, "" where it is not installed
 * @version: of that, "" where it does not say
 * @drop_in: the file of the drop-in, "" where there is none
 * @active:  the software would load it, and it would not step aside
 * @note:    what to do about it, or "" where there is nothing to do
 */
struct ummu_consumer {
	const char *name;
	char library[PATH_MAX];
	char version[32];
	char drop_in[PATH_MAX];
	bool active;
	char note[PATH_MAX + 128];
};

void ummu_consumers_find(struct ummu_consumer consumers[UMMU_CONSUMERS]);
void ummu_consumers_print(const struct ummu_consumer consumers[UMMU_CONSUMERS]);
struct json_object *
ummu_consumers_json(const struct ummu_consumer consumers[UMMU_CONSUMERS]);

#endif
