/* SPDX-License-Identifier: MIT */
/* consumers-ucx.c - UCX, whose cache nobody from outside can tell. */
#define _GNU_SOURCE
#include "tools/consumers-each.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

static void ucx_version(void *library, char *text, size_t size)
{
	const char *(*version)(void) = NULL;
	void *symbol = dlsym(library, "ucp_get_version_string");

	memcpy(&version, &symbol, sizeof(version));
	if (version)
		snprintf(text, size, "%s", version());
}

static void look_for_ucx(struct ummu_consumer *consumer)
{
	snprintf(consumer->note, sizeof(consumer->note),
		 "there is no drop-in: its own hooks in libc tell it");
}

const struct ummu_consumer_kind ummu_consumer_ucx = {
	.name = "UCX",
	.soname = "libucp.so.0",
	.version = ucx_version,
	.look = look_for_ucx,
};
