/* SPDX-License-Identifier: MIT */
/*
 * report.c - shows what a run of the matrix found, to people or as JSON.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <json-c/json.h>

#include "../tool.h"
#include "matrix.h"

#define COLUMNS (KIND_BRK + 1) /* the kinds with one operation share the last */

static const char *const headings[COLUMNS] = {
	"anon", "thp",	  "memfd",  "huge-s", "huge-p",
	"shm",	"file-p", "file-s", "other",
};

static const char *colour(const struct matrix_result *result)
{
	if (result->failed)
		return "\033[1;31m";
	switch (result->verdict) {
	case VERDICT_CAUGHT:
		return "\033[32m";
	case VERDICT_MISSED:
	case VERDICT_UNKNOWN:
		return "\033[33m";
	case VERDICT_SKIPPED:
		return "\033[2m";
	default:
		return "";
	}
}

static void print_cell(const struct matrix_result *result, bool coloured)
{
	const char *word = "";
	const char *paint = "";

	if (result) {
		word = result->verdict == VERDICT_SKIPPED ?
			       "-" :
			       ummu_verdict_name(result->verdict);
		paint = coloured ? colour(result) : "";
	}
	printf(" %s%-8s%s", paint, word, *paint ? "\033[0m" : "");
}

/* One operation in one way, over all mappings; returns how many rows. */
static size_t print_line(const struct matrix_run *run, size_t first,
			 enum matrix_via via, bool coloured)
{
	const struct matrix_operation *operation = run->results[first].operation;
	const struct matrix_result *cells[COLUMNS] = { NULL };
	size_t i, rows = 0;

	for (i = first;
	     i < run->count && run->results[i].operation == operation; i++) {
		int column = (int)run->results[i].kind;

		rows++;
		if (run->results[i].via != via)
			continue;
		cells[column < COLUMNS ? column : COLUMNS - 1] = &run->results[i];
	}
	if (!(operation->vias & 1U << via))
		return rows;
	printf("%-31s %-7s", via == VIA_LIBC ? operation->name : "",
	       ummu_via_name(via));
	for (i = 0; i < COLUMNS; i++)
		print_cell(cells[i], coloured);
	putchar('\n');
	return rows;
}

static bool worth_a_note(const struct matrix_result *result)
{
	return result->failed || result->verdict == VERDICT_SKIPPED ||
	       result->verdict == VERDICT_MISSED ||
	       result->verdict == VERDICT_UNKNOWN;
}

static bool same_note(const struct matrix_result *a,
		      const struct matrix_result *b)
{
	return worth_a_note(b) && a->verdict == b->verdict &&
	       a->operation == b->operation && a->failed == b->failed &&
	       !strcmp(a->reason, b->reason);
}

/* The reason of a row, once for all rows of the operation that share it. */
static void print_note(const struct matrix_run *run, size_t row)
{
	const struct matrix_result *result = &run->results[row];
	bool kinds[KIND_COUNT] = { false };
	size_t i;
	int kind;

	for (i = 0; i < row; i++)
		if (same_note(result, &run->results[i]))
			return;
	for (i = row; i < run->count; i++)
		if (same_note(result, &run->results[i]))
			kinds[run->results[i].kind] = true;

	printf("%s%s: %s on", result->failed ? "WRONG: " : "",
	       ummu_verdict_name(result->verdict), result->operation->name);
	for (kind = 0; kind < KIND_COUNT; kind++)
		if (kinds[kind])
			printf(" %s", ummu_kind_name((enum matrix_kind)kind));
	if (result->verdict == VERDICT_MISSED)
		printf(" (%s)", result->claimed ? "claimed" : "not claimed");
	printf("%s%s\n", *result->reason ? ": " : "", result->reason);
}

/** ummu_matrix_print - a table for people; returns an exit code. */
int ummu_matrix_print(const struct matrix_run *run)
{
	bool coloured = isatty(STDOUT_FILENO);
	size_t i, rows;
	int verdict;

	printf("%-31s %-7s", "operation", "via");
	for (i = 0; i < COLUMNS; i++)
		printf(" %-8s", headings[i]);
	putchar('\n');
	for (i = 0; i < run->count; i += rows) {
		print_line(run, i, VIA_LIBC, coloured);
		rows = print_line(run, i, VIA_SYSCALL, coloured);
	}
	putchar('\n');
	for (i = 0; i < run->count; i++)
		if (worth_a_note(&run->results[i]))
			print_note(run, i);

	printf("\nbackend %s: %zu rows", run->backend, run->count);
	for (verdict = 0; verdict < VERDICT_COUNT; verdict++)
		printf(", %u %s", run->verdicts[verdict],
		       ummu_verdict_name((enum matrix_verdict)verdict));
	if (run->failures)
		printf("; %u WRONG\n", run->failures);
	else
		printf("; nothing that is claimed was missed\n");
	if (fflush(stdout) || ferror(stdout)) {
		perror("ummunotify verify");
		return UMMU_EXIT_CANNOT;
	}
	return run->failures ? UMMU_EXIT_FOUND : UMMU_EXIT_OK;
}

static struct json_object *truth(enum matrix_truth value)
{
	return value == TRUTH_UNKNOWN ? NULL : json_object_new_boolean(value);
}

static struct json_object *row_json(const struct matrix_result *result)
{
	struct json_object *row = json_object_new_object();

	json_object_object_add(row, "operation",
			       json_object_new_string(result->operation->name));
	json_object_object_add(row, "mapping",
			       json_object_new_string(
				       ummu_kind_name(result->kind)));
	json_object_object_add(row, "via",
			       json_object_new_string(
				       ummu_via_name(result->via)));
	json_object_object_add(row, "left", truth(result->left));
	json_object_object_add(row, "reported", truth(result->reported));
	json_object_object_add(row, "claimed",
			       json_object_new_boolean(result->claimed));
	json_object_object_add(row, "may_fire",
			       json_object_new_boolean(
				       ummu_row_may_fire(result->operation,
							 result->kind)));
	json_object_object_add(row, "verdict",
			       json_object_new_string(
				       ummu_verdict_name(result->verdict)));
	json_object_object_add(row, "reason",
			       *result->reason ?
				       json_object_new_string(result->reason) :
				       NULL);
	json_object_object_add(row, "wrong",
			       json_object_new_boolean(result->failed));
	return row;
}

static struct json_object *summary_json(const struct matrix_run *run)
{
	struct json_object *summary = json_object_new_object();
	int i;

	json_object_object_add(summary, "rows",
			       json_object_new_int64((int64_t)run->count));
	for (i = 0; i < VERDICT_COUNT; i++)
		json_object_object_add(summary,
				       ummu_verdict_name((enum matrix_verdict)i),
				       json_object_new_int64(run->verdicts[i]));
	json_object_object_add(summary, "wrong",
			       json_object_new_int64(run->failures));
	return summary;
}

/** ummu_matrix_json - the same as JSON; returns @code or a worse exit code. */
int ummu_matrix_json(const struct matrix_run *run, int code)
{
	struct json_object *all = json_object_new_object();
	struct json_object *rows = json_object_new_array();
	struct utsname system;
	size_t i;

	for (i = 0; i < run->count; i++)
		json_object_array_add(rows, row_json(&run->results[i]));
	json_object_object_add(all, "schema", json_object_new_int(1));
	json_object_object_add(all, "backend",
			       json_object_new_string(run->backend));
	json_object_object_add(all, "kernel",
			       json_object_new_string(
				       uname(&system) ? "?" : system.release));
	json_object_object_add(all, "rows", rows);
	json_object_object_add(all, "summary", summary_json(run));
	return ummu_tool_print_json(all, code);
}
