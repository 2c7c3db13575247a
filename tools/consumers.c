/* SPDX-License-Identifier: MIT */
/*
 * consumers.c - which software with a registration cache of its own is here,
 * and whether this project's drop-in tells it.
 */
#define _GNU_SOURCE
#include "tools/consumers-each.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <json-c/json.h>

bool ummu_consumer_file(const char *folder, const char *file, char *path,
			size_t size)
{
	int length = snprintf(path, size, "%s/%s", folder, file);

	if (length > 0 && (size_t)length < size && !access(path, R_OK))
		return true;
	path[0] = '\0';
	return false;
}

bool ummu_consumer_search(const char *folders, char mark, const char *file,
			  struct ummu_consumer *consumer)
{
	char *copy = strdup(folders), *state = NULL, *folder;
	bool found = false;

	for (folder = copy ? strtok_r(copy, ":", &state) : NULL;
	     folder && !found; folder = strtok_r(NULL, ":", &state))
		found = ummu_consumer_file(folder + (mark && folder[0] == mark),
					   file, consumer->drop_in,
					   sizeof(consumer->drop_in));
	free(copy);
	return found;
}

static const struct ummu_consumer_kind *const kinds[UMMU_CONSUMERS] = {
	&ummu_consumer_libfabric,
	&ummu_consumer_openmpi,
	&ummu_consumer_ucx,
};

/** struct library - what a child has found out about one; all zeros: nothing */
struct library {
	char path[PATH_MAX];
	char version[32];
};

static void load(const struct ummu_consumer_kind *kind, struct library *found)
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
static void examine(const struct ummu_consumer_kind *kind, struct library *found)
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

static void find(const struct ummu_consumer_kind *kind,
		 struct ummu_consumer *consumer)
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
		find(kinds[i], &consumers[i]);
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
