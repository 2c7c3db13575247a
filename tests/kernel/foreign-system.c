/* SPDX-License-Identifier: MIT */
/*
 * foreign-system.c - makes swap space, huge pages and a disk for the rows.
 *
 * Nothing is given back: this runs in a virtual machine that is thrown away.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "foreign.h"

#define THP "/sys/kernel/mm/transparent_hugepage/"
#define DISK "/run/ummunotify-foreign"

static const char *directory = "/tmp";

/** foreign_setting - writes a setting; 0 or -errno. */
int foreign_setting(const char *path, const char *value)
{
	ssize_t length = (ssize_t)strlen(value);
	int fd = open(path, O_WRONLY | O_CLOEXEC), error = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, value, (size_t)length) != length)
		error = -errno;
	close(fd);
	return error;
}

/** foreign_set - the same, where it matters little why it fails. */
bool foreign_set(const char *path, const char *value)
{
	return !foreign_setting(path, value);
}

bool foreign_has_swap(void)
{
	FILE *file = fopen("/proc/swaps", "re");
	int lines = 0, c;

	if (!file)
		return false;
	while ((c = getc(file)) != EOF)
		lines += c == '\n';
	fclose(file);
	return lines > 1;
}

/** foreign_directory - where files are on a disk, if one could be made. */
const char *foreign_directory(void)
{
	return directory;
}

/** foreign_lacking - the row can't be run here, for this reason. */
int foreign_lacking(struct foreign_scene *scene, const char *what)
{
	snprintf(scene->reason, sizeof(scene->reason), "skipped: %s", what);
	scene->lacking = true;
	return -EOPNOTSUPP;
}

static bool run(const char *command)
{
	return system(command) == 0;
}

static bool make_swap(void)
{
	return foreign_has_swap() ||
	       (foreign_set("/sys/block/zram0/disksize", "256M") &&
		run("mkswap /dev/zram0 >/dev/null && swapon /dev/zram0"));
}

/* A file system that writes back, as tmpfs does not. */
static bool make_disk(void)
{
	mkdir(DISK, 0755);
	if (access(DISK "/lost+found", F_OK) && /* from an earlier run */
	    (!foreign_set("/sys/block/zram1/disksize", "64M") ||
	     !run("mkfs.ext4 -q /dev/zram1 >/dev/null 2>&1") ||
	     mount("/dev/zram1", DISK, "ext4", 0, NULL)))
		return false;
	directory = DISK;
	return true;
}

void foreign_system_prepare(void)
{
	if (geteuid())
		return;
	run("modprobe zram num_devices=2 2>/dev/null");
	if (!make_swap())
		printf("no swap space could be made\n");
	if (!make_disk())
		printf("no disk could be made: files are in %s\n", directory);
	foreign_set("/proc/sys/vm/nr_hugepages", "16");
	foreign_set(THP "enabled", "madvise");
	foreign_set(THP "shmem_enabled", "advise");
	fflush(stdout);
}
