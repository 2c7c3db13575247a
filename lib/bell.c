/* SPDX-License-Identifier: MIT */
/* bell.c - a descriptor that a program polls to learn that events wait. */
#define _GNU_SOURCE
#include "bell.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "explain.h"

int ummu_bell_make(struct ummu_bell *bell)
{
	int ends[2];
	int error;

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK))
		return ummu_explain(-errno,
				    "no pipe to poll for events: %m (ulimit -n?)");
	error = ummu_descriptor_keep(&bell->poll, ends[0]);
	if (error) {
		close(ends[1]);
		goto out;
	}
	error = ummu_descriptor_keep(&bell->pull, ends[1]);
	if (error)
		ummu_descriptor_close(&bell->poll);
out:
	if (error)
		*bell = UMMU_NO_BELL;
	return error ? ummu_explain(error, "fstat of a new pipe failed") : 0;
}

void ummu_bell_destroy(struct ummu_bell *bell)
{
	ummu_descriptor_close(&bell->poll);
	ummu_descriptor_close(&bell->pull);
}

/* By syscall(), as write() and read() are cancellation points. */
void ummu_bell_ring(const struct ummu_bell *bell)
{
	if (ummu_descriptor_is_ours(&bell->pull))
		syscall(SYS_write, bell->pull.fd, "", 1);
}

void ummu_bell_silence(const struct ummu_bell *bell)
{
	char bytes[16];

	if (!ummu_descriptor_is_ours(&bell->poll))
		return;
	while (syscall(SYS_read, bell->poll.fd, bytes, sizeof(bytes)) ==
	       sizeof(bytes))
		;
}
