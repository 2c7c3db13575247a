/* SPDX-License-Identifier: MIT */
/* proc-self.c - read what /proc tells of this process. */
#define _GNU_SOURCE
#include "proc-self.h"

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scene.h"

unsigned int proc_threads(void)
{
	DIR *tasks = opendir("/proc/self/task");
	unsigned int count = 0;
	struct dirent *entry;

	REQUIRE(tasks);
	while ((entry = readdir(tasks)))
		count += entry->d_name[0] != '.';
	closedir(tasks);
	return count;
}

static bool is_reader(const char *thread)
{
	char path[300], name[32] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%s/comm", thread);
	file = fopen(path, "re");
	if (!file) /* it has just ended */
		return false;
	if (!fgets(name, sizeof(name), file))
		name[0] = '\0';
	fclose(file);
	return !strcmp(name, "ummunotify\n");
}

pid_t proc_reader(void)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *entry;
	pid_t found = 0;

	REQUIRE(tasks);
	while (!found && (entry = readdir(tasks)))
		if (entry->d_name[0] != '.' && is_reader(entry->d_name))
			found = atoi(entry->d_name);
	closedir(tasks);
	return found;
}

static bool there(void *unused)
{
	(void)unused;
	return proc_reader() != 0;
}

static bool gone(void *unused)
{
	(void)unused;
	return proc_reader() == 0;
}

bool proc_reader_starts(void)
{
	return scene_await(there, NULL);
}

bool proc_reader_ends(void)
{
	return scene_await(gone, NULL);
}

size_t proc_fds(int *numbers, size_t most)
{
	DIR *fds = opendir("/proc/self/fd");
	struct dirent *entry;
	size_t count = 0;

	REQUIRE(fds);
	while ((entry = readdir(fds)))
		if (entry->d_name[0] != '.' &&
		    atoi(entry->d_name) != dirfd(fds)) {
			REQUIRE(count < most);
			numbers[count++] = atoi(entry->d_name);
		}
	closedir(fds);
	return count;
}

unsigned int proc_mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned int count = 0;
	int letter;

	REQUIRE(maps);
	while ((letter = getc(maps)) != EOF)
		count += letter == '\n';
	fclose(maps);
	return count;
}

/* The rest of the line that begins with @field, of the mapping at @addr. */
static bool smaps_line(const void *addr, const char *field, char *rest,
		       size_t size)
{
	FILE *smaps = fopen("/proc/self/smaps", "re");
	unsigned long start, end;
	bool inside = false, found = false;
	char line[1024];

	REQUIRE(smaps);
	while (!found && fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = start <= (uintptr_t)addr &&
				 (uintptr_t)addr < end;
		else if (inside && !strncmp(line, field, strlen(field))) {
			snprintf(rest, size, "%s", line + strlen(field));
			found = true;
		}
	}
	fclose(smaps);
	return found;
}

long proc_smaps_kb(const void *addr, const char *field)
{
	char rest[256];

	return smaps_line(addr, field, rest, sizeof(rest)) ? atol(rest) : -1;
}

bool proc_registered(const void *addr)
{
	char flags[256];

	REQUIRE(smaps_line(addr, "VmFlags:", flags, sizeof(flags)));
	return strstr(flags, " uw") || strstr(flags, " um");
}

bool proc_blocks_signals(pid_t thread)
{
	/* All but SIGKILL and SIGSTOP, and the two of the C library. */
	const uint64_t most = ~(UINT64_C(1) << 8 | UINT64_C(1) << 18 |
				UINT64_C(7) << 31);
	unsigned long long blocked = 0;
	char path[64], line[512];
	FILE *status;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", thread);
	status = fopen(path, "re");
	REQUIRE(status);
	while (fgets(line, sizeof(line), status))
		if (sscanf(line, "SigBlk: %llx", &blocked) == 1)
			break;
	fclose(status);
	return (blocked & most) == most;
}
