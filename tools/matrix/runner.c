/* SPDX-License-Identifier: MIT */
/*
 * runner.c - runs every row of the matrix, each in a process of its own.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "matrix.h"

static const struct matrix_operation *const families[] = {
	ummu_unmap_operations,	 ummu_remap_operations, ummu_advise_operations,
	ummu_file_operations,	 ummu_fault_operations, ummu_owner_operations,
	ummu_process_operations, ummu_quiet_operations,
};

/* What a row's process and this one share. */
struct exchange {
	struct matrix_result result;
	struct ummu_caps caps;
	char backend[32];
};

static volatile sig_atomic_t stopped_by;

static void stop(int signal_number)
{
	stopped_by = signal_number;
}

static bool is_wanted(const struct matrix_run *run,
		      const struct matrix_operation *operation, int kind,
		      int via)
{
	return (operation->kinds & ON(kind)) && (operation->vias & 1U << via) &&
	       (!run->only || strstr(operation->name, run->only));
}

/* Name the rows that one operation has; returns how many. */
static size_t name_rows(const struct matrix_run *run,
			const struct matrix_operation *operation,
			struct matrix_result *results)
{
	size_t count = 0;
	int kind, via;

	for (kind = 0; kind < KIND_COUNT; kind++)
		for (via = 0; via < VIA_COUNT; via++) {
			if (!is_wanted(run, operation, kind, via))
				continue;
			if (results) {
				results[count].operation = operation;
				results[count].kind = (enum matrix_kind)kind;
				results[count].via = (enum matrix_via)via;
			}
			count++;
		}
	return count;
}

static size_t name_all_rows(const struct matrix_run *run,
			    struct matrix_result *results)
{
	const struct matrix_operation *operation;
	size_t family, count = 0;

	for (family = 0; family < sizeof(families) / sizeof(*families); family++)
		for (operation = families[family]; operation->name; operation++)
			count += name_rows(run, operation,
					   results ? results + count : NULL);
	return count;
}

/* Wait for a child, a signal or the time limit; false: it has to be killed. */
static bool await(pid_t child, unsigned int seconds, const sigset_t *before)
{
	struct pollfd ended = { .events = POLLIN };
	struct timespec limit = { .tv_sec = seconds };
	int ready;

	ended.fd = (int)syscall(SYS_pidfd_open, child, 0);
	if (ended.fd < 0)
		return true; /* without one waitpid() has to do */
	ready = stopped_by ? -1 : ppoll(&ended, 1, &limit, before);
	close(ended.fd);
	return ready > 0;
}

static void crashed(struct matrix_result *result, int status, bool hung)
{
	result->verdict = VERDICT_UNKNOWN;
	result->left = result->reported = TRUTH_UNKNOWN;
	result->failed = true;
	if (hung)
		snprintf(result->reason, sizeof(result->reason),
			 "the row did not end in time");
	else if (WIFSIGNALED(status))
		snprintf(result->reason, sizeof(result->reason),
			 "the row crashed: %s", strsignal(WTERMSIG(status)));
	else
		snprintf(result->reason, sizeof(result->reason),
			 "the row ended with status %d", WEXITSTATUS(status));
}

/* Run something in a process group of its own, which does not outlive it. */
static int in_child(struct matrix_run *run, struct exchange *exchange,
		    struct matrix_settings *settings, const sigset_t *before,
		    void (*act)(struct matrix_run *, struct exchange *))
{
	pid_t parent = getpid(), child = fork();
	bool ended;
	int status;

	if (child < 0)
		return -errno;
	if (!child) {
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		signal(SIGINT, SIG_DFL);
		signal(SIGTERM, SIG_DFL);
		signal(SIGHUP, SIG_DFL);
		sigprocmask(SIG_SETMASK, before, NULL);
		ummu_settings_forget(settings);
		act(run, exchange);
		_exit(0);
	}
	setpgid(child, child);
	ended = await(child, run->timeout, before);
	kill(-child, SIGKILL);
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (stopped_by)
		return -EINTR;
	if (!ended || !WIFEXITED(status) || WEXITSTATUS(status))
		crashed(&exchange->result, status, !ended);
	return 0;
}

static void ask_backend(struct matrix_run *run, struct exchange *exchange)
{
	struct ummu_monitor *monitor;

	if (ummu_monitor_open(&run->opts, &monitor)) {
		snprintf(exchange->result.reason,
			 sizeof(exchange->result.reason), "%s",
			 ummu_monitor_explain());
		exchange->result.failed = true;
		return;
	}
	exchange->caps.size = sizeof(exchange->caps);
	if (ummu_monitor_caps(monitor, &exchange->caps))
		exchange->result.failed = true;
	snprintf(exchange->backend, sizeof(exchange->backend), "%s",
		 ummu_monitor_backend(monitor));
	ummu_monitor_close(monitor);
}

static void run_row(struct matrix_run *run, struct exchange *exchange)
{
	ummu_row_run(run, &exchange->result);
}

static int open_backend(struct matrix_run *run, struct exchange *exchange,
			const sigset_t *before)
{
	int err;

	memset(exchange, 0, sizeof(*exchange));
	err = in_child(run, exchange, NULL, before, ask_backend);
	if (err)
		return err;
	if (exchange->result.failed) {
		fprintf(stderr, "ummunotify verify: %s\n",
			exchange->result.reason);
		return -ENODEV;
	}
	run->caps = exchange->caps;
	memcpy(run->backend, exchange->backend, sizeof(run->backend));
	return 0;
}

/* An operation without a claim of its own has no exception either. */
static bool is_claimed(const struct matrix_run *run,
		       const struct matrix_operation *operation)
{
	if (operation->class == NO_CLASS)
		return true;
	return run->caps.claims[operation->class] != UMMU_CLAIM_NONE;
}

static void tally(struct matrix_run *run, struct matrix_result *result)
{
	if (result->verdict == VERDICT_SPURIOUS ||
	    (result->verdict == VERDICT_MISSED && result->claimed))
		result->failed = true;
	run->verdicts[result->verdict]++;
	run->failures += result->failed;
}

static int run_rows(struct matrix_run *run, struct exchange *exchange,
		    struct matrix_settings *settings, const sigset_t *before,
		    void (*progress)(size_t, size_t))
{
	size_t i;
	int err;

	run->count = name_all_rows(run, NULL);
	if (!run->count)
		return -ENOENT;
	run->results = calloc(run->count, sizeof(*run->results));
	if (!run->results)
		return -ENOMEM;
	name_all_rows(run, run->results);

	for (i = 0; i < run->count; i++) {
		struct matrix_result *result = &run->results[i];

		if (progress)
			progress(i, run->count);
		result->left = result->reported = TRUTH_UNKNOWN;
		result->claimed = is_claimed(run, result->operation);
		exchange->result = *result;
		err = in_child(run, exchange, settings, before, run_row);
		if (err)
			return err;
		*result = exchange->result;
		tally(run, result);
	}
	return 0;
}

static void catch_signals(sigset_t *before)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction action = { .sa_handler = stop }, old;
	sigset_t blocked;
	size_t i;

	sigemptyset(&blocked);
	for (i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
		/* nohup and the like stay in force */
		if (!sigaction(signals[i], NULL, &old) &&
		    old.sa_handler == SIG_IGN)
			continue;
		sigaction(signals[i], &action, NULL);
		sigaddset(&blocked, signals[i]);
	}
	sigprocmask(SIG_BLOCK, &blocked, before);
}

/**
 * ummu_matrix_run - fill @run with a result for every row
 * @progress: called with the rows done and their number; NULL is allowed
 *
 * 0; -ENODEV after saying why there is no monitor; -ENOENT when no operation
 * has @run->only in its name; -errno.  A signal that asks
 * this process to end does end it, once the system's settings are restored.
 */
int ummu_matrix_run(struct matrix_run *run, void (*progress)(size_t, size_t))
{
	struct matrix_settings *settings;
	struct exchange *exchange;
	sigset_t before;
	int err;

	exchange = mmap(NULL, sizeof(*exchange), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (exchange == MAP_FAILED)
		return -errno;
	catch_signals(&before);
	settings = NULL;
	err = open_backend(run, exchange, &before);
	if (!err) {
		settings = ummu_settings_hold();
		err = run_rows(run, exchange, settings, &before, progress);
	}
	ummu_settings_release(settings);
	munmap(exchange, sizeof(*exchange));
	if (stopped_by) {
		signal(stopped_by, SIG_DFL);
		raise(stopped_by);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	return err;
}
