/* SPDX-License-Identifier: MIT */
/*
 * demo.c - ummunotify-demo-rdma: sends messages over RDMA from a buffer that is
 * unmapped and mapped again, with a stale cache and with ummunotify's.
 *
 * Real programs unmap their buffers without a thought: free() of a large block
 * does, and the next malloc() lands at the same address.
 */
#define _GNU_SOURCE
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tools/rdma/demo.h"

#define MESSAGES 256
#define USES 8 /* messages of a buffer until it is mapped anew */

enum { EXIT_CURED, EXIT_NOT_CURED, EXIT_USAGE, EXIT_CANNOT, EXIT_NOT_SHOWN };

struct demo_result {
	uint64_t remaps;
	uint64_t registered;
	uint64_t found;
	uint64_t wrong;	      /* messages */
	uint64_t lost;	      /* answers */
	uint64_t first;	      /* wrong message */
	uint64_t first_found; /* what the peer got instead */
};

static const char doc[] =
	"Send messages over RDMA from a buffer that is unmapped and mapped "
	"again at the same address, and have the peer answer into it: with a "
	"cache of registrations by address, and with ummunotify's."
	"\v"
	"UMMU_MONITOR names ummunotify's backend.\n"
	"\n"
	"Exit status: 0 if the first has corrupted data and ummunotify has "
	"not, 1 if ummunotify has, 2 for wrong arguments, 3 if this machine "
	"or user cannot run it, 4 if nothing was corrupted at all.\n";

static const struct argp_option options[] = {
	{ "device", 'd', "NAME", 0, "Of the RDMA adapter (default: the first)",
	  0 },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	const char **adapter = state->input;

	switch (key) {
	case 'd':
		*adapter = arg;
		return 0;
	case ARGP_KEY_ARG:
		argp_usage(state);
	}
	return ARGP_ERR_UNKNOWN;
}

void demo_say(const char *format, ...)
{
	va_list list;

	fputs("ummunotify-demo-rdma: ", stderr);
	va_start(list, format);
	vfprintf(stderr, format, list);
	va_end(list);
	fputc('\n', stderr);
}

static int map_buffer(uint64_t **buffer_p)
{
	void *where = *buffer_p;
	void *addr = mmap(where, DEMO_BUFFER, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS |
				  (where ? MAP_FIXED_NOREPLACE : 0),
			  -1, 0);

	if (addr == MAP_FAILED) {
		demo_say("cannot map the buffer: %s", strerror(errno));
		return -errno;
	}
	*buffer_p = addr;
	return 0;
}

static int remap_buffer(uint64_t **buffer_p)
{
	munmap(*buffer_p, DEMO_BUFFER);
	return map_buffer(buffer_p);
}

static int transfer(struct demo_peer *peer, const struct demo_grip *grip,
		    const uint64_t *buffer, uint64_t message,
		    struct demo_receipt *receipt)
{
	const struct rdma_place from = { (uintptr_t)buffer, grip->mr->lkey };
	const struct rdma_place answer = { (uintptr_t)(buffer + DEMO_WORDS),
					   grip->mr->rkey };
	const char *reason = "";
	int ret;

	ret = rdma_link_write(&peer->link, &from, &peer->inbox, DEMO_MESSAGE,
			      &reason);
	if (ret) {
		demo_say("cannot send: %s %s", strerror(-ret), reason);
		return ret;
	}
	return demo_peer_tell(peer, message, &answer, receipt);
}

static bool answered(const uint64_t *buffer, uint64_t message)
{
	size_t i;

	for (i = 0; i < DEMO_WORDS; i++)
		if (buffer[DEMO_WORDS + i] != ~message)
			return false;
	return true;
}

/* Fills the buffer, sends it, and looks for the answer in it. */
static int exchange(struct demo_peer *peer, const struct demo_way *way,
		    void *state, uint64_t *buffer, uint64_t message,
		    struct demo_result *result)
{
	struct demo_receipt receipt;
	struct demo_grip grip;
	size_t i;
	int ret;

	for (i = 0; i < DEMO_WORDS; i++)
		buffer[i] = message;
	ret = way->get(state, buffer, &grip);
	if (ret) {
		demo_say("cannot register the buffer: %s%s", strerror(-ret),
			 ret == -ENOMEM ? "; is the limit on locked memory "
					  "(`ulimit -l') too low?" :
					  "");
		return ret;
	}
	ret = transfer(peer, &grip, buffer, message, &receipt);
	way->put(state, &grip);
	if (ret)
		return ret;
	if (!receipt.right && !result->wrong++) {
		result->first = message;
		result->first_found = receipt.found;
	}
	result->lost += !answered(buffer, message);
	return 0;
}

static int run(struct demo_peer *peer, const struct demo_way *way, void *state,
	       struct demo_result *result)
{
	uint64_t *buffer = NULL, message;
	int ret = map_buffer(&buffer);

	if (ret)
		return ret;
	for (message = 1; message <= MESSAGES && !ret; message++) {
		if (message > 1 && message % USES == 1) {
			ret = remap_buffer(&buffer);
			if (ret)
				return ret;
			result->remaps++;
		}
		ret = exchange(peer, way, state, buffer, message, result);
	}
	munmap(buffer, DEMO_BUFFER);
	way->counts(state, &result->registered, &result->found);
	return ret;
}

static void print(const struct demo_way *way, const char *backend,
		  const struct demo_result *result)
{
	printf("\n%s", way->title);
	if (backend)
		printf(" (backend %s)", backend);
	printf("\n%5d  messages were sent\n", MESSAGES);
	printf("%5" PRIu64 "  times the buffer was mapped anew\n",
	       result->remaps);
	printf("%5" PRIu64 "  registrations were made\n", result->registered);
	printf("%5" PRIu64 "  times the cache had one\n", result->found);
	printf("%5" PRIu64 "  messages arrived WRONG", result->wrong);
	if (result->wrong)
		printf(": for number %" PRIu64 " the buffer read %" PRIu64
		       ", the peer received %" PRIu64,
		       result->first, result->first, result->first_found);
	printf("\n%5" PRIu64 "  answers were LOST", result->lost);
	if (result->lost)
		printf(": the adapter reported success, the buffer is "
		       "unchanged");
	printf("\n");
}

static int run_way(struct demo_peer *peer, const struct demo_way *way,
		   struct demo_result *result)
{
	void *state;
	int ret = way->open(peer->link.domain, &state);

	if (ret)
		return ret;
	ret = run(peer, way, state, result);
	if (!ret)
		print(way, way->backend ? way->backend(state) : NULL, result);
	way->close(state);
	return ret;
}

static int judge(const struct demo_result *naive,
		 const struct demo_result *cured)
{
	printf("\n");
	if (cured->wrong || cured->lost) {
		printf("ummunotify's cache has corrupted data.\n");
		return EXIT_NOT_CURED;
	}
	if (!naive->wrong && !naive->lost) {
		printf("Nothing was corrupted, so nothing was shown.\n");
		return EXIT_NOT_SHOWN;
	}
	if (!cured->found) {
		printf("ummunotify's cache never had a registration.\n");
		return EXIT_NOT_CURED;
	}
	printf("Every message right, with %" PRIu64 " %% of them from the "
	       "cache.\n",
	       100 * cured->found / MESSAGES);
	return EXIT_CURED;
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.doc = doc,
	};
	struct demo_result naive = { 0 }, cured = { 0 };
	const char *adapter = NULL;
	struct demo_peer peer;
	int ret;

	argp_err_exit_status = EXIT_USAGE;
	argp_parse(&argp, argc, argv, 0, NULL, &adapter);
	if (demo_peer_start(adapter, &peer))
		return EXIT_CANNOT;
	printf("Messages of %d KiB over RDMA (%s), written into the peer's "
	       "memory; it writes an\nanswer into the buffer that they come "
	       "from.  After every %d messages the program\nunmaps the buffer "
	       "and maps it again at the same address, with new pages.\n",
	       DEMO_MESSAGE / 1024,
	       ibv_get_device_name(peer.link.adapter->device), USES);
	ret = run_way(&peer, &demo_naive, &naive);
	if (!ret)
		ret = run_way(&peer, &demo_ummunotify, &cured);
	if (demo_peer_stop(&peer) || ret)
		return EXIT_CANNOT;
	return judge(&naive, &cured);
}
