/* SPDX-License-Identifier: MIT */
/*
 * watch-and-read.c - the monitor alone: watch a buffer and see it go.
 *
 * cc watch-and-read.c $(pkg-config --cflags --libs libummunotify)
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <ummunotify/monitor.h>

#define LENGTH (1024 * 1024)
#define COOKIE 42 /* our name for the buffer */

static void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, ummu_monitor_explain());
	exit(1);
}

static const char *reason_name(uint32_t reason)
{
	switch (reason) {
	case UMMU_REASON_UNMAP:
		return "unmapped";
	case UMMU_REASON_CLEAR:
		return "given back";
	case UMMU_REASON_MOVE:
		return "moved";
	default:
		return "unknown";
	}
}

int main(void)
{
	struct ummu_checkpoint checkpoint;
	struct ummu_monitor *monitor;
	struct ummu_watch *watch;
	struct ummu_event event;
	char *buffer;

	if (ummu_monitor_open(NULL, &monitor))
		fail("monitor");
	buffer = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (buffer == MAP_FAILED)
		return 1;
	if (ummu_monitor_watch(monitor, buffer, LENGTH, COOKIE, &watch))
		fail("watch");
	ummu_monitor_checkpoint(monitor, &checkpoint);
	printf("watched: valid %d, changed %d\n", ummu_watch_valid(watch),
	       ummu_changed(&checkpoint));

	munmap(buffer + LENGTH / 2, LENGTH / 2); /* by whom does not matter */
	printf("second half unmapped: valid %d, changed %d\n",
	       ummu_watch_valid(watch), ummu_changed(&checkpoint));

	if (ummu_monitor_read(monitor, &event, 1) != 1) {
		fputs("there was no event\n", stderr);
		return 1;
	}
	printf("event: cookie %" PRIu64 ", bytes %" PRIu64 " to %" PRIu64
	       " were %s\n",
	       event.cookie, event.hint_start - (uintptr_t)buffer,
	       event.hint_end - (uintptr_t)buffer, reason_name(event.reason));

	ummu_monitor_unwatch(monitor, watch);
	ummu_monitor_close(monitor);
	munmap(buffer, LENGTH / 2);
	return event.cookie != COOKIE ||
	       event.hint_start != (uintptr_t)buffer + LENGTH / 2;
}
