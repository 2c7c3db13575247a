/* SPDX-License-Identifier: MIT */
/*
 * tool.h - what the subcommands of ummunotify(1) share.
 */
#ifndef UMMU_TOOL_H
#define UMMU_TOOL_H

#include <argp.h>

struct json_object;

/** The exit codes of every subcommand; documented in `ummunotify --help`. */
enum ummu_tool_exit {
	UMMU_EXIT_OK = 0,
	UMMU_EXIT_FOUND = 1,  /* the run found what it must not find */
	UMMU_EXIT_USAGE = 2,  /* wrong arguments */
	UMMU_EXIT_CANNOT = 3, /* this machine or user cannot run it */
};

/*
 * One subcommand each.  argv[0] is "ummunotify NAME", good for messages and
 * for argp_parse(); the result is an enum ummu_tool_exit.  Usage errors leave
 * through argp, which exits with UMMU_EXIT_USAGE.
 */
int ummu_tool_status(int argc, char **argv);
int ummu_tool_verify(int argc, char **argv);
int ummu_tool_demo(int argc, char **argv);
int ummu_tool_bench(int argc, char **argv);

/**
 * ummu_tool_print_json - write @object to stdout and drop it
 *
 * Returns @code, or UMMU_EXIT_CANNOT (with a message) if stdout could not take
 * all of it.
 */
int ummu_tool_print_json(struct json_object *object, int code);

#endif
