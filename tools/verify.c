/* SPDX-License-Identifier: MIT */
/*
 * verify.c - `ummunotify verify`: what the monitor catches on this machine.
 */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "matrix/matrix.h"
#include "tool.h"

struct arguments {
	const char *backend;
	const char *only;
	unsigned int timeout;
	bool json;
};

static const struct argp_option options[] = {
	{ "backend", 'b', "NAME", 0, "the backend to judge (default: the best)",
	  0 },
	{ "json", 'j', NULL, 0, "print JSON", 0 },
	{ "only", 'o', "TEXT", 0,
	  "run only the operations with TEXT in their name", 0 },
	{ "timeout", 't', "SECONDS", 0,
	  "how long one row may take (default: 10)", 0 },
	{ 0 }
};

static const char doc[] =
	"Run every way in which memory leaves a process, on every kind of "
	"mapping, and compare what the monitor reports with what really "
	"happened to the pages."
	"\v"
	"Verdicts:\n"
	"  caught    a page left, and that was reported\n"
	"  missed    a page left, and that was not reported\n"
	"  early     reported although the page stayed, where that may be\n"
	"  may-fire  the same, of what stays quiet on private base pages\n"
	"  quiet     nothing left and nothing was reported\n"
	"  spurious  reported although the page stayed, where it must not be\n"
	"  unknown   this user cannot see whether the page left\n"
	"  skipped   does not work here (shown as -), with the reason\n"
	"\n"
	"As root it raises vm.nr_hugepages for as long as it runs, and sees "
	"physical pages; other users find out by what pages contain.\n"
	"\n"
	"Exit status: 0 all is well; 1 something claimed was missed, a report "
	"was spurious, or a row crashed; 2 wrong arguments; 3 there is no "
	"monitor here.\n";

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct arguments *arguments = state->input;
	char *end;
	long seconds;

	switch (key) {
	case 'b':
		arguments->backend = arg;
		return 0;
	case 'o':
		arguments->only = arg;
		return 0;
	case 'j':
		arguments->json = true;
		return 0;
	case 't':
		seconds = strtol(arg, &end, 10);
		if (*end || seconds < 1 || seconds > 3600)
			argp_error(state, "'%s' is not 1 to 3600 seconds", arg);
		arguments->timeout = (unsigned int)seconds;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "there is no argument '%s'", arg);
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static void show_progress(size_t done, size_t count)
{
	fprintf(stderr, "\r%zu of %zu rows\033[K", done, count);
	if (done + 1 == count)
		fputs("\r\033[K", stderr);
}

int ummu_tool_verify(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.doc = doc,
	};
	struct arguments arguments = { .timeout = 10 };
	struct matrix_run run = { .opts = { .size = sizeof(run.opts) } };
	int code, err;

	argp_parse(&argp, argc, argv, 0, NULL, &arguments);
	run.opts.backend = arguments.backend;
	/* what is named here is what is judged */
	if (arguments.backend)
		unsetenv("UMMU_MONITOR");
	run.timeout = arguments.timeout;
	run.only = arguments.only;

	err = ummu_matrix_run(&run,
			      isatty(STDERR_FILENO) ? show_progress : NULL);
	if (err == -ENOENT) {
		fprintf(stderr,
			"ummunotify verify: no operation has '%s' in its "
			"name\n",
			run.only);
		code = UMMU_EXIT_USAGE;
		goto out;
	}
	if (err) {
		if (err != -ENODEV)
			fprintf(stderr, "ummunotify verify: %s\n",
				strerror(-err));
		code = UMMU_EXIT_CANNOT;
		goto out;
	}
	code = run.failures ? UMMU_EXIT_FOUND : UMMU_EXIT_OK;
	if (arguments.json)
		code = ummu_matrix_json(&run, code);
	else
		code = ummu_matrix_print(&run);
out:
	free(run.results);
	return code;
}
