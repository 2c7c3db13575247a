/* SPDX-License-Identifier: MIT */
/*
 * demo.c - `ummunotify demo`: copies a file through pinned buffers three ways.
 *
 * The program that it shows frees and maps its buffers again while their
 * registrations are kept: by nobody, by a cache that is never told, and by
 * the cache of this library.
 */
#include <argp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include <json-c/json.h>

#include "demo.h"
#include "tool.h"

struct arguments {
	const char *file;
	const char *directory;
	bool json;
};

static const char doc[] =
	"Copy FILE with io_uring through pinned buffers that are freed and "
	"mapped again at the same addresses, and look for wrong blocks: "
	"registering for each I/O, with a cache that is never told, and with "
	"ummunotify."
	"\v"
	"Without FILE, a large file of the system is copied.  Nothing is left "
	"behind: the copies are files without a name.\n"
	"\n"
	"Exit status: 0, 1 if the copy made with ummunotify is wrong, 2 for "
	"wrong arguments, 3 if this machine or user cannot run it.\n";

static const struct argp_option options[] = {
	{ "json", 'j', NULL, 0, "Print the result as JSON", 0 },
	{ "directory", 'd', "DIR", 0,
	  "Put the copies in DIR (default: $TMPDIR, or /var/tmp)", 0 },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct arguments *arguments = state->input;

	switch (key) {
	case 'j':
		arguments->json = true;
		return 0;
	case 'd':
		arguments->directory = arg;
		return 0;
	case ARGP_KEY_ARG:
		if (arguments->file)
			argp_error(state, "one FILE is enough");
		arguments->file = arg;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

void demo_say(const char *format, ...)
{
	va_list list;

	demo_progress_end();
	fputs("ummunotify demo: ", stderr);
	va_start(list, format);
	vfprintf(stderr, format, list);
	va_end(list);
	fputc('\n', stderr);
}

static int check_input(const struct demo_input *input)
{
	if (!demo_input_changed(input))
		return 0;
	demo_say("%s was changed while it was copied; choose a file that "
		 "stays as it is",
		 input->path);
	return -EBUSY;
}

static int print(const struct demo_report *report, bool json)
{
	const struct demo_wrong *wrong = &report->results[DEMO_UMMUNOTIFY].wrong;
	int code = wrong->blocks ? UMMU_EXIT_FOUND : UMMU_EXIT_OK;

	if (json)
		return ummu_tool_print_json(demo_json(report), code);
	demo_print_results(report);
	return code;
}

static int run(struct demo_report *report, bool json)
{
	struct demo_turns *turns;
	int ret;

	ret = demo_turns_open(report, &turns);
	if (ret)
		return UMMU_EXIT_CANNOT;
	if (!json)
		demo_print_heading(report);
	ret = demo_turns_run(turns);
	demo_turns_close(turns);
	if (!ret)
		ret = check_input(report->input);
	return ret ? UMMU_EXIT_CANNOT : print(report, json);
}

int ummu_tool_demo(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.args_doc = "[FILE]",
		.doc = doc,
	};
	struct arguments arguments = { 0 };
	struct demo_report report = { 0 };
	struct demo_input input;
	uint64_t bytes;
	int code = UMMU_EXIT_CANNOT;

	argp_parse(&argp, argc, argv, 0, NULL, &arguments);
	if (demo_input_open(arguments.file, &input))
		return code;
	report.input = &input;
	report.direct_input = input.direct_fd != input.fd;
	/* the right copy, and one of each way */
	bytes = (1 + DEMO_WAYS) * demo_total_blocks(&input) * DEMO_BLOCK;
	if (!demo_scratch_folder(arguments.directory, bytes, &report.folder))
		code = run(&report, arguments.json);
	demo_input_close(&input);
	return code;
}
