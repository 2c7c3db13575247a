// SPDX-License-Identifier: GPL-2.0-only
/* main.c - the module: its parameters, its device, its coming and going. */
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/rcupdate.h>

#include "broken.h"
#include "stats.h"
#include "ummunotify.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

unsigned int ummunotify_watches_per_file = 128 * 1024;
module_param_named(watches_per_file, ummunotify_watches_per_file, uint, 0644);
MODULE_PARM_DESC(watches_per_file,
		 "watches that a descriptor opened from now on may have");

unsigned long ummunotify_watches_per_process = 256 * 1024;
module_param_named(watches_per_process, ummunotify_watches_per_process, ulong,
		   0644);
MODULE_PARM_DESC(watches_per_process, "watches of all its descriptors");

unsigned long ummunotify_watches_per_user = 1024 * 1024;
module_param_named(watches_per_user, ummunotify_watches_per_user, ulong, 0644);
MODULE_PARM_DESC(watches_per_user, "watches of all processes of a user");

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "ummunotify",
	.mode = 0444,
	.fops = &ummunotify_file_operations,
};

static int __init ummunotify_init(void)
{
	int error = ummunotify_mapping_init();

	if (error)
		return error;
	error = misc_register(&device);
	if (error) {
		ummunotify_mapping_exit();
		return error;
	}
	ummunotify_stats_init();
	return 0;
}

/*
 * No descriptor is open, and every free_notifier() has put the module.  The
 * last one may still be on its way from there to its return; it runs as a
 * callback of SRCU with bottom halves disabled, so synchronize_rcu() waits for
 * it.  mmu_notifier_synchronize() would not: it waits for readers only.
 */
static void __exit ummunotify_exit(void)
{
	ummunotify_stats_exit();
	misc_deregister(&device);
	ummunotify_broken_flush();
	synchronize_rcu();
	ummunotify_mapping_exit();
}

module_init(ummunotify_init);
module_exit(ummunotify_exit);

MODULE_DESCRIPTION("Tells user space that memory it has registered went away");
MODULE_AUTHOR("The ummunotify developers");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1.0");
