/* SPDX-License-Identifier: MIT */
/*
 * consumers.c - which software with a registration cache of its own is here,
 * and whether this project's drop-in tells it.
 */
#define _GNU_SOURCE
#include "tools/consumers.h"

#include <dlfcn.h>
#include <libgen.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>
#include <unistd.h>

#include <json-c/json.h>

/**
 * struct kind - how to look for one
 * @soname:  of its library
 * @version: asks the library, which is loaded, for its version
 * @look:    fills in the rest; the library is installed
 */
struct kind {
	const char *name;
	const char *soname;
	void (*version)(void *library, char *text, size_t size);
	void (*look)(struct ummu_consumer *consumer);
};

static bool is_there(const char *folder, const char *file, char *path,
		     size_t size)
{
	int length = snprintf(path, size, "%s/%s", folder, file);

	if (length > 0 && (size_t)length < size && !access(path, R_OK))
		return true;
	path[0] = '\0';
	return false;
}

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

/* libfabric: a folder of providers, or those of FI_PROVIDER_PATH instead. */

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

static bool is_in_fabric_path(const char *path, struct ummu_consumer *consumer)
{
	char *copy = strdup(path), *state = NULL, *folder;
	bool found = false;

	for (folder = copy ? strtok_r(copy, ":", &state) : NULL;
	     folder && !found; folder = strtok_r(NULL, ":", &state))
		found = is_there(folder + (folder[0] == '@'), FABRIC_DROP_IN,
				 consumer->drop_in, sizeof(consumer->drop_in));
	free(copy);
	return found;
}

static bool is_beside_fabric(struct ummu_consumer *consumer)
{
	char folder[PATH_MAX + 16], copy[PATH_MAX];

	snprintf(copy, sizeof(copy), "%s", consumer->library);
	snprintf(folder, sizeof(folder), "%s/libfabric", dirname(copy));
	return is_there(folder, FABRIC_DROP_IN, consumer->drop_in,
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

	if (path ? is_in_fabric_path(path, consumer) :
		   is_beside_fabric(consumer)) {
		consumer->active = !fabric_steps_aside(consumer);
		return;
	}
	if (is_there(UMMU_FABRIC_FOLDER, FABRIC_DROP_IN, consumer->drop_in,
		     sizeof(consumer->drop_in)))
		snprintf(consumer->note, sizeof(consumer->note),
			 "set FI_PROVIDER_PATH=%s", UMMU_FABRIC_FOLDER);
	else
		snprintf(consumer->note, sizeof(consumer->note),
			 "the drop-in is not installed: "
			 "ummunotify-libfabric(7)");
}

static const struct kind kinds[UMMU_CONSUMERS] = {
	{ "libfabric", "libfabric.so.1", fabric_version, look_for_fabric },
};

/** struct library - what a child has found out about one; all zeros: nothing */
struct library {
	char path[PATH_MAX];
	char version[32];
};

static void load(const struct kind *kind, struct library *found)
{
	void *library = dlopen(kind->soname, RTLD_LAZY | RTLD_LOCAL);
	struct link_map *map;

	if (!library)
		return;
	if (!dlinfo(library, RTLD_DI_LINKMAP, &map))
		snprintf(found->path, sizeof(found->path), "%s", map->l_name);
	kind->version(library, found->version, sizeof(found->version));
}

/* In a child: what these libraries do when they are loaded is their own. */
static void examine(const struct kind *kind, struct library *found)
{
	int ends[2];
	pid_t child;

	if (pipe(ends))
		return;
	child = fork();
	if (!child) {
		load(kind, found);
		_exit(write(ends[1], found, sizeof(*found)) != sizeof(*found));
	}
	close(ends[1]);
	if (read(ends[0], found, sizeof(*found)) != (ssize_t)sizeof(*found))
		memset(found, 0, sizeof(*found));
	if (child > 0)
		waitpid(child, NULL, 0);
	close(ends[0]);
}

static void find(const struct kind *kind, struct ummu_consumer *consumer)
{
	struct library library = { .path = "" };

	memset(consumer, 0, sizeof(*consumer));
	consumer->name = kind->name;
	examine(kind, &library);
	if (!*library.path) {
		snprintf(consumer->note, sizeof(consumer->note),
			 "%s is not installed", kind->soname);
		return;
	}
	memcpy(consumer->library, library.path, sizeof(library.path));
	memcpy(consumer->version, library.version, sizeof(library.version));
	kind->look(consumer);
}

void ummu_consumers_find(struct ummu_consumer consumers[UMMU_CONSUMERS])
{
	size_t i;

	for (i = 0; i < UMMU_CONSUMERS; i++)
		find(&kinds[i], &consumers[i]);
}

void ummu_consumers_print(const struct ummu_consumer consumers[UMMU_CONSUMERS])
{
	size_t i;

	printf("\nConsumers\n");
	for (i = 0; i < UMMU_CONSUMERS; i++) {
		const struct ummu_consumer *consumer = &consumers[i];

		printf("  %-10s %-4s %s%s%s%s\n", consumer->name,
		       consumer->active ? "yes" : "no", consumer->version,
		       *consumer->version ? ", " : "",
		       consumer->active ? "told through " : "",
		       consumer->active ? consumer->drop_in : consumer->note);
	}
}

static struct json_object *text_json(const char *text)
{
	return *text ? json_object_new_string(text) : NULL;
}

struct json_object *
ummu_consumers_json(const struct ummu_consumer consumers[UMMU_CONSUMERS])
{
	struct json_object *list = json_object_new_array();
	size_t i;

	for (i = 0; i < UMMU_CONSUMERS; i++) {
		const struct ummu_consumer *consumer = &consumers[i];
		struct json_object *object = json_object_new_object();

		json_object_object_add(object, "name",
				       text_json(consumer->name));
		json_object_object_add(object, "library",
				       text_json(consumer->library));
		json_object_object_add(object, "version",
				       text_json(consumer->version));
		json_object_object_add(object, "drop_in",
				       text_json(consumer->drop_in));
		json_object_object_add(object, "active",
				       json_object_new_boolean(
					       consumer->active));
		json_object_object_add(object, "note",
				       text_json(consumer->note));
		json_object_array_add(list, object);
	}
	return list;
}
