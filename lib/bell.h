/* SPDX-License-Identifier: MIT */
/*
 * bell.h - a descriptor that a program polls to learn that events wait.
 *
 * It is a pipe, which can be told from any other file (descriptor.h); an
 * eventfd cannot.  A monitor makes one only when it is asked for it, as most
 * monitors are never polled.  Nothing here takes a lock: the caller sees to
 * that.
 */
#ifndef UMMU_BELL_H
#define UMMU_BELL_H

#include <stdbool.h>

#include "descriptor.h"

/**
 * struct ummu_bell - the two ends of the pipe
 * @poll: the end that the program polls; its number is -1 before it is made
 * @pull: the end that this library writes to
 */
struct ummu_bell {
	struct ummu_descriptor poll, pull;
};

#define UMMU_NO_BELL \
	((struct ummu_bell){ UMMU_NO_DESCRIPTOR, UMMU_NO_DESCRIPTOR })

/** ummu_bell_make - 0, or -errno, explained; the caller holds no lock. */
int ummu_bell_make(struct ummu_bell *bell);

/** ummu_bell_destroy - close the ends that are still ours. */
void ummu_bell_destroy(struct ummu_bell *bell);

static inline bool ummu_bell_is_made(const struct ummu_bell *bell)
{
	return bell->poll.fd >= 0;
}

/**
 * ummu_bell_ring, ummu_bell_silence - make it readable, and unreadable again
 *
 * Neither function blocks, allocates or is a cancellation point.  Either may
 * change errno.  To ring twice does no harm.
 */
void ummu_bell_ring(const struct ummu_bell *bell);
void ummu_bell_silence(const struct ummu_bell *bell);

#endif
