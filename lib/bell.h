/* SPDX-License-Identifier: MIT */
/*
 * bell.h - a descriptor that a program polls for "events are waiting".
 *
 * A pipe: it can be told from any other file (descriptor.h), which an eventfd
 * cannot.  Made only for those who ask for it, as most monitors are never
 * polled.  The caller locks.
 */
#ifndef UMMU_BELL_H
#define UMMU_BELL_H

#include <stdbool.h>

#include "descriptor.h"

/**
 * struct ummu_bell - the two ends of the pipe
 * @poll: what the program polls; its number is -1 until the bell is made
 * @pull: what we write to
 */
struct ummu_bell {
	struct ummu_descriptor poll, pull;
};

#define UMMU_NO_BELL \
	((struct ummu_bell){ UMMU_NO_DESCRIPTOR, UMMU_NO_DESCRIPTOR })

/** ummu_bell_make - 0, or -errno after ummu_explain(); without a lock. */
int ummu_bell_make(struct ummu_bell *bell);

/** ummu_bell_destroy - close what is still ours. */
void ummu_bell_destroy(struct ummu_bell *bell);

static inline bool ummu_bell_is_made(const struct ummu_bell *bell)
{
	return bell->poll.fd >= 0;
}

/**
 * ummu_bell_ring, ummu_bell_silence - make it readable, or not
 *
 * Neither blocks, allocates or is a cancellation point.  To ring twice does no
 * harm.  errno changes.
 */
void ummu_bell_ring(const struct ummu_bell *bell);
void ummu_bell_silence(const struct ummu_bell *bell);

#endif
