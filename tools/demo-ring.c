/* SPDX-License-Identifier: MIT */
/*
 * demo-ring.c - the io_uring that a copy uses, and why there may be none.
 */
#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <string.h>

#include "demo.h"

static int io_uring_disabled(void)
{
	FILE *file = fopen("/proc/sys/kernel/io_uring_disabled", "re");
	int disabled = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%d", &disabled) != 1)
		disabled = 0;
	fclose(file);
	return disabled;
}

static void explain_no_ring(int error)
{
	int disabled = io_uring_disabled();

	if (error == -ENOSYS)
		demo_say("this kernel has no io_uring, or a sandbox hides it; "
			 "the demo needs Linux 5.19 or later");
	else if (error == -EPERM && disabled)
		demo_say("io_uring is turned off here (kernel.io_uring_disabled"
			 " is %d); as root: sysctl kernel.io_uring_disabled=0",
			 disabled);
	else if (error == -EPERM)
		demo_say("io_uring is not permitted, as in containers whose "
			 "seccomp profile blocks it; run the demo outside, or "
			 "with --security-opt seccomp=unconfined");
	else
		demo_say("cannot make an io_uring: %s%s", strerror(-error),
			 error == -ENOMEM ? "; raise the limit on locked "
					    "memory (`ulimit -l')" :
					    "");
}

int demo_ring_open(struct io_uring *ring, struct ummu_pin_uring **pin_p)
{
	int ret = io_uring_queue_init(2 * DEMO_LANES, ring, 0);

	if (ret) {
		explain_no_ring(ret);
		return ret;
	}
	ret = ummu_pin_uring_create(ring, DEMO_SLOTS, pin_p);
	if (ret) {
		demo_say("cannot make a buffer table: %s%s", strerror(-ret),
			 ret == -EINVAL ? "; the demo needs Linux 5.19 or "
					  "later" :
					  "");
		io_uring_queue_exit(ring);
	}
	return ret;
}

void demo_ring_close(struct io_uring *ring, struct ummu_pin_uring *pin)
{
	ummu_pin_uring_destroy(pin);
	io_uring_queue_exit(ring);
}
