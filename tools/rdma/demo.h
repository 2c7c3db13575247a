/* SPDX-License-Identifier: MIT */
/*
 * demo.h - what the files of the RDMA demo share.
 *
 * Functions that return int return 0, or -errno after they told the user on
 * stderr what went wrong.
 */
#ifndef UMMU_RDMA_DEMO_H
#define UMMU_RDMA_DEMO_H

#include <stdint.h>
#include <sys/types.h>

#include <ummunotify/pin-verbs.h>

#include "tools/rdma/link.h"

#define DEMO_MESSAGE (32 * 1024) /* bytes, each way */
#define DEMO_WORDS (DEMO_MESSAGE / sizeof(uint64_t))
#define DEMO_BUFFER (2 * DEMO_MESSAGE) /* what is sent, then the answer */
#define DEMO_ACCESS (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE)

void demo_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* peer.c */

/**
 * struct demo_peer - the process that messages go to
 * @socket: to say what is not said by RDMA
 * @inbox:  where messages are written to
 */
struct demo_peer {
	pid_t process;
	int socket;
	struct rdma_link link;
	struct rdma_place inbox;
};

/**
 * struct demo_receipt - what the peer says of a message
 * @found: the first word of its inbox
 * @right: whether all words are the number of the message
 */
struct demo_receipt {
	uint64_t found;
	uint64_t right;
};

/* The peer is this process's child. */
int demo_peer_start(const char *adapter, struct demo_peer *peer);
int demo_peer_stop(struct demo_peer *peer);

/*
 * Tells the peer that message number @message is in its inbox.  It looks, and
 * writes the answer to @answer: all words are ~@message.
 */
int demo_peer_tell(struct demo_peer *peer, uint64_t message,
		   const struct rdma_place *answer,
		   struct demo_receipt *receipt);

/* ways.c */

/**
 * struct demo_grip - a buffer that the adapter may use
 * @mr:     its memory region
 * @region: what put() needs
 */
struct demo_grip {
	struct ibv_mr *mr;
	struct ummu_region *region;
};

/**
 * struct demo_way - a way to keep registrations
 * @open, @close: make and destroy what it needs; open() explains its failure
 * @get, @put:    around each use of a buffer
 * @counts:       how many registrations there were, and how many gets found one
 */
struct demo_way {
	const char *title;
	int (*open)(struct ibv_pd *domain, void **state_p);
	void (*close)(void *state);
	int (*get)(void *state, void *buffer, struct demo_grip *grip);
	void (*put)(void *state, struct demo_grip *grip);
	void (*counts)(void *state, uint64_t *registered, uint64_t *found);
	const char *(*backend)(void *state);
};

extern const struct demo_way demo_naive;
extern const struct demo_way demo_ummunotify;

#endif
