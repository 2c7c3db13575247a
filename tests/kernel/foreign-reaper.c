/* SPDX-License-Identifier: MIT */
/*
 * foreign-reaper.c - memory that is taken from a process that is to die.
 *
 * A process is killed, and held by a debugger just before it gives up its
 * memory.  Then that is taken from it: by process_mrelease(), or by the OOM
 * reaper some seconds after a control group has run out of memory.  Whoever
 * holds the process's descriptors must be told that pages have left, and later,
 * when the process is gone, that nothing more will come.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/run.h"
#include "today.h"

#define WATCHED 16 /* pages */
#define GROUPS "/sys/fs/cgroup/"
#define GROUP GROUPS "ummunotify-reaper/"
#define GROUP_LIMIT "12582912"
#define TOO_MUCH ((size_t)64 << 20)
#define PATIENCE 100 /* seconds */

/**
 * struct victim - a process that is to die
 * @old: its descriptor that speaks the language of 2010
 * @today: one that was set up
 */
struct victim {
	pid_t process;
	int pidfd;
	int old, today;
};

static void check(const char *what, long result)
{
	if (result >= 0)
		return;
	fprintf(stderr, "%s: %s\n", what, strerror((int)-result));
	exit(1);
}

static bool set(const char *path, const char *value)
{
	ssize_t length = (ssize_t)strlen(value);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool good = fd >= 0 && write(fd, value, (size_t)length) == length;

	if (fd >= 0)
		close(fd);
	return good;
}

/* The victim.  It tells the numbers of its descriptors, and then waits. */
static void live(int tell, int hear, bool in_group)
{
	char *memory = device_pages(WATCHED);
	struct ummunotify_watch watch;
	struct today today;
	int numbers[2];
	char byte;

	if (in_group && !set(GROUP "cgroup.procs", "0"))
		check("join a control group", -errno);
	numbers[0] = device_open(O_NONBLOCK);
	check("open", numbers[0]);
	check("REGISTER",
	      device_register(numbers[0], memory, WATCHED * page, 1));
	check("SETUP", today_open(&today, 0, 0));
	check("WATCH", today_watch(&today, memory, WATCHED * page, &watch));
	numbers[1] = today.fd;
	if (write(tell, numbers, sizeof(numbers)) != sizeof(numbers) ||
	    read(hear, &byte, 1) != 1)
		check("a pipe", -EPIPE);
	device_pages(TOO_MUCH / page);
	pause();
}

static void take_descriptors(struct victim *victim, int hear)
{
	int numbers[2];

	if (read(hear, numbers, sizeof(numbers)) != sizeof(numbers))
		check("the victim", -EPIPE);
	victim->pidfd = (int)syscall(SYS_pidfd_open, victim->process, 0);
	victim->old = (int)syscall(SYS_pidfd_getfd, victim->pidfd, numbers[0],
				   0);
	victim->today = (int)syscall(SYS_pidfd_getfd, victim->pidfd, numbers[1],
				     0);
	check("pidfd_getfd", victim->old < 0 || victim->today < 0 ? -errno : 0);
}

static void attach(const struct victim *victim)
{
	if (ptrace(PTRACE_SEIZE, victim->process, NULL, PTRACE_O_TRACEEXIT))
		check("PTRACE_SEIZE", -errno);
}

/* Killed, and not gone. */
static void await_death(const struct victim *victim)
{
	int status;

	do {
		if (waitpid(victim->process, &status, 0) != victim->process)
			check("waitpid", -errno);
		if (!WIFSTOPPED(status))
			check("the victim was not held", -ESRCH);
		if (status >> 8 != (SIGTRAP | PTRACE_EVENT_EXIT << 8))
			ptrace(PTRACE_CONT, victim->process, NULL, NULL);
	} while (status >> 8 != (SIGTRAP | PTRACE_EVENT_EXIT << 8));
}

static bool become(int fd, short events)
{
	struct pollfd poller = { .fd = fd, .events = POLLIN };
	double until = run_seconds() + PATIENCE;

	do {
		poller.revents = 0;
		poll(&poller, 1, 100);
	} while (!(poller.revents & events) && run_seconds() < until);
	return poller.revents & events;
}

static bool say(const char *who, const char *what, bool old, bool today)
{
	printf("%s: %s: %s (2010), %s (today)\n", who, what, old ? "yes" : "NO",
	       today ? "yes" : "NO");
	return old && today;
}

static bool is_told(const struct victim *victim, const char *who)
{
	bool right = say(who, "told that pages have left",
			 become(victim->old, POLLIN),
			 become(victim->today, POLLIN));

	return right & say(who, "not told yet that it is gone",
			   !device_hung_up(victim->old),
			   !device_hung_up(victim->today));
}

static bool is_gone(struct victim *victim, const char *who)
{
	bool right;

	ptrace(PTRACE_CONT, victim->process, NULL, NULL);
	if (waitpid(victim->process, NULL, 0) != victim->process)
		check("waitpid", -errno);
	right = say(who, "told that it is gone", become(victim->old, POLLHUP),
		    become(victim->today, POLLHUP));
	close(victim->old);
	close(victim->today);
	close(victim->pidfd);
	return right;
}

/* Returns the pipe by which the victim can be told to go on. */
static int start(struct victim *victim, bool in_group)
{
	int tell[2], hear[2];

	if (pipe2(tell, O_CLOEXEC) || pipe2(hear, O_CLOEXEC))
		check("pipe", -errno);
	fflush(stdout);
	victim->process = fork();
	check("fork", victim->process);
	if (!victim->process) {
		live(tell[1], hear[0], in_group);
		_exit(1);
	}
	take_descriptors(victim, tell[0]);
	attach(victim);
	close(tell[0]);
	close(tell[1]);
	close(hear[0]);
	return hear[1];
}

static bool release_memory(void)
{
	struct victim victim;
	int go_on = start(&victim, false);
	bool right;

	kill(victim.process, SIGKILL);
	await_death(&victim);
	right = say("process_mrelease()", "quiet before",
		    !device_readable(victim.old),
		    !device_readable(victim.today));
	if (syscall(SYS_process_mrelease, victim.pidfd, 0))
		check("process_mrelease", -errno);
	right &= say("process_mrelease()", "told by its return",
		     device_readable(victim.old),
		     device_readable(victim.today));
	right &= is_told(&victim, "process_mrelease()");
	right &= is_gone(&victim, "process_mrelease()");
	close(go_on);
	return right;
}

/* 1: done; 0: wrong; -1: there are no such control groups. */
static int run_out(void)
{
	struct victim victim;
	bool right;
	int go_on;

	set(GROUPS "cgroup.subtree_control", "+memory");
	mkdir(GROUP, 0755);
	if (!set(GROUP "memory.max", GROUP_LIMIT)) {
		rmdir(GROUP);
		return -1;
	}
	set(GROUP "memory.swap.max", "0");
	go_on = start(&victim, true);
	if (write(go_on, "g", 1) != 1)
		check("write", -errno);
	await_death(&victim);
	right = is_told(&victim, "OOM reaper");
	right &= is_gone(&victim, "OOM reaper");
	close(go_on);
	rmdir(GROUP);
	return right;
}

int main(void)
{
	bool right;
	int ran;

	device_need();
	run_limit(120);
	if (geteuid()) {
		printf("skipped: needs root\n");
		return 77;
	}
	right = release_memory();
	ran = run_out();
	if (ran < 0)
		printf("OOM reaper: no memory control groups here\n");
	return right && ran ? 0 : 1;
}
