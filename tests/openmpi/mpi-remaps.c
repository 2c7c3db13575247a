/* SPDX-License-Identifier: MIT */
/*
 * mpi-remaps.c - ways in which a message buffer gets other pages at the same
 * address.
 */
#define _GNU_SOURCE
#include "mpi-remaps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/**
 * struct request - what the other process is asked to do
 * @act:    see act_*
 * @owner:  of the memory
 * @buffer: there
 */
struct request {
	int (*act)(const struct request *request);
	pid_t owner;
	struct buffer buffer;
};

/* The pipes to and from the other process, and who it is. */
static int ask[2], answer[2];
static pid_t other;

void remaps_fail(const char *what)
{
	fprintf(stderr, "mpi-remap: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void must(bool done, const char *what)
{
	if (!done)
		remaps_fail(what);
}

static int open_theirs(const struct request *request)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)request->owner,
		 request->buffer.file);
	return open(path, O_RDWR | O_CLOEXEC);
}

static int act_truncate(const struct request *request)
{
	int file = open_theirs(request);
	int done = ftruncate(file, 0) ||
		   ftruncate(file, (off_t)request->buffer.length);

	close(file);
	return done;
}

static int act_punch(const struct request *request)
{
	int file = open_theirs(request);
	int done = fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			     0, (off_t)request->buffer.length);

	close(file);
	return done;
}

/* The only advice to another process that takes pages away, on all kernels. */
static int act_pageout(const struct request *request)
{
	int file = (int)syscall(SYS_pidfd_open, request->owner, 0);
	struct iovec range = { request->buffer.addr, request->buffer.length };
	long done = syscall(SYS_process_madvise, file, &range, 1, MADV_PAGEOUT,
			    0);

	close(file);
	return done < 0 ? -1 : 0;
}

static void serve(void)
{
	struct request request;
	int error;

	while (read(ask[0], &request, sizeof(request)) == sizeof(request)) {
		error = request.act(&request) ? errno : 0;
		if (write(answer[1], &error, sizeof(error)) != sizeof(error))
			break;
	}
	_exit(0);
}

void remaps_begin(void)
{
	must(!pipe2(ask, O_CLOEXEC) && !pipe2(answer, O_CLOEXEC), "pipe");
	other = fork();
	must(other >= 0, "fork");
	if (!other) {
		close(ask[1]);
		close(answer[0]);
		serve();
	}
	close(ask[0]);
	close(answer[1]);
}

void remaps_end(void)
{
	close(ask[1]);
	waitpid(other, NULL, 0);
}

static void by_other(struct buffer *buffer, int (*act)(const struct request *),
		     const char *what)
{
	struct request request = { act, getpid(), *buffer };

	must(write(ask[1], &request, sizeof(request)) == sizeof(request) &&
		     read(answer[0], &errno, sizeof(errno)) == sizeof(errno),
	     "the other process");
	must(!errno, what);
}

static void *map(void *where, size_t length, int flags, int file)
{
	void *addr = mmap(where, length, PROT_READ | PROT_WRITE, flags, file, 0);

	must(addr != MAP_FAILED, "mmap");
	return addr;
}

static void make_private(struct buffer *buffer)
{
	buffer->addr = map(NULL, buffer->length, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1);
}

static void make_shared(struct buffer *buffer)
{
	buffer->file = memfd_create("buffer", MFD_CLOEXEC);
	must(buffer->file >= 0 &&
		     !ftruncate(buffer->file, (off_t)buffer->length),
	     "memfd_create");
	buffer->addr = map(NULL, buffer->length, MAP_SHARED, buffer->file);
}

static void end_mapped(struct buffer *buffer)
{
	munmap(buffer->addr, buffer->length);
	if (buffer->file >= 0)
		close(buffer->file);
}

static void make_allocated(struct buffer *buffer)
{
	buffer->addr = malloc(buffer->length);
	must(buffer->addr, "malloc");
}

static void end_allocated(struct buffer *buffer)
{
	free(buffer->addr);
}

static void renew_allocated(struct buffer *buffer)
{
	end_allocated(buffer);
	make_allocated(buffer);
}

static int new_segment(size_t length)
{
	int segment = shmget(IPC_PRIVATE, length, IPC_CREAT | 0600);

	must(segment >= 0, "shmget");
	return segment;
}

static void attach(struct buffer *buffer, void *where)
{
	buffer->segment = new_segment(buffer->length);
	buffer->addr = shmat(buffer->segment, where, 0);
	must(buffer->addr != (void *)-1, "shmat");
	/* It goes with its last user. */
	shmctl(buffer->segment, IPC_RMID, NULL);
}

static void make_segment(struct buffer *buffer)
{
	attach(buffer, NULL);
}

static void end_segment(struct buffer *buffer)
{
	shmdt(buffer->addr);
}

static void renew_segment(struct buffer *buffer)
{
	must(!shmdt(buffer->addr), "shmdt");
	attach(buffer, buffer->addr);
}

static void renew_segment_raw(struct buffer *buffer)
{
	must(!syscall(SYS_shmdt, buffer->addr), "shmdt");
	attach(buffer, buffer->addr);
}

/* There, unless another thread was quicker. */
static void map_again(struct buffer *buffer)
{
	buffer->addr = map(buffer->addr, buffer->length,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static void renew_unmapped(struct buffer *buffer)
{
	must(!munmap(buffer->addr, buffer->length), "munmap");
	map_again(buffer);
}

static void renew_unmapped_raw(struct buffer *buffer)
{
	must(!syscall(SYS_munmap, buffer->addr, buffer->length), "munmap");
	map_again(buffer);
}

static void renew_mapped_over_raw(struct buffer *buffer)
{
	must(syscall(SYS_mmap, buffer->addr, buffer->length,
		     PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != -1,
	     "mmap");
}

static void renew_moved_onto(struct buffer *buffer)
{
	void *from = map(NULL, buffer->length, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	memset(from, 1, buffer->length);
	must(mremap(from, buffer->length, buffer->length,
		    MREMAP_MAYMOVE | MREMAP_FIXED, buffer->addr) == buffer->addr,
	     "mremap");
}

static void renew_given_back(struct buffer *buffer)
{
	must(!madvise(buffer->addr, buffer->length, MADV_DONTNEED), "madvise");
}

static void renew_given_back_raw(struct buffer *buffer)
{
	must(!syscall(SYS_madvise, buffer->addr, buffer->length, MADV_DONTNEED),
	     "madvise");
}

/* A process of its own, in this one's memory. */
static void renew_given_back_vfork(struct buffer *buffer)
{
	int status = 0;
	pid_t child = vfork();

	must(child >= 0, "vfork");
	if (!child)
		_exit(!!syscall(SYS_madvise, buffer->addr, buffer->length,
				MADV_DONTNEED));
	must(waitpid(child, &status, 0) == child && !status, "a vfork child");
}

static void renew_truncated(struct buffer *buffer)
{
	must(!ftruncate(buffer->file, 0) &&
		     !ftruncate(buffer->file, (off_t)buffer->length),
	     "ftruncate");
}

static void renew_truncated_by_other(struct buffer *buffer)
{
	by_other(buffer, act_truncate, "ftruncate by another process");
}

static void renew_punched_by_other(struct buffer *buffer)
{
	by_other(buffer, act_punch, "fallocate by another process");
}

static void renew_paged_out_by_other(struct buffer *buffer)
{
	by_other(buffer, act_pageout, "process_madvise by another process");
}

/* What hooks see comes first. */
const struct remap remaps[] = {
	{ "free, malloc", true, true, false, make_allocated, renew_allocated,
	  end_allocated },
	{ "munmap, mmap", true, true, false, make_private, renew_unmapped,
	  end_mapped },
	{ "madvise(MADV_DONTNEED)", true, true, false, make_private,
	  renew_given_back, end_mapped },
	{ "shmdt, shmat", true, false, false, make_segment, renew_segment,
	  end_segment },
	{ "munmap, as a raw system call", false, true, false, make_private,
	  renew_unmapped_raw, end_mapped },
	{ "mmap(MAP_FIXED) over it, raw", false, true, false, make_private,
	  renew_mapped_over_raw, end_mapped },
	{ "madvise(MADV_DONTNEED), raw", false, true, false, make_private,
	  renew_given_back_raw, end_mapped },
	{ "shmdt, raw", false, false, false, make_segment, renew_segment_raw,
	  end_segment },
	{ "mremap(MREMAP_FIXED) onto it", false, true, false, make_private,
	  renew_moved_onto, end_mapped },
	{ "madvise by a vfork child, raw", false, true, false, make_private,
	  renew_given_back_vfork, end_mapped },
	{ "ftruncate of its memfd", false, false, false, make_shared,
	  renew_truncated, end_mapped },
	{ "ftruncate by another process", false, false, false, make_shared,
	  renew_truncated_by_other, end_mapped },
	{ "punched by another process", false, false, false, make_shared,
	  renew_punched_by_other, end_mapped },
	{ "process_madvise by another", false, true, true, make_private,
	  renew_paged_out_by_other, end_mapped },
};

const size_t remap_count = sizeof(remaps) / sizeof(*remaps);
