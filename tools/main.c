/* SPDX-License-Identifier: MIT */
/*
 * main.c - the ummunotify command: finds the subcommand to run.
 */
#include <argp.h>
#include <stdio.h>
#include <string.h>

#include <ummunotify/monitor.h>

#include "tool.h"

struct subcommand {
	const char *name;
	const char *title; /* its argv[0] */
	int (*run)(int argc, char **argv);
};

static const struct subcommand subcommands[] = {
	{ "status", "ummunotify status", ummu_tool_status },
	{ "verify", "ummunotify verify", ummu_tool_verify },
	{ "demo", "ummunotify demo", ummu_tool_demo },
	{ "bench", "ummunotify bench", ummu_tool_bench },
};

static const char doc[] =
	"Learn that memory of a process went away or changed pages, before "
	"hardware reads or writes the wrong ones."
	"\v"
	"Commands:\n"
	"  status   which backends this machine has, and what the others need\n"
	"  verify   run every way memory leaves, and say which are caught\n"
	"  demo     copy a file through pinned buffers, with and without the "
	"cache\n"
	"  bench    what the monitor and the cache cost\n"
	"\n"
	"`ummunotify COMMAND --help' tells the options of a command; all of "
	"them take --json.\n"
	"\n"
	"Exit status:\n"
	"  0  all is well\n"
	"  1  the run found what it must not find: an operation that is "
	"claimed and was missed, a spurious report, a wrong block with the "
	"cache\n"
	"  2  wrong arguments\n"
	"  3  this machine or user cannot run it\n";

static const char args_doc[] = "COMMAND [OPTION...]";

static void print_version(FILE *stream, struct argp_state *state)
{
	(void)state;
	fprintf(stream, "ummunotify %s\n", ummu_version());
}

struct arguments {
	const struct subcommand *subcommand;
	int first; /* index of the subcommand in argv */
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct arguments *arguments = state->input;
	size_t i;

	switch (key) {
	case ARGP_KEY_ARG:
		for (i = 0; i < sizeof(subcommands) / sizeof(*subcommands); i++)
			if (!strcmp(arg, subcommands[i].name))
				arguments->subcommand = &subcommands[i];
		if (!arguments->subcommand)
			argp_error(state, "there is no command '%s'", arg);
		/* the rest is the subcommand's to parse */
		arguments->first = state->next - 1;
		state->next = state->argc;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "a command is needed");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		.parser = parse,
		.args_doc = args_doc,
		.doc = doc,
	};
	struct arguments arguments = { 0 };

	argp_err_exit_status = UMMU_EXIT_USAGE;
	argp_program_version_hook = print_version;
	if (argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &arguments))
		return UMMU_EXIT_USAGE;

	argc -= arguments.first;
	argv += arguments.first;
	argv[0] = (char *)arguments.subcommand->title;
	return arguments.subcommand->run(argc, argv);
}
