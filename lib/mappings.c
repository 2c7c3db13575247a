/* SPDX-License-Identifier: MIT */
/* mappings.c - what this process has mapped. */
#define _GNU_SOURCE
#include "mappings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "uffd-abi.h"

static int query(int fd, uint64_t address, struct ummu_mapping *mapping)
{
	struct procmap_query request = {
		.size = sizeof(request),
		.query_flags = UMMU_PROCMAP_COVERING_OR_NEXT,
		.query_addr = address,
	};

	if (ioctl(fd, UMMU_PROCMAP_QUERY, &request))
		return -errno;
	*mapping = (struct ummu_mapping){
		.start = request.vma_start,
		.last = request.vma_end - 1,
	};
	return 0;
}

/*
 * Reading the text of maps or smaps.  A line that is longer than its buffer is
 * cut, and the rest of it is skipped.
 */

static int next_byte(struct ummu_mappings *walk)
{
	ssize_t bytes;

	if (walk->used == walk->filled) {
		bytes = pread(walk->fd, walk->buffer, sizeof(walk->buffer),
			      (off_t)walk->offset);
		if (bytes <= 0)
			return -1;
		walk->offset += (uint64_t)bytes;
		walk->used = 0;
		walk->filled = (size_t)bytes;
	}
	return (unsigned char)walk->buffer[walk->used++];
}

static bool next_line(struct ummu_mappings *walk, char *line, size_t size)
{
	size_t length = 0;
	int byte;

	while ((byte = next_byte(walk)) >= 0 && byte != '\n')
		if (length + 1 < size)
			line[length++] = (char)byte;
	line[length] = '\0';
	return byte >= 0;
}

/* Not strtoull() or sscanf(): they use thread-local data, the locale. */
static const char *hexadecimal(const char *text, uint64_t *number)
{
	const char *digits = "0123456789abcdef", *digit;

	*number = 0;
	while (*text && (digit = strchr(digits, *text))) {
		*number = *number << 4 | (uint64_t)(digit - digits);
		text++;
	}
	return text;
}

static bool is_mapping(const char *line, struct ummu_mapping *mapping)
{
	uint64_t start, end;
	const char *rest = hexadecimal(line, &start);

	if (rest == line || *rest != '-')
		return false;
	line = rest + 1;
	rest = hexadecimal(line, &end);
	if (rest == line || *rest != ' ')
		return false;
	*mapping = (struct ummu_mapping){ .start = start, .last = end - 1 };
	return true;
}

static bool next_in_text(struct ummu_mappings *walk,
			 struct ummu_mapping *mapping)
{
	char line[512];

	while (next_line(walk, line, sizeof(line)))
		/* Not [vsyscall], in the kernel's half of the addresses. */
		if (is_mapping(line, mapping) && !(mapping->start >> 63))
			return true;
	return false;
}

/* The line with the flags is the last one about a mapping. */
static void read_flags(struct ummu_mappings *walk, struct ummu_mapping *mapping)
{
	char line[512];

	while (next_line(walk, line, sizeof(line))) {
		if (strncmp(line, "VmFlags:", 8) != 0)
			continue;
		mapping->write_protect = strstr(line, " uw") != NULL;
		return;
	}
}

void ummu_mappings_begin(struct ummu_mappings *walk, int fd, uint64_t from)
{
	walk->fd = fd;
	walk->from = from;
	walk->text = !ummu_mappings_are_fast(fd);
	walk->smaps = false;
	walk->offset = 0;
	walk->used = walk->filled = 0;
}

void ummu_mappings_begin_smaps(struct ummu_mappings *walk, int fd)
{
	walk->fd = fd;
	walk->from = 0;
	walk->text = walk->smaps = true;
	walk->offset = 0;
	walk->used = walk->filled = 0;
}

int ummu_mappings_next(struct ummu_mappings *walk, struct ummu_mapping *mapping)
{
	int error;

	if (!walk->text) {
		error = query(walk->fd, walk->from, mapping);
		if (error)
			return error == -ENOENT ? 0 : error;
	} else {
		do {
			if (!next_in_text(walk, mapping))
				return walk->offset ? 0 : -EIO;
		} while (mapping->last < walk->from);
		if (walk->smaps)
			read_flags(walk, mapping);
	}
	walk->from = mapping->last + 1;
	return 1;
}

bool ummu_mappings_are_fast(int fd)
{
	/* Relaxed: every thread gets the same answer; it orders nothing. */
	static int known; /* 1: yes, -1: no, 0: not asked yet */
	struct ummu_mapping unused;
	int answer = __atomic_load_n(&known, __ATOMIC_RELAXED);

	if (!answer) {
		int error = query(fd, 0, &unused);

		/* Another error may be this thread's alone, in a sandbox. */
		if (error && error != -ENOTTY)
			return false;
		answer = error ? -1 : 1;
		__atomic_store_n(&known, answer, __ATOMIC_RELAXED);
	}
	return answer > 0;
}

int ummu_mappings_around(int fd, uint64_t *start, uint64_t *last)
{
	struct ummu_mappings walk;
	struct ummu_mapping mapping;
	uint64_t first = 0, next = *start;
	int error;

	ummu_mappings_begin(&walk, fd, *start);
	for (bool begun = false;; begun = true) {
		error = ummu_mappings_next(&walk, &mapping);
		if (error < 0)
			return -ENOENT;
		if (!error || mapping.start > next)
			return -EFAULT;
		if (!begun)
			first = mapping.start;
		if (mapping.last >= *last)
			break;
		next = mapping.last + 1;
	}
	*start = first;
	*last = mapping.last;
	return 0;
}

long ummu_mappings_count(void)
{
	struct ummu_mappings walk;
	struct ummu_mapping mapping;
	long count = 0;
	int fd = open("/proc/thread-self/maps", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	ummu_mappings_begin(&walk, fd, 0);
	walk.text = true; /* quicker where all mappings are asked for */
	while (ummu_mappings_next(&walk, &mapping) > 0)
		count++;
	close(fd);
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
