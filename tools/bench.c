/* SPDX-License-Identifier: MIT */
/*
 * bench.c - `ummunotify bench`: what the monitor and the cache cost.
 */
#include <argp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "bench.h"
#include "tool.h"

#define ROUNDS 201
#define QUICK_ROUNDS 31

struct arguments {
	bool json;
	bool quick;
};

static const char doc[] =
	"Measure what the monitor and the cache cost, beside the bare "
	"operation in the same run."
	"\v"
	"Each line is the median of many samples with the tenth and the "
	"ninetieth percentile, in nanoseconds an operation, and its ratio to "
	"the bare operation.  With two threads, it is the time that one of "
	"them waits for its operation.\n"
	"\n"
	"Exit status: 0, 2 for wrong arguments, 3 if this machine or user "
	"cannot run it.\n";

static const struct argp_option options[] = {
	{ "json", 'j', NULL, 0, "Print the result as JSON", 0 },
	{ "quick", 'q', NULL, 0, "Take fewer samples", 0 },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct arguments *arguments = state->input;

	(void)arg;
	switch (key) {
	case 'j':
		arguments->json = true;
		return 0;
	case 'q':
		arguments->quick = true;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

void bench_say(const char *format, ...)
{
	va_list list;

	fputs("ummunotify bench: ", stderr);
	va_start(list, format);
	vfprintf(stderr, format, list);
	va_end(list);
	fputc('\n', stderr);
}

static struct bench_group *const groups[] = {
	&bench_check, &bench_watch, &bench_cache, &bench_munmap, &bench_madvise,
};
#define GROUPS (sizeof(groups) / sizeof(*groups))

const struct bench_bare *bench_bare_of(const struct ummu_monitor *monitor)
{
	return strcmp(ummu_monitor_backend(monitor), bench_bare_kmod.backend) ?
		       &bench_bare_uffd :
		       &bench_bare_kmod;
}

static void give_name(const char **name, const struct bench_bare *bare)
{
	if (!*name)
		return;
	if (!strcmp(*name, BENCH_PROBE))
		*name = bare->probe_name;
	else if (!strcmp(*name, BENCH_ADD))
		*name = bare->add_name;
	else if (!strcmp(*name, BENCH_DROP))
		*name = bare->drop_name;
}

void bench_name_cases(struct bench_case *cases, size_t count,
		      const struct bench_bare *bare)
{
	size_t i;

	for (i = 0; i < count; i++) {
		give_name(&cases[i].name, bare);
		give_name(&cases[i].against, bare);
	}
}

static const struct bench_case *peer(const struct bench_group *group,
				     const struct bench_case *one)
{
	size_t i;

	for (i = 0; one->against && i < group->count; i++)
		if (!strcmp(group->cases[i].name, one->against))
			return &group->cases[i];
	return NULL;
}

static void print_case(const struct bench_group *group,
		       const struct bench_case *one)
{
	const struct bench_case *bare = peer(group, one);
	char name[64];

	snprintf(name, sizeof(name), "%s%s", one->name,
		 one->threads > 1 ? ", 2 threads" : "");
	printf("  %-36s%9.0f  %8.0f -%8.0f", name, one->median, one->p10,
	       one->p90);
	if (bare)
		printf("%8.2f x %s", one->median / bare->median, bare->name);
	putchar('\n');
}

static void print_group(const struct bench_group *group)
{
	size_t i;

	printf("%s: %s\n", group->name, group->counts);
	for (i = 0; i < group->count; i++)
		print_case(group, &group->cases[i]);
	fflush(stdout);
}

static struct json_object *case_json(const struct bench_group *group,
				     const struct bench_case *one)
{
	const struct bench_case *bare = peer(group, one);
	struct json_object *row = json_object_new_object();

	json_object_object_add(row, "group",
			       json_object_new_string(group->name));
	json_object_object_add(row, "operation",
			       json_object_new_string(one->name));
	json_object_object_add(row, "threads",
			       json_object_new_int((int)one->threads));
	json_object_object_add(row, "median_ns",
			       json_object_new_double(one->median));
	json_object_object_add(row, "p10_ns", json_object_new_double(one->p10));
	json_object_object_add(row, "p90_ns", json_object_new_double(one->p90));
	json_object_object_add(row, "against",
			       bare ? json_object_new_string(bare->name) : NULL);
	json_object_object_add(row, "ratio",
			       bare ? json_object_new_double(one->median /
							     bare->median) :
				      NULL);
	return row;
}

static struct json_object *rows_json(void)
{
	struct json_object *rows = json_object_new_array();
	size_t i, j;

	for (i = 0; i < GROUPS; i++)
		for (j = 0; j < groups[i]->count; j++)
			json_object_array_add(rows,
					      case_json(groups[i],
							&groups[i]->cases[j]));
	return rows;
}

static int find_backend(char *name, size_t size)
{
	struct ummu_monitor *monitor;
	int ret = ummu_monitor_open(NULL, &monitor);

	if (ret) {
		bench_say("no monitor works here: %s", ummu_monitor_explain());
		return ret;
	}
	snprintf(name, size, "%s", ummu_monitor_backend(monitor));
	ummu_monitor_close(monitor);
	if (strcmp(name, "none"))
		return 0;
	bench_say("the backend \"none\" watches nothing that could be "
		  "measured; unset UMMU_MONITOR");
	return -EOPNOTSUPP;
}

static int finish_json(const char *backend, unsigned int rounds)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "schema", json_object_new_int(1));
	json_object_object_add(object, "backend",
			       json_object_new_string(backend));
	json_object_object_add(object, "samples",
			       json_object_new_int((int)rounds));
	json_object_object_add(object, "rows", rows_json());
	return ummu_tool_print_json(object, UMMU_EXIT_OK);
}

int ummu_tool_bench(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.doc = doc,
	};
	struct arguments arguments = { 0 };
	unsigned int rounds;
	char backend[16];
	size_t i;

	argp_parse(&argp, argc, argv, 0, NULL, &arguments);
	rounds = arguments.quick ? QUICK_ROUNDS : ROUNDS;
	if (find_backend(backend, sizeof(backend)))
		return UMMU_EXIT_CANNOT;
	if (!arguments.json)
		printf("backend %s, %u samples, nanoseconds an operation\n"
		       "%38s%9s  %18s  ratio to the bare operation\n",
		       backend, rounds, "", "median", "p10 -     p90");
	for (i = 0; i < GROUPS; i++) {
		if (groups[i]->measure(groups[i], rounds))
			return UMMU_EXIT_CANNOT;
		if (!arguments.json)
			print_group(groups[i]);
	}
	return arguments.json ? finish_json(backend, rounds) : UMMU_EXIT_OK;
}
