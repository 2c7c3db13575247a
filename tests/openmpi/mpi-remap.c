/* SPDX-License-Identifier: MIT */
/*
 * mpi-remap.c - an MPI program whose message buffers get other pages between
 * messages, and that looks at every byte that arrives.
 *
 * usage: mpi-remap [--threads N | --fork]
 *
 * Between two processes.  Prints, for each way,
 *     row<TAB>NAME<TAB>HOOKS<TAB>UFFD<TAB>STAYS<TAB>WRONG<TAB>MESSAGES
 * with 1 or 0 in the columns of struct remap.  --threads: N threads at once, each
 * with buffers of its own and all the ways that every backend sees; one row.
 * --fork: children of fork that unmap and end between the messages; one row, and
 * WRONG counts the children that did not get to their end too.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <mpi.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mpi-remaps.h"

/* Enough for a protocol that registers the buffer: ofi_rxm copies up to 128 KiB. */
#define LENGTH ((size_t)192 * 1024)

/* Messages until the pages change, so that the cache has something to find. */
#define MESSAGES 2
#define ROUNDS 4

#define THREADS 16

static int rank;

/* What byte @i of message @number is: no two messages or pages are alike. */
static unsigned char byte_of(unsigned int number, size_t i)
{
	return (unsigned char)(number * 37 + i * 7 + (i >> 12) * 13);
}

static void fill(struct buffer *buffer, unsigned int number)
{
	unsigned char *bytes = buffer->addr;
	size_t i;

	for (i = 0; i < buffer->length; i++)
		bytes[i] = byte_of(number, i);
}

static bool is_right(const struct buffer *buffer, unsigned int number)
{
	const unsigned char *bytes = buffer->addr;
	size_t i;

	for (i = 0; i < buffer->length; i++)
		if (bytes[i] != byte_of(number, i))
			return false;
	return true;
}

/* One message; true if it arrived whole, as far as this side can tell. */
static bool pass(MPI_Comm comm, struct buffer *buffer, unsigned int number)
{
	int length = (int)buffer->length;

	if (rank == 0) {
		fill(buffer, number);
		MPI_Send(buffer->addr, length, MPI_BYTE, 1, 0, comm);
		return true;
	}
	/* The next message's bytes, none of which are right. */
	fill(buffer, number + 1);
	MPI_Recv(buffer->addr, length, MPI_BYTE, 0, 0, comm, MPI_STATUS_IGNORE);
	return is_right(buffer, number);
}

/* How many messages of ROUNDS * MESSAGES arrived wrong. */
static int try_remap(MPI_Comm comm, const struct remap *remap)
{
	struct buffer buffer = { NULL, LENGTH, -1, -1 };
	unsigned int number = 0;
	int i, round, wrong = 0;

	remap->make(&buffer);
	for (round = 0; round < ROUNDS; round++) {
		if (round)
			remap->renew(&buffer);
		for (i = 0; i < MESSAGES; i++)
			wrong += !pass(comm, &buffer, ++number);
	}
	/* Nobody unmaps what the other one may still be reading. */
	MPI_Barrier(comm);
	remap->end(&buffer);
	return wrong;
}

static void print_row(const struct remap *remap, int wrong, int messages)
{
	if (rank != 1)
		return;
	printf("row\t%s\t%d\t%d\t%d\t%d\t%d\n", remap->name, remap->hooks,
	       remap->uffd, remap->stays, wrong, messages);
	fflush(stdout);
}

static void try_each(void)
{
	size_t i;

	for (i = 0; i < remap_count; i++)
		print_row(&remaps[i], try_remap(MPI_COMM_WORLD, &remaps[i]),
			  ROUNDS * MESSAGES);
}

/* Unmaps its copy of the buffer, and memory of its own; true if it got there. */
static bool child_unmaps(const struct buffer *buffer)
{
	int status = 1;
	pid_t child = fork();

	if (child < 0)
		remaps_fail("fork");
	if (!child) {
		/* It is not to hang in something that a thread here had locked. */
		alarm(100);
		munmap(buffer->addr, buffer->length);
		free(malloc(LENGTH));
		_exit(0);
	}
	return waitpid(child, &status, 0) == child && !status;
}

static void try_forks(void)
{
	static const struct remap forks = {
		.name = "children of fork",
		.hooks = true,
		.uffd = true,
	};
	struct buffer buffer = { NULL, LENGTH, -1, -1 };
	unsigned int number = 0;
	int wrong = 0;

	remaps[0].make(&buffer);
	while (number < ROUNDS) {
		wrong += !pass(MPI_COMM_WORLD, &buffer, ++number);
		wrong += !child_unmaps(&buffer);
	}
	MPI_Barrier(MPI_COMM_WORLD);
	remaps[0].end(&buffer);
	MPI_Allreduce(MPI_IN_PLACE, &wrong, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
	print_row(&forks, wrong, ROUNDS);
}

/* Seen by all, and without the other process: there is one for all threads. */
static bool fits(const struct remap *remap)
{
	return remap->uffd && !remap->stays;
}

/**
 * struct worker - one of several threads
 * @comm:            its own
 * @wrong, @messages: what it found
 */
struct worker {
	pthread_t thread;
	MPI_Comm comm;
	int wrong;
	int messages;
};

static void *work(void *data)
{
	struct worker *worker = data;
	size_t i;

	for (i = 0; i < remap_count; i++) {
		if (!fits(&remaps[i]))
			continue;
		worker->wrong += try_remap(worker->comm, &remaps[i]);
		worker->messages += ROUNDS * MESSAGES;
	}
	return NULL;
}

static void try_at_once(int threads)
{
	static const struct remap all = {
		.name = "several threads at once",
		.uffd = true,
	};
	struct worker workers[THREADS];
	int i, wrong = 0, messages = 0;

	memset(workers, 0, sizeof(workers));
	for (i = 0; i < threads; i++)
		MPI_Comm_dup(MPI_COMM_WORLD, &workers[i].comm);
	for (i = 0; i < threads; i++)
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			remaps_fail("pthread_create");
	for (i = 0; i < threads; i++) {
		pthread_join(workers[i].thread, NULL);
		wrong += workers[i].wrong;
		messages += workers[i].messages;
		MPI_Comm_free(&workers[i].comm);
	}
	print_row(&all, wrong, messages);
}

int main(int argc, char **argv)
{
	bool forks = argc > 1 && !strcmp(argv[1], "--fork");
	int threads = argc > 2 && !strcmp(argv[1], "--threads") ?
			      atoi(argv[2]) :
			      1;
	int size, given;

	if (threads < 1 || threads > THREADS)
		return 2;
	/* So that a buffer's free() is a munmap(), and not just the first one's. */
	mallopt(M_MMAP_THRESHOLD, LENGTH / 2);
	remaps_begin();
	MPI_Init_thread(&argc, &argv,
			threads > 1 ? MPI_THREAD_MULTIPLE : MPI_THREAD_SINGLE,
			&given);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &size);
	if (size != 2 || (threads > 1 && given != MPI_THREAD_MULTIPLE)) {
		fprintf(stderr,
			"mpi-remap: two processes, please, and an MPI with threads\n");
		MPI_Abort(MPI_COMM_WORLD, 2);
	}
	if (threads > 1)
		try_at_once(threads);
	else if (forks)
		try_forks();
	else
		try_each();
	MPI_Finalize();
	remaps_end();
	return 0;
}
