/* SPDX-License-Identifier: MIT */
/* plugin.h - what the shared object of plugin-unloaded.c exports. */
#ifndef PLUGIN_H
#define PLUGIN_H

#include <ummunotify/rcache.h>

int plugin_open(void);
int plugin_watch(void *addr, size_t length);
int plugin_valid(void);
int plugin_get(void *addr, size_t length);

/** plugin_refused - a call that is refused, and what it explains. */
const char *plugin_refused(void);
void plugin_close(void);

#endif
