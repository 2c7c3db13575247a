/* SPDX-License-Identifier: MIT */
/* say.c - one line for people, from one process of the job on each machine. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi.h"
#include "say.h"

#define LINE 512

/* mpirun numbers the processes of a machine; alone, a process is the first. */
static bool first_here(void)
{
	const char *rank = getenv("OMPI_COMM_WORLD_LOCAL_RANK");

	return !rank || !strcmp(rank, "0");
}

void ummu_ompi_say(const char *format, ...)
{
	char line[LINE];
	va_list list;

	va_start(list, format);
	vsnprintf(line, sizeof(line), format, list);
	va_end(list);
	if (first_here())
		opal_output(0, "memory/ummunotify: %s", line);
}

void ummu_ompi_mention(const char *format, ...)
{
	char line[LINE];
	va_list list;

	va_start(list, format);
	vsnprintf(line, sizeof(line), format, list);
	va_end(list);
	opal_output_verbose(1, opal_memory_base_framework.framework_output,
			    "memory/ummunotify: %s", line);
}
