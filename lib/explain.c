/* SPDX-License-Identifier: MIT */
/* explain.c - remember in words why a call of this thread was refused. */
#include "explain.h"

#include <stdarg.h>
#include <stdio.h>
#include <ummunotify/monitor.h>

static __thread char explanation[320];

int ummu_explain(int error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(explanation, sizeof(explanation), format, arguments);
	va_end(arguments);
	return error;
}

const char *ummu_monitor_explain(void)
{
	return explanation;
}
