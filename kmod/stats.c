// SPDX-License-Identifier: GPL-2.0-only
/* stats.c - the counters, as text in debugfs: ummunotify/stats. */
#include <linux/debugfs.h>
#include <linux/seq_file.h>

#include "stats.h"
#include "ummunotify.h"

DEFINE_PER_CPU(struct ummunotify_stats, ummunotify_stats);

static struct dentry *directory;

static void add_up(struct ummunotify_stats *sum)
{
	const size_t count = sizeof(*sum) / sizeof(u64);
	int cpu;

	for_each_possible_cpu(cpu) {
		const u64 *from = (u64 *)&per_cpu(ummunotify_stats, cpu);
		u64 *to = (u64 *)sum;
		size_t i;

		for (i = 0; i < count; i++)
			to[i] += READ_ONCE(from[i]);
	}
}

static int stats_show(struct seq_file *out, void *unused)
{
	struct ummunotify_stats sum = {};

	add_up(&sum);
	seq_printf(out, "spaces %llu\n", sum.spaces_made - sum.spaces_ended);
	seq_printf(out, "files %llu\n", sum.files_made - sum.files_ended);
	seq_printf(out, "watches %llu\n", sum.watches_made - sum.watches_ended);
	seq_printf(out, "watches_made %llu\n", sum.watches_made);
	seq_printf(out, "invalidations %llu\n", sum.invalidations);
	seq_printf(out, "hits %llu\n", sum.hits);
	seq_printf(out, "born_hit %llu\n", sum.born_hit);
	seq_printf(out, "wakeups %llu\n", sum.wakeups);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(stats);

/**
 * ummunotify_stats_init() - make the file; a kernel without debugfs has none
 */
void ummunotify_stats_init(void)
{
	directory = debugfs_create_dir("ummunotify", NULL);
	debugfs_create_file("stats", 0400, directory, NULL, &stats_fops);
}

/**
 * ummunotify_stats_exit() - remove it
 */
void ummunotify_stats_exit(void)
{
	debugfs_remove_recursive(directory);
}
