/* SPDX-License-Identifier: MIT */
/*
 * mappings.c - read this process's mappings without allocating.
 *
 * Only used when mappings run short, so the text of /proc/self/maps will do;
 * a process with tens of thousands of mappings pays some 20 ms for a pass.
 */
#define _GNU_SOURCE
#include "mappings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One mapping, as much of its line as tells it from its neighbour. */
struct mapping {
	uint64_t start, last;
	char permissions[5];
	unsigned int device_major, device_minor;
	uint64_t inode;
};

/* A line reader over a descriptor; longer lines are cut, never split. */
struct lines {
	int fd;
	size_t used, filled;
	char buffer[4096];
};

static int next_byte(struct lines *lines)
{
	ssize_t bytes;

	if (lines->used == lines->filled) {
		bytes = read(lines->fd, lines->buffer, sizeof(lines->buffer));
		if (bytes <= 0)
			return -1;
		lines->used = 0;
		lines->filled = (size_t)bytes;
	}
	return (unsigned char)lines->buffer[lines->used++];
}

static bool next_line(struct lines *lines, char *line, size_t size)
{
	size_t length = 0;
	int byte;

	while ((byte = next_byte(lines)) >= 0 && byte != '\n')
		if (length + 1 < size)
			line[length++] = (char)byte;
	line[length] = '\0';
	return byte >= 0;
}

static bool next_mapping(struct lines *lines, struct mapping *mapping)
{
	char line[128];
	unsigned long long start, end, offset, inode;

	if (!next_line(lines, line, sizeof(line)))
		return false;
	if (sscanf(line, "%llx-%llx %4s %llx %x:%x %llu", &start, &end,
		   mapping->permissions, &offset, &mapping->device_major,
		   &mapping->device_minor, &inode) != 7)
		return false;
	mapping->start = start;
	mapping->last = end - 1;
	mapping->inode = inode;
	return true;
}

static bool open_maps(struct lines *lines)
{
	lines->fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	lines->used = lines->filled = 0;
	return lines->fd >= 0;
}

long ummu_mappings_count(void)
{
	struct lines lines;
	long count = 0;
	int byte;

	if (!open_maps(&lines))
		return -errno;
	while ((byte = next_byte(&lines)) >= 0)
		count += byte == '\n';
	close(lines.fd);
	return count;
}

long ummu_mappings_limit(void)
{
	int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
	char text[32] = "";
	long limit;

	if (fd >= 0) {
		if (read(fd, text, sizeof(text) - 1) < 0)
			text[0] = '\0';
		close(fd);
	}
	limit = strtol(text, NULL, 10);
	return limit > 0 ? limit : 65530;
}

static bool continues(const struct mapping *run, const struct mapping *next)
{
	return next->start == run->last + 1 && next->inode == run->inode &&
	       next->device_major == run->device_major &&
	       next->device_minor == run->device_minor &&
	       !strcmp(next->permissions, run->permissions);
}

bool ummu_mapping_extent(uint64_t *start, uint64_t *last)
{
	struct mapping run, next;
	struct lines lines;

	if (!open_maps(&lines))
		return false;
	run.start = run.last = 0;
	next_mapping(&lines, &run);
	while (next_mapping(&lines, &next)) {
		if (continues(&run, &next)) {
			run.last = next.last;
			continue;
		}
		if (run.last >= *start)
			break;
		run = next;
	}
	close(lines.fd);
	if (run.start > *start || run.last < *start)
		return false;
	*start = run.start;
	if (run.last > *last)
		*last = run.last;
	return true;
}
