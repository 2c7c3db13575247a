/* SPDX-License-Identifier: MIT */
/*
 * announced.c - ranges that hooks in libc say are about to go, kept until the
 * next lookup.
 *
 * The hooks run inside free() and munmap(), and so in a signal handler that
 * interrupted this very file, or in a thread that must not wait for one of a
 * lower priority.  So there is no lock here, and nobody waits: an announcer
 * takes a slot that is free, and asks for everything where it finds none.  A
 * slot that is being written belongs to its writer alone.  Everybody else
 * passes it by, however long its writer does not run, and also when the writer
 * never runs again (a signal handler that left by longjmp(), a child of fork).
 *
 * Why a lookup that begins after an announcement has returned is told of it:
 *
 *  1. An announcer writes its range first and then adds to @news.
 *  2. A taker clears @news first and then reads the slots.
 *  3. So if the addition came before the clearing, this taker reads the range,
 *     by the order that @news gives (below).  If it came after the clearing,
 *     @news is set, and the next lookup becomes a taker.
 *  4. Takers come one at a time, and no lookup looks into the cache beside one
 *     (the lock of truth.h), so what a taker has cleared it has also dealt with
 *     when the next lookup reads @news.
 */
#include "announced.h"

/* What a slot is: each state is left only by the one who may leave it. */
enum {
	SLOT_FREE,    /* by any announcer */
	SLOT_WRITTEN, /* by the announcer that took it */
	SLOT_FULL,    /* by the taker */
};

/* What @news consists of. */
enum {
	NEWS_RANGES = 1,     /* a slot may be full */
	NEWS_EVERYTHING = 2, /* there was no slot for a range */
};

/**
 * struct slot - room for one range
 * @state: SLOT_...; an atomic
 * @range: read and written by the one who may leave @state, and nobody else
 */
struct slot {
	unsigned int state;
	struct ummu_ompi_range range;
};

/**
 * struct announced - what is kept
 * @news:  NEWS_..., what came since the last taker; an atomic
 * @slots: taken in no order
 */
static struct announced {
	unsigned int news;
	struct slot slots[UMMU_OMPI_ANNOUNCED];
} announced;

static bool take_slot(struct slot *slot)
{
	unsigned int state = SLOT_FREE;

	/*
	 * Acquire: pairs with the release in read_slot(), so that the taker has
	 * read the old range before the new one is written.  Of two announcers,
	 * one of which may be the other's signal handler, one alone succeeds.
	 */
	return __atomic_compare_exchange_n(&slot->state, &state, SLOT_WRITTEN,
					   false, __ATOMIC_ACQUIRE,
					   __ATOMIC_RELAXED);
}

/* True if there was room. */
static bool write_slot(uint64_t start, uint64_t end)
{
	size_t i;

	for (i = 0; i < UMMU_OMPI_ANNOUNCED; i++) {
		struct slot *slot = &announced.slots[i];

		/* Relaxed: a guess, which saves writing to a line that is taken. */
		if (__atomic_load_n(&slot->state, __ATOMIC_RELAXED) !=
			    SLOT_FREE ||
		    !take_slot(slot))
			continue;
		slot->range = (struct ummu_ompi_range){ start, end };
		/* Release: who sees the slot full also sees the range. */
		__atomic_store_n(&slot->state, SLOT_FULL, __ATOMIC_RELEASE);
		return true;
	}
	return false;
}

static bool everything_goes(void)
{
	/*
	 * Relaxed: a guess, which saves the search for a slot.  What counts is
	 * the addition to @news, which the caller makes in any case.
	 */
	return __atomic_load_n(&announced.news, __ATOMIC_RELAXED) &
	       NEWS_EVERYTHING;
}

void ummu_ompi_announce(uint64_t start, uint64_t end)
{
	unsigned int news = NEWS_EVERYTHING;

	if (start >= end)
		return;
	if (!everything_goes() && write_slot(start, end))
		news = NEWS_RANGES;
	/*
	 * Release: the slot was filled before.  It is a read-modify-write, and
	 * not a store, so that a taker that reads what a later announcer added
	 * sees the slots of all earlier ones too.
	 */
	__atomic_fetch_or(&announced.news, news, __ATOMIC_RELEASE);
}

bool ummu_ompi_announced(void)
{
	/*
	 * Relaxed: a lookup that began after the unmapping returned is ordered
	 * after it by whatever told its thread that it had, and so reads what
	 * was added here, or what a taker wrote later.  The ranges are read by
	 * a taker, which orders them by itself.
	 */
	return __atomic_load_n(&announced.news, __ATOMIC_RELAXED);
}

static bool read_slot(struct slot *slot, struct ummu_ompi_range *range)
{
	/* Acquire: pairs with the release in write_slot(). */
	if (__atomic_load_n(&slot->state, __ATOMIC_ACQUIRE) != SLOT_FULL)
		return false;
	*range = slot->range;
	/* Release: the next announcer writes after this has been read. */
	__atomic_store_n(&slot->state, SLOT_FREE, __ATOMIC_RELEASE);
	return true;
}

size_t
ummu_ompi_take_announced(struct ummu_ompi_range ranges[UMMU_OMPI_ANNOUNCED])
{
	unsigned int news;
	size_t i, count = 0;

	/*
	 * Acquire: the slots of every announcer that has added to it are seen
	 * full below.  One exchange, so that no addition falls in between.
	 */
	news = __atomic_exchange_n(&announced.news, 0, __ATOMIC_ACQUIRE);
	if (!news)
		return 0;
	for (i = 0; i < UMMU_OMPI_ANNOUNCED; i++)
		count += read_slot(&announced.slots[i], &ranges[count]);
	if (!(news & NEWS_EVERYTHING))
		return count;
	/* The slots are free again, and this covers what they held. */
	ranges[0] = (struct ummu_ompi_range){ 0, UINT64_MAX };
	return 1;
}
