/* SPDX-License-Identifier: MIT */
/*
 * oracle.c - tells, without asking the monitor, whether pages really left.
 *
 * Three sources.  /proc/self/pagemap says to everybody which pages are mapped
 * now.  To root it also says which physical page that is.  Everybody else
 * finds out by contents: the pages are pinned as an io_uring buffer, a mark is
 * written through the mapping, and the kernel is told to read the pinned pages.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "matrix.h"

#define PAGEMAP_PRESENT (1ULL << 63)
#define PAGEMAP_FRAME ((1ULL << 55) - 1)

static size_t pages_of(size_t length)
{
	return length / ummu_page_size();
}

static int read_pagemap(const struct matrix_oracle *oracle, uint64_t *words)
{
	size_t size = pages_of(oracle->range.length) * sizeof(*words);
	off_t offset = (off_t)((uintptr_t)oracle->range.start /
			       ummu_page_size() * sizeof(*words));

	memset(words, 0, size);
	if (oracle->pagemap < 0)
		return -ENOENT;
	if (pread(oracle->pagemap, words, size, offset) != (ssize_t)size)
		return -EIO;
	return 0;
}

void ummu_oracle_open(struct matrix_oracle *oracle)
{
	memset(oracle, 0, sizeof(*oracle));
	oracle->copy = -1;
	oracle->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
}

/* What a process that just ended had pinned is given back a little later. */
static int register_buffer(struct io_uring *ring, struct matrix_range range)
{
	static const struct timespec moment = { .tv_nsec = 20 * 1000 * 1000 };
	struct iovec buffer = { .iov_base = range.start,
				.iov_len = range.length };
	int tries, err = 0;

	for (tries = 0; tries < 25; tries++) {
		err = io_uring_register_buffers(ring, &buffer, 1);
		if (err != -ENOMEM)
			return err;
		nanosleep(&moment, NULL);
	}
	return err;
}

/**
 * ummu_oracle_pin - pin a range as DMA would, and look at no other
 *
 * On failure (-errno) the range is looked at without a pin.
 */
int ummu_oracle_pin(struct matrix_oracle *oracle, struct matrix_range range)
{
	int err;

	oracle->range = range;
	err = io_uring_queue_init(2, &oracle->ring, 0);
	if (err)
		return err;
	oracle->ringed = true;

	oracle->copy = memfd_create("ummunotify-oracle", MFD_CLOEXEC);
	if (oracle->copy < 0)
		return -errno;
	if (ftruncate(oracle->copy, (off_t)range.length))
		return -errno;

	err = register_buffer(&oracle->ring, range);
	if (err)
		return err;
	oracle->pinned = true;
	return 0;
}

/** ummu_oracle_before - note what is mapped; every page must be. */
int ummu_oracle_before(struct matrix_oracle *oracle)
{
	size_t i, pages = pages_of(oracle->range.length);
	int err;

	oracle->before = calloc(pages, sizeof(*oracle->before));
	oracle->after = calloc(pages, sizeof(*oracle->after));
	if (!oracle->before || !oracle->after)
		return -ENOMEM;

	err = read_pagemap(oracle, oracle->before);
	if (err)
		return err == -ENOENT ? 0 : err;
	for (i = 0; i < pages; i++)
		if (!(oracle->before[i] & PAGEMAP_PRESENT))
			return -EFAULT;
	oracle->frames = oracle->before[0] & PAGEMAP_FRAME;
	return 0;
}

/** ummu_oracle_after - note what is mapped now, before anybody touches it. */
int ummu_oracle_after(struct matrix_oracle *oracle)
{
	int err = read_pagemap(oracle, oracle->after);

	return err == -ENOENT ? 0 : err;
}

/* The kernel's copy fails where ours would be killed by a signal. */
static bool write_mark(int pipe_fds[2], char *addr, uint64_t mark)
{
	uint64_t rest;

	if (write(pipe_fds[1], &mark, sizeof(mark)) != sizeof(mark))
		return false;
	if (read(pipe_fds[0], addr, sizeof(mark)) == sizeof(mark))
		return true;
	/* it stayed in the pipe */
	if (read(pipe_fds[0], &rest, sizeof(rest)) != sizeof(rest))
		abort();
	return false;
}

/* Have the kernel write out what the pinned pages hold. */
static int copy_pinned(struct matrix_oracle *oracle)
{
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe;
	size_t done = 0;
	int err;

	while (done < oracle->range.length) {
		sqe = io_uring_get_sqe(&oracle->ring);
		if (!sqe)
			return -EAGAIN;
		io_uring_prep_write_fixed(sqe, oracle->copy,
					  oracle->range.start + done,
					  (unsigned int)(oracle->range.length -
							 done),
					  done, 0);
		err = io_uring_submit_and_wait(&oracle->ring, 1);
		if (err < 0)
			return err;
		err = io_uring_wait_cqe(&oracle->ring, &cqe);
		if (err)
			return err;
		err = cqe->res;
		io_uring_cqe_seen(&oracle->ring, cqe);
		if (err <= 0)
			return err ? err : -EIO;
		done += (size_t)err;
	}
	return 0;
}

static bool same_frame(const struct matrix_oracle *oracle, uint64_t word,
		       size_t page)
{
	return (word & PAGEMAP_PRESENT) &&
	       !((word ^ oracle->before[page]) & PAGEMAP_FRAME);
}

/* What pagemap alone can tell about one page. */
static enum matrix_fate fate_by_pagemap(const struct matrix_oracle *oracle,
					size_t page)
{
	if (oracle->pagemap < 0)
		return FATE_UNKNOWN;
	if (!(oracle->after[page] & PAGEMAP_PRESENT))
		return FATE_LEFT;
	if (!oracle->frames)
		return FATE_UNKNOWN;
	return same_frame(oracle, oracle->after[page], page) ? FATE_STAYED :
							       FATE_LEFT;
}

static uint64_t mark_of(size_t page)
{
	return 0x756d6d756e6f7469ULL ^ (page * 0x9e3779b97f4a7c15ULL);
}

/* Is the page that a touch of the address finds the one that was pinned? */
static enum matrix_fate fate_by_touch(struct matrix_oracle *oracle, size_t page,
				      bool marked)
{
	uint64_t found = 0;
	off_t offset = (off_t)(page * ummu_page_size());

	if (!marked)
		return FATE_LEFT;
	if (oracle->pinned) {
		if (pread(oracle->copy, &found, sizeof(found), offset) !=
		    sizeof(found))
			return FATE_UNKNOWN;
		return found == mark_of(page) ? FATE_STAYED : FATE_LEFT;
	}
	if (!oracle->frames)
		return FATE_UNKNOWN;
	return same_frame(oracle, oracle->after[page], page) ? FATE_STAYED :
							       FATE_LEFT;
}

static enum matrix_fate worse(enum matrix_fate a, enum matrix_fate b)
{
	static const int rank[] = {
		[FATE_STAYED] = 0,
		[FATE_UNKNOWN] = 1,
		[FATE_UNMAPPED] = 2,
		[FATE_LEFT] = 3,
	};

	return rank[a] > rank[b] ? a : b;
}

static enum matrix_fate touch_pages(struct matrix_oracle *oracle, size_t first,
				    size_t end, bool *marked)
{
	enum matrix_fate fate = FATE_STAYED, before, now;
	enum matrix_fate *seen;
	int pipe_fds[2];
	size_t i;

	seen = calloc(end - first, sizeof(*seen));
	if (!seen)
		return FATE_UNKNOWN;
	fate = FATE_UNKNOWN;
	if (pipe2(pipe_fds, O_CLOEXEC))
		goto out_seen;

	for (i = first; i < end; i++) {
		seen[i - first] = fate_by_pagemap(oracle, i);
		marked[i] = write_mark(pipe_fds,
				       oracle->range.start +
					       i * ummu_page_size(),
				       mark_of(i));
	}
	if (oracle->pinned && copy_pinned(oracle))
		goto out_pipe;
	ummu_oracle_after(oracle);

	fate = FATE_STAYED;
	for (i = first; i < end; i++) {
		before = seen[i - first];
		now = fate_by_touch(oracle, i, marked[i]);
		if (before == FATE_LEFT && now == FATE_STAYED)
			now = FATE_UNMAPPED;
		else if (before != FATE_UNKNOWN)
			now = before;
		fate = worse(fate, now);
	}
out_pipe:
	close(pipe_fds[0]);
	close(pipe_fds[1]);
out_seen:
	free(seen);
	return fate;
}

/**
 * ummu_oracle_fate - what became of a range, after ummu_oracle_after()
 * @may_touch: the pages may be written to, to find out what pagemap cannot
 *             tell; ask for every range without it first
 */
enum matrix_fate ummu_oracle_fate(struct matrix_oracle *oracle,
				  struct matrix_range range, bool may_touch)
{
	size_t first = pages_of((size_t)(range.start - oracle->range.start));
	size_t end = first + pages_of(range.length);
	enum matrix_fate fate = FATE_STAYED;
	bool *marked;
	size_t i;

	for (i = first; i < end; i++)
		fate = worse(fate, fate_by_pagemap(oracle, i));
	if (!may_touch || fate == FATE_STAYED)
		return fate;

	marked = calloc(end, sizeof(*marked));
	if (!marked)
		return FATE_UNKNOWN;
	fate = touch_pages(oracle, first, end, marked);
	free(marked);
	return fate;
}

void ummu_oracle_close(struct matrix_oracle *oracle)
{
	if (oracle->pinned)
		io_uring_unregister_buffers(&oracle->ring);
	if (oracle->ringed)
		io_uring_queue_exit(&oracle->ring);
	if (oracle->copy >= 0)
		close(oracle->copy);
	if (oracle->pagemap >= 0)
		close(oracle->pagemap);
	free(oracle->before);
	free(oracle->after);
}
