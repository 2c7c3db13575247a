/* SPDX-License-Identifier: MIT */
/*
 * demo-report.c - tells what the demo does and found, for people and programs.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <json-c/json.h>

#include "demo.h"

#define MIB (1024.0 * 1024.0)

/* 1234567 as "1,234,567"; good until eight more are asked for. */
static const char *grouped(uint64_t number)
{
	static char buffers[8][32];
	static unsigned int turn;
	char digits[24];
	char *to = buffers[turn++ % 8];
	const char *result = to;
	int length = snprintf(digits, sizeof(digits), "%" PRIu64, number);
	int i;

	for (i = 0; i < length; i++) {
		if (i && (length - i) % 3 == 0)
			*to++ = ',';
		*to++ = digits[i];
	}
	*to = '\0';
	return result;
}

static bool progress_shown;

void demo_progress(const char *what, uint64_t done, uint64_t total)
{
	static struct timespec last;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (!isatty(STDERR_FILENO) ||
	    (now.tv_sec - last.tv_sec) * 1000 +
			    (now.tv_nsec - last.tv_nsec) / 1000000 <
		    100)
		return;
	last = now;
	progress_shown = true;
	fprintf(stderr, "\r\033[K  %s %.0f %%", what,
		100.0 * (double)done / (double)total);
	fflush(stderr);
}

void demo_progress_end(void)
{
	if (progress_shown)
		fputs("\r\033[K", stderr);
	progress_shown = false;
}

static const char *colour(const char *code)
{
	return isatty(STDOUT_FILENO) && !getenv("NO_COLOR") ? code : "";
}

static const char *direct_words(const struct demo_report *report)
{
	if (report->direct_input && report->direct_output)
		return "O_DIRECT";
	if (report->direct_input)
		return "O_DIRECT reads; the folder's filesystem takes no "
		       "O_DIRECT writes";
	if (report->direct_output)
		return "O_DIRECT writes; the file's filesystem takes no "
		       "O_DIRECT reads";
	return "through the page cache, as O_DIRECT is not possible here";
}

void demo_print_heading(const struct demo_report *report)
{
	const struct demo_input *input = report->input;
	uint64_t passes = input->passes;

	printf("Copying %s\n", input->path);
	printf("  %.1f MiB%s%s%s: %s blocks of 64 KiB, %d at a time, with "
	       "io_uring fixed buffers\n",
	       (double)input->size / MIB, passes > 1 ? ", " : "",
	       passes > 1 ? grouped(passes) : "", passes > 1 ? " times" : "",
	       grouped(demo_total_blocks(input)), DEMO_LANES);
	printf("  I/O:     %s\n", direct_words(report));
	printf("  program: reads a block, transforms it into a second buffer, "
	       "writes that\n"
	       "  buffers: %d; each is unmapped after %d I/Os and mapped again "
	       "at the same\n"
	       "           address, as malloc and free do it to long-running "
	       "programs\n\n",
	       2 * DEMO_LANES, DEMO_USES);
	fflush(stdout);
}

static double rate(const struct demo_report *report,
		   const struct demo_result *result)
{
	return (double)demo_total_blocks(report->input) * DEMO_BLOCK /
	       result->seconds;
}

static void print_row(const struct demo_report *report,
		      const struct demo_result *result, const char *name,
		      const char *remark)
{
	uint64_t wrong = result->wrong.blocks;

	printf("  %-12s%6s MiB/s%15s%8s%s%14s%s  %s\n", name,
	       grouped((uint64_t)(rate(report, result) / MIB)),
	       grouped(result->registrations), grouped(result->remaps),
	       colour(wrong ? "\033[1;31m" : "\033[32m"), grouped(wrong),
	       colour("\033[0m"), remark);
}

static void explain_untold(const struct demo_report *report)
{
	const struct demo_wrong *wrong = &report->results[DEMO_UNTOLD].wrong;
	uint64_t blocks = demo_total_blocks(report->input);

	if (!wrong->blocks) {
		puts("untold: by luck no block was wrong this time.");
		return;
	}
	printf("untold: every I/O reported success, yet %.0f %% of the copy is "
	       "wrong.  The first\n"
	       "wrong block is number %s, at byte %s.",
	       100.0 * (double)wrong->blocks / (double)blocks,
	       grouped(wrong->first), grouped(wrong->first * DEMO_BLOCK));
	if (wrong->known)
		printf("  It holds what belongs in block\n"
		       "%s: the cache did not know that the buffer had been "
		       "mapped again, and its\nregistration still named the "
		       "old pages.",
		       grouped(wrong->holds));
	puts("");
}

static void explain_told(const struct demo_report *report)
{
	const struct demo_result *uncached = &report->results[DEMO_UNCACHED];
	const struct demo_result *told = &report->results[DEMO_UMMUNOTIFY];

	if (told->wrong.blocks) {
		printf("ummunotify: THE COPY IS WRONG, first in block %s.  "
		       "Please report this.\n",
		       grouped(told->wrong.first));
		return;
	}
	printf("ummunotify: every block is right, with %.1f times fewer "
	       "registrations than uncached.\n"
	       "They took %.1f ms instead of %.1f ms, %.1f %% of the time "
	       "instead of %.1f %%; the throughput\n"
	       "is %.2f times that of uncached.\n",
	       (double)uncached->registrations / (double)told->registrations,
	       told->register_seconds * 1e3, uncached->register_seconds * 1e3,
	       100 * told->register_seconds / told->seconds,
	       100 * uncached->register_seconds / uncached->seconds,
	       rate(report, told) / rate(report, uncached));
}

static void print_waits(const struct demo_report *report)
{
	uint64_t waits = 0;
	int i;

	for (i = 0; i < DEMO_WAYS; i++)
		waits += report->results[i].waits;
	if (waits)
		printf("\nThis kernel gives pinned memory back late: registering "
		       "waited for it %s times\n(10 ms each).  A higher "
		       "`ulimit -l' avoids that.\n",
		       grouped(waits));
}

void demo_print_results(const struct demo_report *report)
{
	char told[64];

	snprintf(told, sizeof(told), "told by %s",
		 report->results[DEMO_UMMUNOTIFY].backend);
	puts("                throughput  registrations  remaps  "
	     "wrong blocks");
	print_row(report, &report->results[DEMO_UNCACHED], "uncached",
		  "registers each time");
	print_row(report, &report->results[DEMO_UNTOLD], "untold cache",
		  "today's bug");
	print_row(report, &report->results[DEMO_UMMUNOTIFY], "ummunotify", told);
	puts("");
	explain_untold(report);
	puts("");
	explain_told(report);
	print_waits(report);
}

static struct json_object *result_json(const struct demo_report *report,
				       const struct demo_result *result)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "bytes_per_second",
			       json_object_new_int64(
				       (int64_t)rate(report, result)));
	json_object_object_add(object, "registrations",
			       json_object_new_uint64(result->registrations));
	json_object_object_add(object, "register_seconds",
			       json_object_new_double(result->register_seconds));
	json_object_object_add(object, "remaps",
			       json_object_new_uint64(result->remaps));
	json_object_object_add(object, "blocks",
			       json_object_new_uint64(
				       demo_total_blocks(report->input)));
	json_object_object_add(object, "wrong_blocks",
			       json_object_new_uint64(result->wrong.blocks));
	json_object_object_add(object, "first_wrong_block",
			       result->wrong.blocks ?
				       json_object_new_uint64(
					       result->wrong.first) :
				       NULL);
	json_object_object_add(object, "waits",
			       json_object_new_uint64(result->waits));
	return object;
}

struct json_object *demo_json(const struct demo_report *report)
{
	const struct demo_result *results = report->results;
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "schema", json_object_new_int(1));
	json_object_object_add(object, "file",
			       json_object_new_string(report->input->path));
	json_object_object_add(object, "bytes",
			       json_object_new_uint64(report->input->size));
	json_object_object_add(object, "passes",
			       json_object_new_uint64(report->input->passes));
	json_object_object_add(object, "backend",
			       json_object_new_string(
				       results[DEMO_UMMUNOTIFY].backend));
	json_object_object_add(object, "direct",
			       json_object_new_boolean(report->direct_input &&
						       report->direct_output));
	json_object_object_add(object, "uncached",
			       result_json(report, &results[DEMO_UNCACHED]));
	json_object_object_add(object, "untold",
			       result_json(report, &results[DEMO_UNTOLD]));
	json_object_object_add(object, "ummunotify",
			       result_json(report, &results[DEMO_UMMUNOTIFY]));
	return object;
}
