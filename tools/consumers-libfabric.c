/* SPDX-License-Identifier: MIT */
/*
 * consumers-libfabric.c - libfabric: a folder of providers, or those of
 * FI_PROVIDER_PATH instead.
 */
#define _GNU_SOURCE
#include "tools/consumers-each.h"

#include <dlfcn.h>
#include <libgen.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool is_set_to_no(const char *name)
{
	static const char *const words[] = { "0", "no", "false", "off" };
	const char *value = getenv(name);
	size_t i;

	for (i = 0; value && i < sizeof(words) / sizeof(*words); i++)
		if (!strcasecmp(value, words[i]))
			return true;
	return false;
}

#define FABRIC_DROP_IN "ummunotify-fi.so"

static void fabric_version(void *library, char *text, size_t size)
{
	uint32_t (*version)(void) = NULL;
	void *symbol = dlsym(library, "fi_version");

	memcpy(&version, &symbol, sizeof(version));
	if (version)
		snprintf(text, size, "%u.%u", version() >> 16,
			 version() & 0xffff);
}

static bool is_beside_fabric(struct ummu_consumer *consumer)
{
	char folder[PATH_MAX + 16], copy[PATH_MAX];

	snprintf(copy, sizeof(copy), "%s", consumer->library);
	snprintf(folder, sizeof(folder), "%s/libfabric", dirname(copy));
	return ummu_consumer_file(folder, FABRIC_DROP_IN, consumer->drop_in,
				  sizeof(consumer->drop_in));
}

static bool fabric_steps_aside(struct ummu_consumer *consumer)
{
	const char *other = getenv("FI_MR_CACHE_MONITOR");

	if (is_set_to_no("FI_UMMUNOTIFY_ENABLED"))
		snprintf(consumer->note, sizeof(consumer->note),
			 "unset FI_UMMUNOTIFY_ENABLED");
	else if (other && *other && strcmp(other, "ummunotify"))
		snprintf(consumer->note, sizeof(consumer->note),
			 "FI_MR_CACHE_MONITOR asks for another monitor; "
			 "unset it");
	return *consumer->note;
}

static void look_for_fabric(struct ummu_consumer *consumer)
{
	const char *path = getenv("FI_PROVIDER_PATH");

	/* A path of libfabric's may begin with "@". */
	if (path ? ummu_consumer_search(path, '@', FABRIC_DROP_IN, consumer) :
		   is_beside_fabric(consumer)) {
		consumer->active = !fabric_steps_aside(consumer);
		return;
	}
	if (ummu_consumer_file(UMMU_FABRIC_FOLDER, FABRIC_DROP_IN,
			       consumer->drop_in, sizeof(consumer->drop_in)))
		snprintf(consumer->note, sizeof(consumer->note),
			 "set FI_PROVIDER_PATH=%s", UMMU_FABRIC_FOLDER);
	else
		snprintf(consumer->note, sizeof(consumer->note),
			 "the drop-in is not installed: "
			 "ummunotify-libfabric(7)");
}

const struct ummu_consumer_kind ummu_consumer_libfabric = {
	.name = "libfabric",
	.soname = "libfabric.so.1",
	.version = fabric_version,
	.look = look_for_fabric,
};
