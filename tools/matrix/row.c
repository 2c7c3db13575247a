/* SPDX-License-Identifier: MIT */
/*
 * row.c - runs one row of the matrix in this process and judges it.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "matrix.h"

#define COOKIE 0x6d61747269780000ULL /* the watch's number is added */

/** ummu_row_refused - note which call failed, and errno; returns -errno. */
int ummu_row_refused(struct matrix_row *row, const char *call)
{
	int err = errno;

	snprintf(row->reason, sizeof(row->reason), "%s: %s%s", call,
		 strerror(err),
		 err == EPERM && geteuid() ? " (needs root)" : "");
	return -err;
}

/** ummu_row_reap - wait for a child that ends with 0 or an errno. */
int ummu_row_reap(struct matrix_row *row, pid_t child, const char *call)
{
	int status;

	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return ummu_row_refused(row, "waitpid");
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return 0;
	errno = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
	return ummu_row_refused(row, call);
}

/**
 * ummu_row_in_child - have a forked child do something, and wait for it
 * @act: makes system calls only, as the parent has threads; 0 or -errno
 */
int ummu_row_in_child(struct matrix_row *row, const char *call,
		      int (*act)(struct matrix_row *row))
{
	pid_t child = fork();

	if (child < 0)
		return ummu_row_refused(row, "fork");
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(-act(row));
	}
	return ummu_row_reap(row, child, call);
}

static void skip(struct matrix_result *result, const struct matrix_row *row)
{
	result->verdict = VERDICT_SKIPPED;
	memcpy(result->reason, row->reason, sizeof(result->reason));
}

static void give_up(struct matrix_result *result, const char *why, int err)
{
	result->verdict = VERDICT_UNKNOWN;
	result->failed = true;
	snprintf(result->reason, sizeof(result->reason), "%s: %s%s%s", why,
		 strerror(-err), *ummu_monitor_explain() ? ": " : "",
		 ummu_monitor_explain());
}

/* Pin as DMA would; what cannot be pinned is looked at without. */
static int pin(struct matrix_row *row)
{
	struct matrix_range all = { row->mapping.addr, row->mapping.length };
	int err = ummu_oracle_pin(&row->oracle, all);

	if (!err)
		return 0;
	snprintf(row->reason, sizeof(row->reason),
		 "io_uring cannot pin this mapping here: %s", strerror(-err));
	return row->operation->needs_pin ? err : 0;
}

/* The watches of a row while it runs. */
struct watching {
	struct ummu_monitor *monitor;
	struct ummu_watch *watches[MATRIX_WATCHES];
	bool reported[MATRIX_WATCHES];
	enum matrix_fate fates[MATRIX_WATCHES];
};

static int watch_one(struct watching *watching, const struct matrix_row *row,
		     unsigned int i)
{
	static const struct timespec moment = { .tv_nsec = 20 * 1000 * 1000 };
	const struct matrix_range *range = &row->watched[i];
	int tries, err = 0;

	for (tries = 0; tries < 50; tries++) {
		err = ummu_monitor_watch(watching->monitor, range->start,
					 range->length, COOKIE + i,
					 &watching->watches[i]);
		if (err != -EAGAIN)
			return err;
		nanosleep(&moment, NULL);
	}
	return err;
}

static int watch(struct watching *watching, struct matrix_row *row)
{
	unsigned int i;
	int err;

	if (!row->watches) {
		row->watched[0].start = row->mapping.addr;
		row->watched[0].length = row->mapping.length;
		row->watches = 1;
	}
	for (i = 0; i < row->watches; i++) {
		err = watch_one(watching, row, i);
		if (!err)
			continue;
		snprintf(row->reason, sizeof(row->reason),
			 "not watched: %s: %s", strerror(-err),
			 ummu_monitor_explain());
		return err;
	}
	return 0;
}

/* A watch may be invalid for want of an answer; that is not a report. */
static bool is_reported(const struct ummu_watch *watch)
{
	int tries;

	for (tries = 0; tries < 1000; tries++) {
		if (ummu_watch_valid(watch))
			return false;
		if (ummu_watch_spent(watch))
			return true;
		sched_yield();
	}
	return true;
}

static void look(struct watching *watching, struct matrix_row *row)
{
	unsigned int i;

	for (i = 0; i < row->watches; i++)
		watching->fates[i] = ummu_oracle_fate(&row->oracle,
						      row->watched[i], false);
	/* from here on pages are touched */
	for (i = 0; i < row->watches; i++) {
		if (row->mapping.borrowed)
			continue;
		if (watching->fates[i] == FATE_UNKNOWN ||
		    (watching->fates[i] == FATE_LEFT && !watching->reported[i]))
			watching->fates[i] = ummu_oracle_fate(&row->oracle,
							      row->watched[i],
							      true);
	}
}

static bool overlaps(const struct ummu_event *event, struct matrix_range range)
{
	uintptr_t start = (uintptr_t)range.start;

	return event->hint_start < start + range.length &&
	       event->hint_end > start;
}

static const char *check_event(const struct matrix_row *row,
			       const struct watching *watching,
			       const struct ummu_event *event, bool *told)
{
	uint64_t i = event->cookie - COOKIE;

	if (i >= row->watches)
		return "an event with a cookie that nobody gave";
	if (told[i])
		return "two events for one watch";
	told[i] = true;
	if (!watching->reported[i])
		return "an event for a watch that is valid";
	if (event->hint_start >= event->hint_end ||
	    !overlaps(event, row->watched[i]))
		return "an event with a hint outside its watch";
	if (watching->fates[i] == FATE_LEFT && !overlaps(event, row->hit))
		return "an event with a hint beside what was hit";
	return NULL;
}

/* Each report has its event; NULL, or what is wrong. */
static const char *check_events(const struct matrix_row *row,
				const struct watching *watching)
{
	struct ummu_event events[2 * MATRIX_WATCHES];
	bool told[MATRIX_WATCHES] = { false };
	const char *wrong = NULL;
	unsigned int i;
	int count;

	count = ummu_monitor_read(watching->monitor, events, 2 * MATRIX_WATCHES);
	if (count < 0)
		return "ummu_monitor_read() failed";
	for (i = 0; i < (unsigned int)count && !wrong; i++)
		wrong = check_event(row, watching, &events[i], told);
	for (i = 0; i < row->watches && !wrong; i++)
		if (watching->reported[i] && !told[i])
			wrong = "a report without an event";
	return wrong;
}

static void note(struct matrix_result *result, const char *text)
{
	size_t used = strlen(result->reason);

	snprintf(result->reason + used, sizeof(result->reason) - used, "%s%s",
		 used ? "; " : "", text);
}

/* Written to, the pages of a private file mapping are the process's own. */
static bool is_private_of_base_pages(enum matrix_kind kind)
{
	return kind == KIND_ANONYMOUS || kind == KIND_FILE_PRIVATE;
}

/**
 * ummu_row_may_fire - may a page stay that is reported in this row?
 *
 * What must stay quiet may still be reported on huge pages, which the kernel
 * invalidates as a whole when it splits or copies one, and on shared memory.
 */
bool ummu_row_may_fire(const struct matrix_operation *operation,
		       enum matrix_kind kind)
{
	return operation->quiet && !is_private_of_base_pages(kind);
}

static enum matrix_verdict verdict_of_early(const struct matrix_row *row)
{
	if (!row->operation->quiet)
		return VERDICT_EARLY;
	return ummu_row_may_fire(row->operation, row->kind) ? VERDICT_MAY_FIRE :
							      VERDICT_SPURIOUS;
}

static void judge(struct matrix_result *result, const struct matrix_row *row,
		  const struct watching *watching)
{
	bool left = false, missed = false, unknown = false, reported = false;
	bool returned = false;
	unsigned int i;

	for (i = 0; i < row->watches; i++) {
		enum matrix_fate fate = watching->fates[i];
		bool told = watching->reported[i];

		left |= fate == FATE_LEFT || (fate == FATE_UNMAPPED && told);
		returned |= fate == FATE_UNMAPPED && !told;
		missed |= fate == FATE_LEFT && !told;
		unknown |= fate == FATE_UNKNOWN;
		reported |= told;
	}
	if (returned)
		note(result, "unmapped, but the next touch finds the same page");
	result->reported = reported && !missed ? TRUTH_YES : TRUTH_NO;
	result->left = left ? TRUTH_YES : unknown ? TRUTH_UNKNOWN : TRUTH_NO;
	if (missed)
		result->verdict = VERDICT_MISSED;
	else if (left)
		result->verdict = VERDICT_CAUGHT;
	else if (unknown)
		result->verdict = VERDICT_UNKNOWN;
	else if (reported)
		result->verdict = verdict_of_early(row);
	else
		result->verdict = VERDICT_QUIET;
	if (result->verdict == VERDICT_UNKNOWN && !*result->reason)
		note(result, "this user cannot see physical pages (needs root)");
}

/* The operation on watched pages, and what came of it. */
static void act(struct matrix_result *result, struct matrix_row *row,
		struct watching *watching)
{
	const char *wrong;
	unsigned int i;
	int err;

	err = row->operation->run(row);
	if (err &&
	    !(row->operation->refusal && (err == -EAGAIN || err == -EBUSY))) {
		skip(result, row);
		return;
	}
	for (i = 0; i < row->watches; i++)
		watching->reported[i] = is_reported(watching->watches[i]);
	err = ummu_oracle_after(&row->oracle);
	if (err) {
		give_up(result, "/proc/self/pagemap", err);
		return;
	}
	look(watching, row);
	note(result, row->reason);
	judge(result, row, watching);
	wrong = check_events(row, watching);
	if (wrong) {
		note(result, wrong);
		result->failed = true;
	}
}

static void run_watched(struct matrix_result *result, struct matrix_row *row,
			struct watching *watching)
{
	unsigned int i;
	int err;

	err = watch(watching, row);
	if (err == -EAGAIN || err == -EFAULT || err == -EINVAL)
		give_up(result, "ummu_monitor_watch", err);
	else if (err)
		skip(result, row);
	if (err)
		goto out;

	err = ummu_oracle_before(&row->oracle);
	if (err) {
		give_up(result, "not every page is mapped", err);
		goto out;
	}
	for (i = 0; i < row->watches; i++)
		if (is_reported(watching->watches[i])) {
			give_up(result, "a report before anything happened",
				-EPROTO);
			goto out;
		}
	act(result, row, watching);
out:
	for (i = 0; i < MATRIX_WATCHES; i++)
		ummu_monitor_unwatch(watching->monitor, watching->watches[i]);
}

static void prepare_and_run(struct matrix_result *result,
			    struct matrix_row *row, struct watching *watching)
{
	if (ummu_mapping_make(row)) {
		skip(result, row);
		return;
	}
	row->hit.start = row->mapping.addr;
	row->hit.length = row->mapping.length;
	if (pin(row)) {
		note(result, "nothing is promised without a pin");
		skip(result, row);
		return;
	}
	if (row->operation->prepare && row->operation->prepare(row)) {
		skip(result, row);
		return;
	}
	run_watched(result, row, watching);
}

/**
 * ummu_row_run - run the row that @result names, and fill in the rest of it
 *
 * Leaves the process's memory in whatever state the operation left it: for a
 * process that ends right afterwards.
 */
void ummu_row_run(struct matrix_run *run, struct matrix_result *result)
{
	struct matrix_row row = {
		.operation = result->operation,
		.kind = result->kind,
		.via = result->via,
		.other_fd = -1,
	};
	struct watching watching = { 0 };
	int err;

	err = ummu_monitor_open(&run->opts, &watching.monitor);
	if (err) {
		give_up(result, "ummu_monitor_open", err);
		return;
	}
	ummu_oracle_open(&row.oracle);
	prepare_and_run(result, &row, &watching);
	ummu_oracle_close(&row.oracle);
	ummu_monitor_close(watching.monitor);
}
