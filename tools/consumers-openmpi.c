/* SPDX-License-Identifier: MIT */
/*
 * consumers-openmpi.c - Open MPI: folders of components, named by a variable or
 * by a file of parameters, and one in the home directory.
 */
#define _GNU_SOURCE
#include "tools/consumers-each.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DROP_IN "mca_memory_ummunotify.so"
#define SERIES "4.1."

static void openmpi_version(void *library, char *text, size_t size)
{
	int (*version)(char *said, int *length) = NULL;
	void *symbol = dlsym(library, "MPI_Get_library_version");
	char said[4096], number[32]; /* it writes MPI's 256 bytes at most */
	int length;

	memcpy(&version, &symbol, sizeof(version));
	/* One of the few calls that MPI allows before it is initialized. */
	if (version && !version(said, &length) &&
	    sscanf(said, "Open MPI v%31[0-9.]", number) == 1)
		snprintf(text, size, "%s", number);
}

/* The value of a parameter in a file of them, or false. */
static bool parameter_in(const char *file, const char *name, char *value,
			 size_t size)
{
	char line[PATH_MAX], format[64];
	FILE *lines = fopen(file, "re");
	bool found = false;

	if (!lines)
		return false;
	snprintf(format, sizeof(format), " %s = %%%zus", name, size - 1);
	while (fgets(line, sizeof(line), lines))
		/* The last one counts. */
		found |= sscanf(line, format, value) == 1;
	fclose(lines);
	return found;
}

/* In the order in which Open MPI believes them. */
static bool parameter(const char *name, char *value, size_t size)
{
	char text[PATH_MAX];
	const char *given, *home = getenv("HOME");

	snprintf(text, sizeof(text), "OMPI_MCA_%s", name);
	given = getenv(text);
	if (given) {
		snprintf(value, size, "%s", given);
		return true;
	}
	snprintf(text, sizeof(text), "%s/.openmpi/mca-params.conf",
		 home ? home : "");
	return parameter_in(text, name, value, size) ||
	       parameter_in("/etc/openmpi/openmpi-mca-params.conf", name, value,
			    size);
}

/* Where Open MPI looks; in the home directory only if nothing else is said. */
static bool is_found(struct ummu_consumer *consumer)
{
	char folders[PATH_MAX];
	const char *home = getenv("HOME");

	if (parameter("mca_base_component_path", folders, sizeof(folders)))
		return ummu_consumer_search(folders, '\0', DROP_IN, consumer);
	snprintf(folders, sizeof(folders), "%s/.openmpi/components",
		 home ? home : "");
	return ummu_consumer_search(folders, '\0', DROP_IN, consumer);
}

static bool steps_aside(struct ummu_consumer *consumer)
{
	char chosen[PATH_MAX] = "";
	bool named;

	if (strncmp(consumer->version, SERIES, strlen(SERIES))) {
		snprintf(consumer->note, sizeof(consumer->note),
			 "the drop-in is for Open MPI " SERIES "x");
		return true;
	}
	if (!parameter("memory", chosen, sizeof(chosen)))
		return false;
	named = strstr(chosen, "ummunotify");
	if (named == (chosen[0] != '^'))
		return false;
	snprintf(consumer->note, sizeof(consumer->note),
		 "the parameter memory says \"%.64s\"", chosen);
	return true;
}

static void look_for_openmpi(struct ummu_consumer *consumer)
{
	if (is_found(consumer))
		consumer->active = !steps_aside(consumer);
	else if (ummu_consumer_file(UMMU_OPENMPI_FOLDER, DROP_IN,
				    consumer->drop_in,
				    sizeof(consumer->drop_in)))
		snprintf(consumer->note, sizeof(consumer->note),
			 "set OMPI_MCA_mca_base_component_path="
			 "%s:SYSTEM_DEFAULT",
			 UMMU_OPENMPI_FOLDER);
	else
		snprintf(consumer->note, sizeof(consumer->note),
			 "the drop-in is not installed: ummunotify-openmpi(7)");
}

const struct ummu_consumer_kind ummu_consumer_openmpi = {
	.name = "Open MPI",
	.soname = "libmpi.so.40",
	.version = openmpi_version,
	.look = look_for_openmpi,
};
