/* SPDX-License-Identifier: MIT */
/*
 * main.c - bench-cache: prints rows of what a registration cache costs.
 *
 * usage: bench-cache GROUP...
 *
 * GROUP is hits-COUNT, cycle, memory, probe, storm or uring.  A row is a line:
 * its name, the subject, how many threads, how many regions (or bytes), and the
 * values of its samples, in nanoseconds an operation where nothing else is
 * said.  run makes tables of them.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

static const struct {
	const char *name;
	void (*rows)(void);
} groups[] = {
	{ "cycle", rows_cycle }, { "memory", rows_memory },
	{ "probe", rows_probe }, { "storm", rows_storm },
	{ "uring", rows_uring },
};

static int print(const char *group)
{
	size_t regions;

	if (sscanf(group, "hits-%zu", &regions) == 1 && regions) {
		rows_hits(regions);
		return 0;
	}
	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
		if (!strcmp(groups[i].name, group)) {
			groups[i].rows();
			return 0;
		}
	say("no such group: %s", group);
	return 2;
}

int main(int argc, char **argv)
{
	int status = 0;

	for (int i = 1; i < argc && !status; i++)
		status = print(argv[i]);
	return status;
}
