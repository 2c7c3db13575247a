/* SPDX-License-Identifier: MIT */
/* race-pin.c - memory that is really pinned, and what the pinned pages hold. */
#define _GNU_SOURCE
#include "race-pin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void die(const char *what, int error)
{
	fprintf(stderr, "%s: %s\n", what, strerror(-error));
	exit(1);
}

void race_pin_open(struct race_pin *pin, unsigned int buffers)
{
	int error = io_uring_queue_init(4, &pin->ring, 0);

	if (error)
		die("io_uring", error);
	error = ummu_pin_uring_create(&pin->ring, buffers, &pin->uring);
	if (error)
		die("a table of io_uring buffers", error);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pin->ends))
		die("socketpair", -errno);
	pthread_mutex_init(&pin->lock, NULL);
}

void race_pin_close(struct race_pin *pin)
{
	pthread_mutex_destroy(&pin->lock);
	close(pin->ends[0]);
	close(pin->ends[1]);
	ummu_pin_uring_destroy(pin->uring);
	io_uring_queue_exit(&pin->ring);
}

int race_pin_add(struct race_pin *pin, void *addr, size_t length)
{
	struct ummu_region region = { .addr = addr, .length = length };
	int error = ummu_pin_uring_ops.reg(pin->uring, &region);

	return error ? error : (int)region.handle.number;
}

void race_pin_drop(struct race_pin *pin, int buffer)
{
	struct ummu_region region = { .handle.number = (uint64_t)buffer };

	ummu_pin_uring_ops.dereg(pin->uring, &region);
}

/* Has the kernel send the first bytes at an address of a buffer. */
static void send_pinned(struct race_pin *pin, int buffer, const void *addr)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&pin->ring);
	struct io_uring_cqe *cqe;
	int result;

	io_uring_prep_write_fixed(sqe, pin->ends[0], addr, sizeof(uint64_t), 0,
				  buffer);
	io_uring_submit(&pin->ring);
	do {
		result = io_uring_wait_cqe(&pin->ring, &cqe);
	} while (result == -EINTR);
	if (result)
		die("io_uring_wait_cqe", result);
	if (cqe->res != sizeof(uint64_t))
		die("WRITE_FIXED", cqe->res < 0 ? cqe->res : -EIO);
	io_uring_cqe_seen(&pin->ring, cqe);
}

uint64_t race_pin_number(struct race_pin *pin, int buffer, const void *addr)
{
	uint64_t number;

	pthread_mutex_lock(&pin->lock);
	send_pinned(pin, buffer, addr);
	if (read(pin->ends[1], &number, sizeof(number)) != sizeof(number))
		die("read", -errno);
	pthread_mutex_unlock(&pin->lock);
	return number;
}
