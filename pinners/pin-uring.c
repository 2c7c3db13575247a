/* SPDX-License-Identifier: MIT */
/*
 * pin-uring.c - registers regions as slots of an io_uring's buffer table.
 *
 * A slot is in one of three places: on the stack of free slots, in a region,
 * or in the queue of retired slots, whose pages the kernel still holds.  A
 * retired slot is never filled again before it was emptied: it waits there
 * when the thread that gave it up may not enter the ring, and also when the
 * kernel refused to empty it, to be tried again by the next registration.
 *
 * An emptied slot may be filled again at once: requests in flight hold a
 * reference of their own on the old buffer in the kernel.
 */
#define _GNU_SOURCE
#include <ummunotify/pin-uring.h>

#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/call.h"
#include "base/lock.h"

#define MAX_SLOTS 16384 /* IORING_MAX_REG_BUFFERS */

/**
 * struct slot_stack - slot numbers, last in first out
 * @slots: room for every slot of the table
 * @count: how many are on it
 */
struct slot_stack {
	unsigned int *slots;
	unsigned int count;
};

/**
 * struct ummu_pin_uring - a buffer table
 * @ring:       the caller's
 * @process:    that made the table; a forked child must leave it alone
 * @owner:      the one thread that may enter the ring, 0 when all may
 * @lock:       guards the two stacks; never held across a system call
 * @free_slots: empty in the kernel
 * @retired:    given up, but not yet emptied
 */
struct ummu_pin_uring {
	struct io_uring *ring;
	pid_t process;
	pid_t owner;
	pthread_mutex_t lock;
	struct slot_stack free_slots;
	struct slot_stack retired;
};

static void push(struct ummu_pin_uring *pin, struct slot_stack *stack,
		 unsigned int slot)
{
	ummu_mutex_lock(&pin->lock);
	stack->slots[stack->count++] = slot;
	ummu_mutex_unlock(&pin->lock);
}

static bool pop(struct ummu_pin_uring *pin, struct slot_stack *stack,
		unsigned int *slot_p)
{
	bool found;

	ummu_mutex_lock(&pin->lock);
	found = stack->count > 0;
	if (found)
		*slot_p = stack->slots[--stack->count];
	ummu_mutex_unlock(&pin->lock);
	return found;
}

static bool may_enter(const struct ummu_pin_uring *pin)
{
	return !pin->owner || pin->owner == gettid();
}

/* The kernel leaves the slot as it was when it returns an error. */
static int update_slot(struct ummu_pin_uring *pin, unsigned int slot,
		       void *addr, size_t length)
{
	struct iovec iov = { .iov_base = addr, .iov_len = length };
	int ret;

	ret = io_uring_register_buffers_update_tag(pin->ring, slot, &iov, NULL,
						   1);
	if (ret == 1)
		return 0;
	/* A ring that was enabled by another thread: that one owns it. */
	if (ret == -EEXIST)
		return -EXDEV;
	return ret < 0 ? ret : -EIO;
}

static bool retire_slot(struct ummu_pin_uring *pin, unsigned int slot)
{
	if (may_enter(pin) && !update_slot(pin, slot, NULL, 0)) {
		push(pin, &pin->free_slots, slot);
		return true;
	}
	push(pin, &pin->retired, slot);
	return false;
}

static int empty_retired(struct ummu_pin_uring *pin)
{
	unsigned int slot;
	int emptied = 0;

	while (pop(pin, &pin->retired, &slot) && retire_slot(pin, slot))
		emptied++;
	return emptied;
}

static int uring_reg(void *ctx, struct ummu_region *region)
{
	struct ummu_pin_uring *pin = ctx;
	unsigned int slot;
	int ret;

	if (!may_enter(pin))
		return -EXDEV;
	empty_retired(pin);
	if (!pop(pin, &pin->free_slots, &slot))
		return -ENOBUFS;

	ret = update_slot(pin, slot, region->addr, region->length);
	if (ret) {
		push(pin, &pin->free_slots, slot);
		return ret;
	}
	region->handle.number = slot;
	return 0;
}

static void uring_dereg(void *ctx, struct ummu_region *region)
{
	retire_slot(ctx, (unsigned int)region->handle.number);
}

static bool uring_covers(void *ctx, uint64_t have, uint64_t want)
{
	(void)ctx;
	(void)have;
	(void)want;
	return true;
}

const struct ummu_rcache_ops ummu_pin_uring_ops = {
	.size = sizeof(struct ummu_rcache_ops),
	.reg = uring_reg,
	.dereg = uring_dereg,
	.covers = uring_covers,
};

static int create(struct io_uring *ring, unsigned int slots,
		  struct ummu_pin_uring **pin_p)
{
	struct ummu_pin_uring *pin;
	int ret = -ENOMEM;

	if (!slots || slots > MAX_SLOTS)
		return -EINVAL;
	pin = calloc(1, sizeof(*pin));
	if (!pin)
		return -ENOMEM;
	pin->free_slots.slots = calloc(slots, sizeof(*pin->free_slots.slots));
	pin->retired.slots = calloc(slots, sizeof(*pin->retired.slots));
	if (!pin->free_slots.slots || !pin->retired.slots)
		goto free_pin;

	ret = io_uring_register_buffers_sparse(ring, slots);
	if (ret) {
		ret = ret == -EEXIST ? -EXDEV : ret;
		goto free_pin;
	}
	pin->ring = ring;
	pin->process = getpid();
	if (ring->flags &
	    (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN))
		pin->owner = gettid();
	pthread_mutex_init(&pin->lock, NULL);
	while (slots--) /* the lowest number on top */
		pin->free_slots.slots[pin->free_slots.count++] = slots;
	*pin_p = pin;
	return 0;

free_pin:
	free(pin->retired.slots);
	free(pin->free_slots.slots);
	free(pin);
	return ret;
}

int ummu_pin_uring_create(struct io_uring *ring, unsigned int slots,
			  struct ummu_pin_uring **pin_p)
{
	const struct ummu_call call = ummu_call_begin();

	return ummu_call_return(&call, create(ring, slots, pin_p));
}

static void destroy(struct ummu_pin_uring *pin)
{
	/*
	 * The table goes as a whole, retired slots included.  A child of fork
	 * shares the ring with its parent, who goes on using it.
	 */
	if (pin->process == getpid())
		io_uring_unregister_buffers(pin->ring);
	pthread_mutex_destroy(&pin->lock);
	free(pin->retired.slots);
	free(pin->free_slots.slots);
	free(pin);
}

void ummu_pin_uring_destroy(struct ummu_pin_uring *pin)
{
	const struct ummu_call call = ummu_call_begin();

	if (pin)
		destroy(pin);
	ummu_call_end(&call);
}

int ummu_pin_uring_service(struct ummu_pin_uring *pin)
{
	const struct ummu_call call = ummu_call_begin();
	int emptied = 0;

	if (!may_enter(pin))
		emptied = -EXDEV;
	else if (pin->owner)
		emptied = empty_retired(pin);
	return ummu_call_return(&call, emptied);
}
