/* SPDX-License-Identifier: MIT */
/* explain.c - remember in words why a call of this thread was refused. */
#include "explain.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <ummunotify/monitor.h>

#include "../base/lock.h"

/*
 * In a copy of this library that was opened with dlopen() a thread's explanation
 * is allocated when it is first used, so it is used under no lock.
 */
static __thread char explanation[UMMU_EXPLANATION];

int ummu_explain(int error, const char *format, ...)
{
	va_list arguments;

	ummu_no_lock_held(__func__);
	va_start(arguments, format);
	vsnprintf(explanation, sizeof(explanation), format, arguments);
	va_end(arguments);
	return error;
}

void ummu_explain_keep(char *kept)
{
	ummu_no_lock_held(__func__);
	memcpy(kept, explanation, sizeof(explanation));
}

void ummu_explain_restore(const char *kept)
{
	ummu_no_lock_held(__func__);
	memcpy(explanation, kept, sizeof(explanation));
}

const char *ummu_monitor_explain(void)
{
	ummu_no_lock_held(__func__);
	return explanation;
}
