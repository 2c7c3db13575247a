/* SPDX-License-Identifier: MIT */
/* device.h - /dev/ummunotify for its tests: the device, the calls of 2010. */
#ifndef DEVICE_H
#define DEVICE_H

#include <linux/ummunotify.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What returns a number returns 0, a count or -errno. */

/** page - the size of one, after device_need(). */
extern size_t page;

/** device_need - exits with 77 where there is no /dev/ummunotify. */
void device_need(void);

/** device_open - a new descriptor; @flags besides O_RDONLY and O_CLOEXEC. */
int device_open(int flags);

/** device_readable - does poll() say so now? */
bool device_readable(int fd);

/** device_hung_up - does poll() say so now? */
bool device_hung_up(int fd);

int device_exchange(int fd, uint32_t *features);
int device_register(int fd, const volatile void *start, size_t length,
		    uint64_t cookie);
int device_register_range(int fd, uint64_t start, uint64_t end, uint64_t cookie);
int device_unregister(int fd, uint64_t cookie);

/** device_read - how many events were read. */
int device_read(int fd, struct ummunotify_event *events, size_t count);

/** device_counter - the counter page, or NULL and errno. */
const volatile uint64_t *device_counter(int fd);

/** device_statistic - a line of the module's statistics, or -errno. */
long device_statistic(const char *name);

/** device_await_statistic - waits for it; false: it did not come to that. */
bool device_await_statistic(const char *name, long value);

/** device_parameter - sets a limit of the module; returns what it was. */
long device_parameter(const char *name, long value);

/** device_pages - private memory of its own, each page touched. */
char *device_pages(size_t pages);

/** device_pages_at - the same, where nothing is mapped now. */
char *device_pages_at(void *where, size_t pages);

/** device_await_sleep - returns once a thread of this process sleeps. */
void device_await_sleep(pid_t thread);

#endif
