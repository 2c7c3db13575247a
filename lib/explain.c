/* SPDX-License-Identifier: MIT */
/* explain.c - remember in words why a call of this thread was refused. */
#include "explain.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <ummunotify/monitor.h>

static __thread char explanation[UMMU_EXPLANATION];

int ummu_explain(int error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(explanation, sizeof(explanation), format, arguments);
	va_end(arguments);
	return error;
}

void ummu_explain_keep(char *kept)
{
	memcpy(kept, explanation, sizeof(explanation));
}

void ummu_explain_restore(const char *kept)
{
	memcpy(explanation, kept, sizeof(explanation));
}

const char *ummu_monitor_explain(void)
{
	return explanation;
}
