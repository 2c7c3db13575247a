/* SPDX-License-Identifier: MIT */
/*
 * demo-turns.c - lets the three ways copy in turns, and compares the copies.
 *
 * A disk's speed changes from second to second, with other load and with what
 * it has cached.  Short turns in changing order let that meet all ways alike.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "demo.h"

#define TURN_BLOCKS 128

struct demo_turns {
	struct demo_report *report;
	int right_fd;
	int fds[DEMO_WAYS];
	struct demo_copy *copies[DEMO_WAYS];
};

static const struct demo_way *const ways[DEMO_WAYS] = {
	[DEMO_UNCACHED] = &demo_uncached,
	[DEMO_UNTOLD] = &demo_untold,
	[DEMO_UMMUNOTIFY] = &demo_ummunotify,
};

static int open_file(struct demo_turns *turns, bool *direct, int *fd_p)
{
	const struct demo_report *report = turns->report;

	return demo_scratch_open(report->folder,
				 demo_total_blocks(report->input) * DEMO_BLOCK,
				 direct, fd_p);
}

static int open_copy(struct demo_turns *turns, int way)
{
	struct demo_report *report = turns->report;
	int ret;

	report->direct_output = true; /* if it works there */
	ret = open_file(turns, &report->direct_output, &turns->fds[way]);
	if (ret)
		return ret;
	report->results[way].way = ways[way]->name;
	return demo_copy_open(report->input, turns->fds[way], ways[way],
			      &report->results[way], &turns->copies[way]);
}

static int take_turns(struct demo_turns *turns)
{
	uint64_t total = demo_total_blocks(turns->report->input);
	uint64_t start, end;
	unsigned int first = 0;
	int ret = 0, i;

	for (start = 0; start < total; start = end, first++) {
		end = start + TURN_BLOCKS < total ? start + TURN_BLOCKS : total;
		for (i = 0; i < DEMO_WAYS && !ret; i++)
			ret = demo_copy_run(turns->copies[(first + i) %
							  DEMO_WAYS],
					    end);
		if (ret)
			return ret;
		demo_progress("copying three ways", end, total);
	}
	return 0;
}

static int compare_all(struct demo_turns *turns)
{
	struct demo_report *report = turns->report;
	uint64_t total = demo_total_blocks(report->input);
	int ret = 0, i;

	for (i = 0; i < DEMO_WAYS && !ret; i++)
		ret = demo_compare(total, turns->right_fd, turns->fds[i],
				   &report->results[i].wrong);
	return ret;
}

int demo_turns_run(struct demo_turns *turns)
{
	int ret = demo_plain_copy(turns->report->input, turns->right_fd);

	if (!ret)
		ret = take_turns(turns);
	if (!ret)
		ret = compare_all(turns);
	demo_progress_end();
	return ret;
}

void demo_turns_close(struct demo_turns *turns)
{
	int i;

	for (i = 0; i < DEMO_WAYS; i++) {
		demo_copy_close(turns->copies[i]);
		if (turns->fds[i] >= 0)
			close(turns->fds[i]);
	}
	if (turns->right_fd >= 0)
		close(turns->right_fd);
	free(turns);
}

int demo_turns_open(struct demo_report *report, struct demo_turns **turns_p)
{
	struct demo_turns *turns = calloc(1, sizeof(*turns));
	bool direct = false;
	int ret, i;

	if (!turns) {
		demo_say("out of memory");
		return -ENOMEM;
	}
	turns->report = report;
	turns->right_fd = -1;
	memset(turns->fds, -1, sizeof(turns->fds));
	ret = open_file(turns, &direct, &turns->right_fd);
	for (i = 0; i < DEMO_WAYS && !ret; i++)
		ret = open_copy(turns, i);
	if (ret) {
		demo_turns_close(turns);
		return ret;
	}
	*turns_p = turns;
	return 0;
}
