/* SPDX-License-Identifier: MIT */
/*
 * fabric-bytes.c - an application of libfabric's that changes its buffer's
 * pages between messages, and checks every byte that arrives.
 *
 * usage: fabric-bytes [-p PROVIDER] [-a ADDRESS] [CHANGE...]
 *
 * Prints "CHANGE WRONG OF" for each: bytes that were wrong, and all; or
 * "CHANGE - -" where this kernel cannot do it.  Ends with 0 whatever it found,
 * with 77 where there is no such provider, else with 1.
 *
 * The buffer is sent from by both ends, and received into by both, a few times
 * between two changes.  Each end has a domain of its own, so two caches have
 * the buffer.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <rdma/fi_errno.h>

#include "tests/integrations/changes.h"
#include "tests/integrations/fabric.h"

/* ofi_rxm copies what is half as long, and registers what is longer. */
#define LENGTH ((size_t)256 * 1024)
#define ROUNDS 6
#define USES 3

struct tally {
	uint64_t wrong;
	uint64_t of;
};

/* Memory that stays what it is. */
static unsigned char *desk;

/* No two messages are alike in any byte for long. */
static void fill(unsigned char *bytes, uint64_t message)
{
	uint64_t word = message * UINT64_C(0x9e3779b97f4a7c15);
	size_t i;

	for (i = 0; i < LENGTH; i += sizeof(word)) {
		word = word * UINT64_C(6364136223846793005) +
		       UINT64_C(1442695040888963407);
		memcpy(bytes + i, &word, sizeof(word));
	}
}

static void check(const unsigned char *bytes, const unsigned char *expected,
		  struct tally *tally)
{
	size_t i;

	tally->of += LENGTH;
	for (i = 0; i < LENGTH; i++)
		tally->wrong += bytes[i] != expected[i];
}

/* The buffer to the other end, which is read as the desk. */
static int send(struct fabric *fabric, int end, unsigned char *buffer,
		uint64_t message, struct tally *tally)
{
	int error;

	fill(buffer, message);
	memset(desk, 0, LENGTH);
	error = fabric_move(fabric, end, buffer, desk, LENGTH);
	if (!error)
		check(desk, buffer, tally);
	return error;
}

static int receive(struct fabric *fabric, int end, unsigned char *buffer,
		   uint64_t message, struct tally *tally)
{
	int error;

	fill(desk, message);
	memset(buffer, 0, LENGTH);
	error = fabric_move(fabric, !end, desk, buffer, LENGTH);
	if (!error)
		check(buffer, desk, tally);
	return error;
}

static int use(struct fabric *fabric, unsigned char *buffer, uint64_t *message,
	       struct tally *tally)
{
	int i, end, error = 0;

	for (i = 0; i < USES && !error; i++)
		for (end = 0; end < FABRIC_ENDS && !error; end++) {
			error = send(fabric, end, buffer, ++*message, tally);
			if (!error)
				error = receive(fabric, end, buffer, ++*message,
						tally);
		}
	return error;
}

static int run(struct fabric *fabric, const struct change *change)
{
	struct tally tally = { 0 };
	uint64_t message = 0;
	void *buffer = change->make(LENGTH);
	int round, error;

	for (round = 0; round < ROUNDS; round++) {
		if (round)
			buffer = change->change(buffer, LENGTH);
		if (!buffer)
			goto cannot;
		error = use(fabric, buffer, &message, &tally);
		if (error)
			return error;
		/* Now and then long enough for what runs beside. */
		if (round % 4 == 3)
			usleep(50000);
	}
	printf("%s %" PRIu64 " %" PRIu64 "\n", change->name, tally.wrong,
	       tally.of);
	return 0;

cannot:
	perror(change->name);
	printf("%s - -\n", change->name);
	return 0;
}

static bool is_wanted(const char *name, char **names)
{
	if (!*names)
		return true;
	while (*names && strcmp(*names, name))
		names++;
	return *names;
}

static bool is_known(const char *name)
{
	size_t i;

	for (i = 0; i < change_count; i++)
		if (!strcmp(changes[i].name, name))
			return true;
	fprintf(stderr, "fabric-bytes: no change %s\n", name);
	return false;
}

int main(int argc, char **argv)
{
	const char *provider = "verbs;ofi_rxm", *address = NULL;
	struct fabric fabric;
	int option, error;
	size_t i;

	while ((option = getopt(argc, argv, "p:a:")) != -1) {
		if (option == 'p')
			provider = optarg;
		else if (option == 'a')
			address = optarg;
		else
			return 1;
	}
	for (i = (size_t)optind; argv[i]; i++)
		if (!is_known(argv[i]))
			return 1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	/* Before libfabric, whose locks and pins a child cannot use. */
	if (!changes_begin()) {
		perror("fabric-bytes");
		return 1;
	}
	error = fabric_open(&fabric, provider, address);
	if (error) {
		fprintf(stderr, "fabric-bytes: no %s here: %s\n", provider,
			fi_strerror(-error));
		changes_end();
		return error == -FI_ENODATA ? 77 : 1;
	}
	desk = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (desk == MAP_FAILED)
		return 1;
	for (i = 0; i < change_count && !error; i++)
		if (is_wanted(changes[i].name, argv + optind))
			error = run(&fabric, &changes[i]);
	fabric_close(&fabric);
	changes_end();
	return error ? 1 : 0;
}
