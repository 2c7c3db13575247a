/* SPDX-License-Identifier: MIT */
/*
 * status.c - `ummunotify status`: what this machine offers and what it lacks.
 */
#include <argp.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <json-c/json.h>
#include <liburing.h>

#include <ummunotify/monitor.h>

#include "consumers.h"
#include "tool.h"

#define TEXT 512

/**
 * struct backend - one way to monitor, and whether it works here
 * @name:    as ummu_monitor_open() takes it
 * @works:   it opened
 * @claimed: operations that it catches
 * @flags:   of struct ummu_caps
 * @reason:  why it does not work and what would help
 */
struct backend {
	const char *name;
	bool works;
	int claimed;
	uint64_t flags;
	char reason[TEXT];
};

/**
 * struct limit - a setting of the system that decides how far one gets
 * @path:    the file that holds it, or
 * @read:    what finds it out
 * @meaning: what it does, for people
 * @value:   its value here, "" where there is no such setting
 */
struct limit {
	const char *name;
	const char *path;
	void (*read)(char *value, size_t size);
	const char *meaning;
	char value[128];
};

static void read_line(const char *path, char *value, size_t size)
{
	FILE *file = fopen(path, "re");

	if (!file)
		return;
	if (!fgets(value, (int)size, file))
		value[0] = '\0';
	value[strcspn(value, "\n")] = '\0';
	fclose(file);
}

static void read_memlock(char *value, size_t size)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_MEMLOCK, &limit))
		return;
	if (limit.rlim_cur == RLIM_INFINITY)
		snprintf(value, size, "unlimited");
	else
		snprintf(value, size, "%llu",
			 (unsigned long long)limit.rlim_cur);
}

/* The setting is not all: seccomp filters forbid it too. */
static void try_io_uring(char *value, size_t size)
{
	struct io_uring ring;
	int err = io_uring_queue_init(1, &ring, 0);

	snprintf(value, size, "%s", err ? strerror(-err) : "works");
	if (!err)
		io_uring_queue_exit(&ring);
}

#define MODULE "/sys/module/ummunotify/parameters/"

static struct limit limits[] = {
	{ .name = "vm.max_map_count",
	  .path = "/proc/sys/vm/max_map_count",
	  .meaning = "mappings a process may have; a quarter as many may be "
		     "watched on uffd" },
	{ .name = "RLIMIT_MEMLOCK",
	  .read = read_memlock,
	  .meaning = "bytes that may be pinned without CAP_IPC_LOCK" },
	{ .name = "vm.unprivileged_userfaultfd",
	  .path = "/proc/sys/vm/unprivileged_userfaultfd",
	  .meaning = "0 is enough: only faults in user mode are asked for" },
	{ .name = "io_uring",
	  .read = try_io_uring,
	  .meaning = "the demo and the io_uring pinner need it" },
	{ .name = "kernel.io_uring_disabled",
	  .path = "/proc/sys/kernel/io_uring_disabled",
	  .meaning = "1: needs kernel.io_uring_group, 2: off" },
	{ .name = "vm.nr_hugepages",
	  .path = "/proc/sys/vm/nr_hugepages",
	  .meaning = "huge pages set aside; verify as root adds its own" },
	{ .name = "transparent_hugepage",
	  .path = "/sys/kernel/mm/transparent_hugepage/enabled",
	  .meaning = "always: every mapping, madvise: who asks" },
	{ .name = "ummunotify.watches_per_file",
	  .path = MODULE "watches_per_file",
	  .meaning = "kmod: watches that a monitor opened from now on may "
		     "have" },
	{ .name = "ummunotify.watches_per_process",
	  .path = MODULE "watches_per_process",
	  .meaning = "kmod: and all monitors of a process" },
	{ .name = "ummunotify.watches_per_user",
	  .path = MODULE "watches_per_user",
	  .meaning = "kmod: and all processes of a user" },
};

#define LIMITS (sizeof(limits) / sizeof(*limits))

static void read_limits(void)
{
	size_t i;

	for (i = 0; i < LIMITS; i++)
		if (limits[i].path)
			read_line(limits[i].path, limits[i].value,
				  sizeof(limits[i].value));
		else
			limits[i].read(limits[i].value, sizeof(limits[i].value));
}

static void try_backend(struct backend *backend)
{
	struct ummu_monitor_opts opts = { .size = sizeof(opts),
					  .backend = backend->name };
	struct ummu_caps caps = { .size = sizeof(caps) };
	struct ummu_monitor *monitor;
	int i, err;

	err = ummu_monitor_open(&opts, &monitor);
	if (err) {
		snprintf(backend->reason, sizeof(backend->reason), "%s: %s",
			 strerror(-err), ummu_monitor_explain());
		return;
	}
	/* UMMU_MONITOR wins over opts.backend; then this one was not tried */
	backend->works = !strcmp(ummu_monitor_backend(monitor), backend->name) &&
			 !ummu_monitor_caps(monitor, &caps);
	if (!backend->works)
		snprintf(backend->reason, sizeof(backend->reason),
			 "not tried: the environment variable UMMU_MONITOR "
			 "asks for another one; unset it");
	for (i = 0; backend->works && i < UMMU_OP_COUNT; i++)
		backend->claimed += caps.claims[i] != UMMU_CLAIM_NONE;
	backend->flags = caps.flags;
	ummu_monitor_close(monitor);
}

/* Which one do programs get here?  UMMU_MONITOR has a say in it. */
static const char *best_backend(void)
{
	struct ummu_monitor *monitor;
	const char *name = NULL;
	static char copy[32];

	if (!ummu_monitor_open(NULL, &monitor)) {
		snprintf(copy, sizeof(copy), "%s",
			 ummu_monitor_backend(monitor));
		name = copy;
		ummu_monitor_close(monitor);
	}
	return name;
}

/* May a program close descriptors that it does not know?  uffd has a reader. */
static void print_table(const struct backend *backend)
{
	if (strcmp(backend->name, "uffd"))
		return;
	if (backend->flags & UMMU_CAPS_SHARED_TABLE)
		printf("%13s its reader thread shares the program's table of "
		       "descriptors, as\n%13s close_range() and unshare() are "
		       "refused: where a program closes those\n%13s it does not "
		       "know while a forked child holds copies, munmap() of\n"
		       "%13s watched memory waits until the child ends\n",
		       "", "", "", "");
	else
		printf("%13s its reader thread has a table of descriptors of "
		       "its own: where a\n%13s program closes those it does not "
		       "know, no munmap() waits for ever\n",
		       "", "");
}

static void print(const struct backend *backends, size_t count,
		  const struct utsname *system, const char *best,
		  const struct ummu_consumer *consumers)
{
	size_t i;

	printf("ummunotify %s on %s %s\n\nBackends\n", ummu_version(),
	       system->sysname, system->release);
	for (i = 0; i < count; i++) {
		const struct backend *backend = &backends[i];

		if (!backend->works) {
			printf("  %-6s no   %s\n", backend->name,
			       backend->reason);
			continue;
		}
		printf("  %-6s yes  claims %d of %d operations%s%s\n",
		       backend->name, backend->claimed, UMMU_OP_COUNT,
		       backend->flags & UMMU_CAPS_ANY_FILE ?
			       ", watches file mappings" :
			       "",
		       backend->flags & UMMU_CAPS_ONE_LOAD ?
			       ", checks without system calls" :
			       "");
		print_table(backend);
	}
	if (best)
		printf("  programs get %s\n", best);
	else
		printf("  programs get an error: %s\n", ummu_monitor_explain());
	ummu_consumers_print(consumers);
	printf("\nLimits\n");
	for (i = 0; i < LIMITS; i++)
		printf("  %-30s %-22s %s\n", limits[i].name,
		       *limits[i].value ? limits[i].value : "not there",
		       limits[i].meaning);
}

static struct json_object *backend_json(const struct backend *backend)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "name",
			       json_object_new_string(backend->name));
	json_object_object_add(object, "works",
			       json_object_new_boolean(backend->works));
	json_object_object_add(object, "claimed",
			       json_object_new_int(backend->claimed));
	json_object_object_add(object, "any_file",
			       json_object_new_boolean(backend->flags &
						       UMMU_CAPS_ANY_FILE));
	json_object_object_add(object, "one_load",
			       json_object_new_boolean(backend->flags &
						       UMMU_CAPS_ONE_LOAD));
	json_object_object_add(object, "exact",
			       json_object_new_boolean(backend->flags &
						       UMMU_CAPS_EXACT));
	json_object_object_add(object, "shared_table",
			       json_object_new_boolean(backend->flags &
						       UMMU_CAPS_SHARED_TABLE));
	json_object_object_add(object, "reason",
			       *backend->reason ?
				       json_object_new_string(backend->reason) :
				       NULL);
	return object;
}

static struct json_object *limit_json(const char *value)
{
	char *end;
	long long number = strtoll(value, &end, 10);

	if (!*value)
		return NULL;
	return *end ? json_object_new_string(value) :
		      json_object_new_int64(number);
}

static struct json_object *limits_json(void)
{
	struct json_object *object = json_object_new_object();
	size_t i;

	for (i = 0; i < LIMITS; i++)
		json_object_object_add(object, limits[i].name,
				       limit_json(limits[i].value));
	return object;
}

static int print_json(const struct backend *backends, size_t count,
		      const struct utsname *system, const char *best,
		      const struct ummu_consumer *consumers, int code)
{
	struct json_object *object = json_object_new_object();
	struct json_object *list = json_object_new_array();
	size_t i;

	for (i = 0; i < count; i++)
		json_object_array_add(list, backend_json(&backends[i]));
	json_object_object_add(object, "schema", json_object_new_int(1));
	json_object_object_add(object, "version",
			       json_object_new_string(ummu_version()));
	json_object_object_add(object, "kernel",
			       json_object_new_string(system->release));
	json_object_object_add(object, "backend",
			       best ? json_object_new_string(best) : NULL);
	json_object_object_add(object, "backends", list);
	json_object_object_add(object, "consumers",
			       ummu_consumers_json(consumers));
	json_object_object_add(object, "limits", limits_json());
	return ummu_tool_print_json(object, code);
}

static const struct argp_option options[] = {
	{ "json", 'j', NULL, 0, "print JSON", 0 }, { 0 }
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	bool *json = state->input;

	switch (key) {
	case 'j':
		*json = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "there is no argument '%s'", arg);
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

int ummu_tool_status(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.doc = "Say which backends this machine has, why the others "
		       "are not there and what would enable them, which "
		       "software is told by a drop-in, and the limits that "
		       "matter."
		       "\v"
		       "Exit status: 0 a backend works here; 2 wrong "
		       "arguments; 3 none does.\n",
	};
	struct backend backends[] = {
		{ .name = "kmod" },
		{ .name = "uffd" },
	};
	struct ummu_consumer consumers[UMMU_CONSUMERS];
	size_t count = sizeof(backends) / sizeof(*backends);
	struct utsname system;
	const char *best;
	bool json = false;
	int code;

	argp_parse(&argp, argc, argv, 0, NULL, &json);

	best = best_backend();
	/* it would win over what is tried here */
	unsetenv("UMMU_MONITOR");
	for (size_t i = 0; i < count; i++)
		try_backend(&backends[i]);
	ummu_consumers_find(consumers);
	read_limits();
	if (uname(&system))
		memset(&system, 0, sizeof(system));

	code = best ? UMMU_EXIT_OK : UMMU_EXIT_CANNOT;
	if (json)
		return print_json(backends, count, &system, best, consumers,
				  code);
	print(backends, count, &system, best, consumers);
	if (fflush(stdout) || ferror(stdout)) {
		perror("ummunotify status");
		return UMMU_EXIT_CANNOT;
	}
	return code;
}
