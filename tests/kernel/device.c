/* SPDX-License-Identifier: MIT */
/* device.c - /dev/ummunotify for its tests: the device, the calls of 2010. */
#define _GNU_SOURCE
#include "device.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define DEVICE "/dev/ummunotify"
#define PARAMETERS "/sys/module/ummunotify/parameters"
#define STATISTICS "/sys/kernel/debug/ummunotify/stats"

size_t page;

static int answer(long returned)
{
	return returned < 0 ? -errno : (int)returned;
}

/* What is out of a test's hands. */
static __attribute__((noreturn)) void give_up(const char *what)
{
	perror(what);
	exit(1);
}

void device_need(void)
{
	page = (size_t)sysconf(_SC_PAGESIZE);
	if (access(DEVICE, F_OK)) {
		printf("skipped: there is no " DEVICE "\n");
		exit(77);
	}
}

int device_open(int flags)
{
	return answer(open(DEVICE, O_RDONLY | O_CLOEXEC | flags));
}

static short polled(int fd)
{
	struct pollfd poller = { .fd = fd, .events = POLLIN };

	return poll(&poller, 1, 0) == 1 ? poller.revents : 0;
}

bool device_readable(int fd)
{
	return polled(fd) & POLLIN;
}

bool device_hung_up(int fd)
{
	return polled(fd) & POLLHUP;
}

int device_exchange(int fd, uint32_t *features)
{
	return answer(ioctl(fd, UMMUNOTIFY_EXCHANGE_FEATURES, features));
}

int device_register_range(int fd, uint64_t start, uint64_t end, uint64_t cookie)
{
	/* Old programs leave garbage in the last two. */
	struct ummunotify_register_ioctl region = {
		.start = start,
		.end = end,
		.user_cookie = cookie,
		.flags = 0xdeadbeef,
		.reserved = 0x5a5a5a5a,
	};

	return answer(ioctl(fd, UMMUNOTIFY_REGISTER_REGION, &region));
}

int device_register(int fd, const volatile void *start, size_t length,
		    uint64_t cookie)
{
	return device_register_range(fd, (uintptr_t)start,
				     (uintptr_t)start + length, cookie);
}

int device_unregister(int fd, uint64_t cookie)
{
	return answer(ioctl(fd, UMMUNOTIFY_UNREGISTER_REGION, &cookie));
}

int device_read(int fd, struct ummunotify_event *events, size_t count)
{
	ssize_t length = read(fd, events, count * sizeof(*events));

	if (length < 0)
		return -errno;
	if ((size_t)length % sizeof(*events))
		give_up("a part of an event was read");
	return (int)((size_t)length / sizeof(*events));
}

const volatile uint64_t *device_counter(int fd)
{
	void *counter = mmap(NULL, sizeof(uint64_t), PROT_READ, MAP_SHARED, fd,
			     0);

	return counter == MAP_FAILED ? NULL : counter;
}

long device_statistic(const char *name)
{
	FILE *file = fopen(STATISTICS, "re");
	char word[64];
	long value, found = -ENOENT;

	if (!file)
		return -errno;
	while (found == -ENOENT && fscanf(file, "%63s %ld", word, &value) == 2)
		if (!strcmp(word, name))
			found = value;
	fclose(file);
	return found;
}

bool device_await_statistic(const char *name, long value)
{
	for (int i = 0; i < 20000; i++) {
		if (device_statistic(name) == value)
			return true;
		usleep(5000);
	}
	printf("%s: %ld, not %ld\n", name, device_statistic(name), value);
	return false;
}

long device_parameter(const char *name, long value)
{
	char path[128];
	long before;
	FILE *file;

	snprintf(path, sizeof(path), PARAMETERS "/%s", name);
	file = fopen(path, "r+e");
	if (!file || fscanf(file, "%ld", &before) != 1)
		give_up(path);
	rewind(file);
	fprintf(file, "%ld\n", value);
	if (fclose(file))
		give_up(path);
	return before;
}

char *device_pages_at(void *where, size_t pages)
{
	char *memory = mmap(where, pages * page, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS |
				    (where ? MAP_FIXED_NOREPLACE : 0),
			    -1, 0);

	if (memory == MAP_FAILED)
		give_up("mmap");
	/* Huge pages are another matter. */
	madvise(memory, pages * page, MADV_NOHUGEPAGE);
	memset(memory, 1, pages * page);
	return memory;
}

char *device_pages(size_t pages)
{
	return device_pages_at(NULL, pages);
}

void device_await_sleep(pid_t thread)
{
	char path[64], state = '?';

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", thread);
	while (state != 'S') {
		FILE *file = fopen(path, "re");

		if (!file || fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
			give_up(path);
		fclose(file);
		usleep(1000);
	}
}
