/* SPDX-License-Identifier: MIT */
/*
 * settings.c - borrows system settings, and gives them back however it ends.
 *
 * A keeper process holds the old values and waits for the end of a pipe, so
 * that they come back after a signal too, even one that cannot be caught.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "matrix.h"

#define HUGE_PAGES 16 /* free ones that the rows need at most */
#define NR_HUGEPAGES "/proc/sys/vm/nr_hugepages"

static const char *const paths[] = {
	NR_HUGEPAGES,
	"/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs",
};

#define PATHS (sizeof(paths) / sizeof(*paths))

/**
 * struct matrix_settings - what was borrowed
 * @lock:   held while the settings are ours, so that two runs take turns
 * @pipe:   the keeper sees its end
 * @keeper: its process id
 */
struct matrix_settings {
	int lock;
	int pipe;
	pid_t keeper;
};

bool ummu_setting_read(const char *path, unsigned long *value_p)
{
	FILE *file = fopen(path, "re");
	bool good;

	if (!file)
		return false;
	good = fscanf(file, "%lu", value_p) == 1;
	fclose(file);
	return good;
}

bool ummu_setting_write(const char *path, unsigned long value)
{
	char text[32];
	int length = snprintf(text, sizeof(text), "%lu\n", value);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool good;

	if (fd < 0)
		return false;
	good = write(fd, text, (size_t)length) == length;
	close(fd);
	return good;
}

static unsigned long free_huge_pages(void)
{
	unsigned long count = 0;
	char line[128];
	FILE *file = fopen("/proc/meminfo", "re");

	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "HugePages_Free: %lu", &count) == 1)
			break;
	fclose(file);
	return count;
}

/* The keeper's whole life; it does not share the terminal's signals. */
static void keep(int pipe_end)
{
	unsigned long values[PATHS];
	bool known[PATHS];
	sigset_t all;
	size_t i;
	char byte;

	setsid();
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	for (i = 0; i < PATHS; i++)
		known[i] = ummu_setting_read(paths[i], &values[i]);
	if (write(pipe_end, "k", 1) != 1)
		_exit(1);
	while (read(pipe_end, &byte, 1) < 0 && errno == EINTR)
		;
	for (i = 0; i < PATHS; i++)
		if (known[i])
			ummu_setting_write(paths[i], values[i]);
	_exit(0);
}

/* Two runs at a time would each restore what the other had set. */
static int take_turn(void)
{
	static const struct timespec moment = { .tv_nsec = 100 * 1000 * 1000 };
	int tries, fd = open(NR_HUGEPAGES, O_RDONLY | O_CLOEXEC);

	for (tries = 0; fd >= 0 && tries < 600; tries++) {
		if (!flock(fd, LOCK_EX | LOCK_NB))
			return fd;
		nanosleep(&moment, NULL);
	}
	if (fd >= 0)
		close(fd);
	return -1;
}

static bool start_keeper(struct matrix_settings *settings)
{
	int ends[2];
	char byte;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return false;
	settings->keeper = fork();
	if (!settings->keeper) {
		close(ends[0]);
		keep(ends[1]);
	}
	close(ends[1]);
	settings->pipe = ends[0];
	/* it has read the old values */
	if (settings->keeper > 0 && read(ends[0], &byte, 1) == 1)
		return true;
	close(ends[0]);
	if (settings->keeper > 0)
		waitpid(settings->keeper, NULL, 0);
	return false;
}

/**
 * ummu_settings_hold - provide huge pages, and remember what was set before
 *
 * NULL where this user may not (not root), or there is nothing to set.
 */
struct matrix_settings *ummu_settings_hold(void)
{
	struct matrix_settings *settings;
	unsigned long count, available;

	if (access(NR_HUGEPAGES, W_OK))
		return NULL;
	settings = calloc(1, sizeof(*settings));
	if (!settings)
		return NULL;
	settings->lock = take_turn();
	if (settings->lock < 0)
		goto err_free;
	if (!start_keeper(settings))
		goto err_lock;

	available = free_huge_pages();
	if (ummu_setting_read(NR_HUGEPAGES, &count) && available < HUGE_PAGES)
		ummu_setting_write(NR_HUGEPAGES, count + HUGE_PAGES - available);
	return settings;

err_lock:
	close(settings->lock);
err_free:
	free(settings);
	return NULL;
}

/** ummu_settings_forget - in a forked child: leave them to the parent. */
void ummu_settings_forget(struct matrix_settings *settings)
{
	if (!settings)
		return;
	close(settings->pipe);
	close(settings->lock);
}

/** ummu_settings_release - give back; returns when it is done. */
void ummu_settings_release(struct matrix_settings *settings)
{
	if (!settings)
		return;
	close(settings->pipe);
	while (waitpid(settings->keeper, NULL, 0) < 0 && errno == EINTR)
		;
	close(settings->lock);
	free(settings);
}
