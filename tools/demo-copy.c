/* SPDX-License-Identifier: MIT */
/*
 * demo-copy.c - copies a file through an io_uring's fixed buffers, while the
 * program keeps freeing the buffers and mapping them again.
 *
 * Several lanes work at a time.  Each takes a block through the same steps:
 * read into its input buffer, transform into its output buffer, write that.
 * Once a lane's buffers have served their I/Os, they are unmapped and mapped
 * again at the same addresses.  Real programs do so without a thought: malloc
 * unmaps a large block that is freed, and the next one lands in the hole.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "demo.h"

#define PATIENCE 500 /* waits of 10 ms for one registration */

enum lane_step { LANE_READ, LANE_WRITE };

/**
 * struct lane - one block in flight
 * @in, @out: DEMO_BLOCK bytes each
 * @grip:     on the buffer that the I/O in flight uses
 * @gripped:  whether there is one
 * @block:    its number in the copy
 * @length:   bytes that this I/O has to move
 * @done:     of these, moved so far
 * @uses:     I/Os of each buffer since it was mapped
 */
struct lane {
	unsigned char *in;
	unsigned char *out;
	struct demo_grip grip;
	bool gripped;
	enum lane_step step;
	uint64_t block;
	uint32_t length;
	uint32_t done;
	unsigned int uses;
};

struct demo_copy {
	const struct demo_input *input;
	int out_fd;
	const struct demo_way *way;
	void *state; /* of @way */
	struct io_uring ring;
	struct demo_pin pin;
	struct lane lanes[DEMO_LANES];
	uint64_t next; /* block to start */
	uint64_t end;  /* of this turn */
	unsigned int in_flight;
	struct demo_result *result;
};

static unsigned char *map_buffer(void *where)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	void *addr;

	if (where) {
		addr = mmap(where, DEMO_BLOCK, PROT_READ | PROT_WRITE,
			    flags | MAP_FIXED_NOREPLACE, -1, 0);
		/* Another thread may have won the address: then elsewhere. */
		if (addr != MAP_FAILED)
			return addr;
	}
	addr = mmap(NULL, DEMO_BLOCK, PROT_READ | PROT_WRITE, flags, -1, 0);
	return addr == MAP_FAILED ? NULL : addr;
}

static int remap_buffer(struct demo_copy *copy, unsigned char **buffer_p)
{
	void *where = *buffer_p;

	munmap(where, DEMO_BLOCK);
	*buffer_p = map_buffer(where);
	if (!*buffer_p) {
		demo_say("out of memory");
		return -ENOMEM;
	}
	copy->result->remaps++;
	return 0;
}

static bool may_pass(int error)
{
	return error == -ENOMEM || error == -ENOBUFS || error == -EAGAIN;
}

/* Kernels before 6.4 take up to a second to give pinned memory back. */
static int grip_buffer(struct demo_copy *copy, struct lane *lane, void *buffer)
{
	const struct timespec moment = { .tv_nsec = 10 * 1000 * 1000 };
	int patience = PATIENCE;
	int ret;

	ret = copy->way->get(copy->state, buffer, &lane->grip);
	for (; may_pass(ret) && patience; patience--) {
		copy->result->waits++;
		nanosleep(&moment, NULL);
		ret = copy->way->get(copy->state, buffer, &lane->grip);
	}
	if (ret)
		demo_say("cannot register a buffer: %s%s", strerror(-ret),
			 ret == -ENOMEM ? "; is the limit on locked memory "
					  "(`ulimit -l') below 4 MiB?" :
					  "");
	lane->gripped = !ret;
	return ret;
}

static void release_buffer(struct demo_copy *copy, struct lane *lane)
{
	if (lane->gripped)
		copy->way->put(copy->state, &lane->grip);
	lane->gripped = false;
}

static void queue(struct demo_copy *copy, struct lane *lane)
{
	/* A lane has one I/O in flight and the queue room for all lanes. */
	struct io_uring_sqe *sqe = io_uring_get_sqe(&copy->ring);
	uint32_t left = lane->length - lane->done;

	if (lane->step == LANE_READ)
		io_uring_prep_read_fixed(sqe, copy->input->direct_fd,
					 lane->in + lane->done, left,
					 demo_offset(copy->input, lane->block) +
						 lane->done,
					 (int)lane->grip.slot);
	else
		io_uring_prep_write_fixed(sqe, copy->out_fd,
					  lane->out + lane->done, left,
					  lane->block * DEMO_BLOCK + lane->done,
					  (int)lane->grip.slot);
	io_uring_sqe_set_data(sqe, lane);
	copy->in_flight++;
}

static int start_read(struct demo_copy *copy, struct lane *lane)
{
	int ret;

	if (lane->uses == DEMO_USES) {
		ret = remap_buffer(copy, &lane->in);
		if (!ret)
			ret = remap_buffer(copy, &lane->out);
		if (ret)
			return ret;
		lane->uses = 0;
	}
	lane->uses++;
	lane->block = copy->next++;
	lane->step = LANE_READ;
	lane->length = DEMO_BLOCK; /* O_DIRECT reads whole blocks */
	lane->done = 0;
	ret = grip_buffer(copy, lane, lane->in);
	if (!ret)
		queue(copy, lane);
	return ret;
}

static int start_write(struct demo_copy *copy, struct lane *lane)
{
	int ret;

	release_buffer(copy, lane);
	demo_transform(lane->in, lane->out,
		       demo_length(copy->input, lane->block), lane->block);
	lane->step = LANE_WRITE;
	lane->length = DEMO_BLOCK;
	lane->done = 0;
	ret = grip_buffer(copy, lane, lane->out);
	if (!ret)
		queue(copy, lane);
	return ret;
}

static int finish_block(struct demo_copy *copy, struct lane *lane)
{
	release_buffer(copy, lane);
	return copy->next < copy->end ? start_read(copy, lane) : 0;
}

static int io_failed(struct demo_copy *copy, struct lane *lane, int error)
{
	demo_say("%s: %s",
		 lane->step == LANE_READ ? copy->input->path :
					   "writing the copy",
		 strerror(-error));
	return error;
}

/* How far the file goes in this block; reads end there. */
static bool moved_all(struct demo_copy *copy, struct lane *lane)
{
	uint32_t length = lane->length;

	if (lane->step == LANE_READ)
		length = demo_length(copy->input, lane->block);
	return lane->done >= length;
}

static int advance(struct demo_copy *copy, struct lane *lane, int moved)
{
	uint32_t before = lane->done;

	if (moved == -EINTR || moved == -EAGAIN) {
		queue(copy, lane);
		return 0;
	}
	if (moved < 0)
		return io_failed(copy, lane, moved);
	lane->done += (uint32_t)moved;
	if (moved_all(copy, lane))
		return lane->step == LANE_READ ? start_write(copy, lane) :
						 finish_block(copy, lane);
	lane->done &= ~4095u; /* where O_DIRECT may go on */
	if (lane->done <= before)
		return io_failed(copy, lane, -EIO);
	queue(copy, lane);
	return 0;
}

static int wait_for_completions(struct demo_copy *copy)
{
	int ret = io_uring_submit_and_wait(&copy->ring, 1);

	if (ret >= 0 || ret == -EINTR || ret == -EAGAIN || ret == -EBUSY)
		return 0;
	demo_say("io_uring_enter: %s", strerror(-ret));
	return ret;
}

/* After an error nothing new starts; what is in flight must complete. */
static int run_lanes(struct demo_copy *copy)
{
	struct io_uring_cqe *cqe;
	struct lane *lane;
	int ret = 0, moved, i;

	for (i = 0; i < DEMO_LANES && !ret && copy->next < copy->end; i++)
		ret = start_read(copy, &copy->lanes[i]);
	while (copy->in_flight) {
		int error = wait_for_completions(copy);

		if (error)
			return error;
		while (!io_uring_peek_cqe(&copy->ring, &cqe)) {
			lane = io_uring_cqe_get_data(cqe);
			moved = cqe->res;
			io_uring_cqe_seen(&copy->ring, cqe);
			copy->in_flight--;
			if (!ret)
				ret = advance(copy, lane, moved);
		}
	}
	return ret;
}

static int map_lanes(struct demo_copy *copy)
{
	struct lane *lane;
	unsigned int i;

	for (i = 0; i < DEMO_LANES; i++) {
		lane = &copy->lanes[i];
		lane->in = map_buffer(NULL);
		lane->out = map_buffer(NULL);
		if (!lane->in || !lane->out) {
			demo_say("out of memory");
			return -ENOMEM;
		}
		/* Not all lanes shall remap at the same moment. */
		lane->uses = i * (DEMO_USES / DEMO_LANES);
	}
	return 0;
}

static void unmap_lanes(struct demo_copy *copy)
{
	unsigned int i;

	for (i = 0; i < DEMO_LANES; i++) {
		release_buffer(copy, &copy->lanes[i]);
		if (copy->lanes[i].in)
			munmap(copy->lanes[i].in, DEMO_BLOCK);
		if (copy->lanes[i].out)
			munmap(copy->lanes[i].out, DEMO_BLOCK);
	}
}

static double seconds_between(const struct timespec *start,
			      const struct timespec *end)
{
	return (double)(end->tv_sec - start->tv_sec) +
	       (double)(end->tv_nsec - start->tv_nsec) / 1e9;
}

int demo_copy_run(struct demo_copy *copy, uint64_t end)
{
	struct demo_result *result = copy->result;
	struct timespec started, ended;
	int ret;

	copy->end = end;
	clock_gettime(CLOCK_MONOTONIC, &started);
	ret = run_lanes(copy);
	clock_gettime(CLOCK_MONOTONIC, &ended);
	result->seconds += seconds_between(&started, &ended);
	result->registrations = copy->pin.registrations;
	result->register_seconds = (double)copy->pin.nanoseconds / 1e9;
	return ret;
}

int demo_copy_open(const struct demo_input *input, int fd,
		   const struct demo_way *way, struct demo_result *result,
		   struct demo_copy **copy_p)
{
	struct demo_copy *copy = calloc(1, sizeof(*copy));
	int ret = -ENOMEM;

	if (!copy) {
		demo_say("out of memory");
		return ret;
	}
	copy->input = input;
	copy->out_fd = fd;
	copy->way = way;
	copy->result = result;
	ret = demo_ring_open(&copy->ring, &copy->pin.uring);
	if (ret)
		goto free_copy;
	ret = way->open(&copy->pin, &copy->state);
	if (ret)
		goto close_ring;
	ret = map_lanes(copy);
	if (ret)
		goto close_way;
	if (way->backend)
		snprintf(result->backend, sizeof(result->backend), "%s",
			 way->backend(copy->state));
	*copy_p = copy;
	return 0;

close_way:
	unmap_lanes(copy);
	way->close(copy->state);
close_ring:
	demo_ring_close(&copy->ring, copy->pin.uring);
free_copy:
	free(copy);
	return ret;
}

void demo_copy_close(struct demo_copy *copy)
{
	if (!copy)
		return;
	unmap_lanes(copy);
	copy->way->close(copy->state);
	demo_ring_close(&copy->ring, copy->pin.uring);
	free(copy);
}
