/* SPDX-License-Identifier: MIT */
/* race-pin.h - memory that is really pinned, and what the pinned pages hold. */
#ifndef RACE_PIN_H
#define RACE_PIN_H

#include <liburing.h>
#include <pthread.h>
#include <stdint.h>
#include <ummunotify/pin-uring.h>

/**
 * struct race_pin - a table of io_uring buffers
 * @ring:  theirs
 * @uring: the pinner of the project, with the table
 * @lock:  of @ring's queues and of @ends
 * @ends:  of a socket, by which the kernel hands out what is pinned
 */
struct race_pin {
	struct io_uring ring;
	struct ummu_pin_uring *uring;
	pthread_mutex_t lock;
	int ends[2];
};

/** race_pin_open - room for so many buffers; exits if there is no io_uring. */
void race_pin_open(struct race_pin *pin, unsigned int buffers);
void race_pin_close(struct race_pin *pin);

/** race_pin_add - pins a range; the number of its buffer, or -errno. */
int race_pin_add(struct race_pin *pin, void *addr, size_t length);
void race_pin_drop(struct race_pin *pin, int buffer);

/**
 * race_pin_number - the number in the page that was mapped at @addr when it
 * was pinned, whatever is mapped there now
 */
uint64_t race_pin_number(struct race_pin *pin, int buffer, const void *addr);

#endif
