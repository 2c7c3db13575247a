/* SPDX-License-Identifier: MIT */
/* say.c - what the drop-in has to say, to libfabric's log and to people. */
#include "integrations/libfabric/say.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <rdma/providers/fi_log.h>

#define LINE 640

static int verbose = UMMU_SAY_TROUBLE;

void ummu_say_verbose(int level)
{
	verbose = level;
}

/* In one piece, though other threads and processes write too. */
static void write_line(const char *text)
{
	char line[LINE + 64];
	int length = snprintf(line, sizeof(line), "ummunotify[%ld]: %s\n",
			      (long)getpid(), text);
	ssize_t written = write(STDERR_FILENO, line, (size_t)length);

	(void)written;
}

void ummu_say(const struct fi_provider *provider, enum ummu_say level,
	      const char *format, ...)
{
	const int error = errno;
	char text[LINE];
	va_list list;
	int cancel;

	/* Writing is a cancellation point, and libfabric's locks are held. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	va_start(list, format);
	vsnprintf(text, sizeof(text), format, list);
	va_end(list);
	if (level == UMMU_SAY_TROUBLE)
		FI_WARN(provider, FI_LOG_MR, "%s\n", text);
	else
		FI_INFO(provider, FI_LOG_MR, "%s\n", text);
	if ((int)level <= verbose)
		write_line(text);
	pthread_setcancelstate(cancel, NULL);
	errno = error;
}
