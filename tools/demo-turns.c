/* SPDX-License-Identifier: MIT */
/*
 * demo-turns.c - lets the three ways copy in turns, and compares the copies.
 *
 * A disk's speed changes from second to second, with other load and with what
 * it has cached.  Short turns in changing order let that meet all ways alike.
 */
#include <string.h>
#include <unistd.h>

#include "demo.h"

#define TURN_BLOCKS 128

struct turns {
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

static int open_file(struct turns *turns, bool direct, int *fd_p)
{
	const struct demo_report *report = turns->report;

	return demo_scratch_open(report->folder,
				 demo_total_blocks(report->input) * DEMO_BLOCK,
				 &direct, fd_p);
}

static int open_copy(struct turns *turns, int way)
{
	struct demo_report *report = turns->report;
	int ret = open_file(turns, report->direct_output, &turns->fds[way]);

	if (ret)
		return ret;
	report->results[way].way = ways[way]->name;
	return demo_copy_open(report->input, turns->fds[way], ways[way],
			      &report->results[way], &turns->copies[way]);
}

static int take_turns(struct turns *turns)
{
	uint64_t total = demo_total_blocks(turns->report->input);
	uint64_t start, end;
	unsigned int first = 0;
	int ret = 0, i;

	for (start = 0; start < total; start = end, first++) {
		end = start + TURN_BLOCKS < total ? start + TURN_BLOCKS : total;
		for (i = 0; i < DEMO_WAYS && !ret; i++)
			ret = demo_copy_run(
				turns->copies[(first + i) % DEMO_WAYS], end);
		if (ret)
			return ret;
		demo_progress("copying three ways", end, total);
	}
	return 0;
}

static int copy_all(struct turns *turns)
{
	int ret = 0, i;

	for (i = 0; i < DEMO_WAYS && !ret; i++)
		ret = open_copy(turns, i);
	if (!ret)
		ret = take_turns(turns);
	for (i = 0; i < DEMO_WAYS; i++)
		demo_copy_close(turns->copies[i]);
	return ret;
}

static int compare_all(struct turns *turns)
{
	struct demo_report *report = turns->report;
	uint64_t total = demo_total_blocks(report->input);
	int ret = 0, i;

	for (i = 0; i < DEMO_WAYS && !ret; i++)
		ret = demo_compare(total, turns->right_fd, turns->fds[i],
				   &report->results[i].wrong);
	return ret;
}

int demo_take_turns(struct demo_report *report)
{
	struct turns turns = { .report = report };
	int ret, i;

	memset(turns.fds, -1, sizeof(turns.fds));
	ret = open_file(&turns, false, &turns.right_fd);
	if (ret)
		return ret;
	ret = demo_plain_copy(report->input, turns.right_fd);
	if (!ret)
		ret = copy_all(&turns);
	if (!ret)
		ret = compare_all(&turns);
	demo_progress_end();
	for (i = 0; i < DEMO_WAYS; i++)
		if (turns.fds[i] >= 0)
			close(turns.fds[i]);
	close(turns.right_fd);
	return ret;
}
