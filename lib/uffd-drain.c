/* SPDX-License-Identifier: MIT */
/* uffd-drain.c - read invalidations from the userfaultfd and store them. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../base/breakable.h"
#include "uffd-abi.h"
#include "uffd.h"

/* How many messages one read fetches at most. */
#define BATCH 16

/* Reads in one hold of the lock, so that others get it; the rest is read later. */
#define DRAIN_ROUNDS 64

/*
 * How often SETTLE asks before it gives up.  The kernel's count falls when the
 * thread that unmaps runs again; each round yields the CPU to it.
 */
#define PROBE_ROUNDS 256

static void count(uint64_t *counter, uint64_t amount)
{
	__atomic_fetch_add(counter, amount, __ATOMIC_RELAXED);
}

/*
 * model: PROBE.  The kernel refuses an empty range with EINVAL.  Before it
 * looks at the range it looks at its count of operations in flight, and answers
 * EAGAIN if that is not zero.
 *
 * Always inline: the CPU mispredicts the first function returns after a system
 * call, which would be most of what a check costs beside that call.
 */
static inline __attribute__((always_inline)) enum uffd_probe probe(int fd)
{
	struct uffdio_writeprotect nothing = { .mode = 0 };

	if (!ioctl(fd, UFFDIO_WRITEPROTECT, &nothing))
		return UFFD_REFUSED;
	switch (errno) {
	case EINVAL:
		return UFFD_QUIET;
	case EAGAIN:
		return UFFD_IN_FLIGHT;
	default:
		return UFFD_REFUSED;
	}
}

enum uffd_probe ummu_uffd_probe(int fd)
{
	return probe(fd);
}

static void remember_grace(struct uffd_process *process,
			   const struct uffd_range *range)
{
	uint64_t now = ummu_uffd_now();
	struct uffd_grace *oldest = &process->grace[0];

	for (unsigned int i = 1; i < UFFD_GRACE_RANGES; i++)
		if (process->grace[i].until < oldest->until)
			oldest = &process->grace[i];
	process->grace_last = now + UFFD_GRACE_NS;
	if (oldest->until > now) { /* no room: no range may be watched */
		process->grace_all = process->grace_last;
		return;
	}
	oldest->range = *range;
	oldest->until = process->grace_last;
}

bool ummu_uffd_in_grace(const struct uffd_process *process,
			const struct uffd_range *range)
{
	uint64_t now;

	if (!process->grace_last)
		return false;
	now = ummu_uffd_now();
	if (process->grace_last <= now)
		return false;
	if (process->grace_all > now)
		return true;
	for (unsigned int i = 0; i < UFFD_GRACE_RANGES; i++) {
		const struct uffd_grace *grace = &process->grace[i];

		if (grace->until > now && uffd_overlap(&grace->range, range))
			return true;
	}
	return false;
}

/*
 * A thread has written to a write-protected page, and waits until the page is
 * released.  This library protects none: another userfaultfd, which had the
 * mapping before, has left it so.
 */
static void release_fault(int fd, uint64_t address)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct uffdio_writeprotect release = {
		.range = { .start = address & ~(page - 1), .len = page },
	};

	/* Refused while something is in flight: then the fault comes again. */
	if (ioctl(fd, UFFDIO_WRITEPROTECT, &release))
		ioctl(fd, UFFDIO_WAKE, &release.range);
}

static void store_unmap(struct uffd_process *process,
			const struct uffd_range *range)
{
	ummu_watch_hit(&process->watches, range->start, range->last,
		       UMMU_REASON_UNMAP);
	ummu_uffd_ledger_gone(process, range);
}

/* The event comes before the pages go; the mapping stays, and is registered. */
static void store_remove(struct uffd_process *process,
			 const struct uffd_range *range)
{
	ummu_watch_hit(&process->watches, range->start, range->last,
		       UMMU_REASON_CLEAR);
	ummu_uffd_ledger_unneeded(process, range);
	remember_grace(process, range);
}

/* A mapping that was registered is still registered where it was moved to. */
static void store_remap(struct uffd_process *process, uint64_t from,
			uint64_t to, uint64_t length)
{
	const struct uffd_range old = { from, from + length - 1 };
	const struct uffd_range new = { to, to + length - 1 };

	ummu_watch_hit(&process->watches, old.start, old.last, UMMU_REASON_MOVE);
	ummu_uffd_ledger_moved(process, &old, &new);
}

/* model: DRAIN_STORE */
static void store_message(struct uffd_process *process, int fd,
			  const struct uffd_msg *message)
{
	const struct uffd_range range = { message->arg.remove.start,
					  message->arg.remove.end - 1 };

	switch (message->event) {
	case UFFD_EVENT_UNMAP:
		store_unmap(process, &range);
		break;
	case UFFD_EVENT_REMOVE:
		store_remove(process, &range);
		break;
	case UFFD_EVENT_REMAP:
		store_remap(process, message->arg.remap.from,
			    message->arg.remap.to, message->arg.remap.len);
		break;
	case UFFD_EVENT_PAGEFAULT:
		release_fault(fd, message->arg.pagefault.address);
		break;
	}
}

/* model: DRAIN_READ.  By syscall(), as read() is a cancellation point. */
static int read_messages(int fd, struct uffd_msg *messages)
{
	long bytes = syscall(SYS_read, fd, messages, BATCH * sizeof(*messages));

	return bytes > 0 ? (int)((size_t)bytes / sizeof(*messages)) : 0;
}

static void begin_store(struct uffd_process *process)
{
	/*
	 * Odd before the first message is read: a thread whose munmap returned
	 * because its message was read must find the sequence odd, or the
	 * message stored.  The caller holds the lock, so nobody else writes it.
	 * The fence orders this store before the read of the message; the
	 * kernel's locks around its message queue order that read before the
	 * return of munmap.
	 */
	__atomic_store_n(&process->sequence, process->sequence + 1,
			 __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void end_store(struct uffd_process *process)
{
	/* Release: a thread that sees it even again sees what was stored. */
	__atomic_store_n(&process->sequence, process->sequence + 1,
			 __ATOMIC_RELEASE);
}

void ummu_uffd_lose(struct uffd_process *process)
{
	begin_store(process);
	ummu_watch_hit(&process->watches, 0, UINT64_MAX, UMMU_REASON_FAILED);
	process->uffd.fd = -1;
	/*
	 * Relaxed: a lookup that sees the sequence of end_store() sees this
	 * too.  One that came before may still probe the old number.
	 */
	__atomic_store_n(&process->fd, -1, __ATOMIC_RELAXED);
	/*
	 * Release, after the state words: a thread that sees the loss finds
	 * every watch invalid.
	 */
	__atomic_store_n(&process->losses, process->losses + 1,
			 __ATOMIC_RELEASE);
	end_store(process);
}

int ummu_uffd_drain(struct uffd_process *process, int fd)
{
	struct uffd_msg messages[BATCH];
	int total = 0, rounds = DRAIN_ROUNDS;
	int fetched;

	if (ummu_broken(UMMU_BREAK_READ_OUTSIDE_LOCK)) {
		fetched = read_messages(fd, messages);
		sched_yield();
		begin_store(process);
		for (int i = 0; i < fetched; i++)
			store_message(process, fd, &messages[i]);
		end_store(process);
		return fetched;
	}

	begin_store(process);
	while (rounds-- && (fetched = read_messages(fd, messages)) > 0) {
		for (int i = 0; i < fetched; i++)
			store_message(process, fd, &messages[i]);
		total += fetched;
	}
	end_store(process);
	count(&process->kernel_events, (uint64_t)total);
	return total;
}

static int drain_by_lookup(struct uffd_process *process)
{
	struct uffd_guard guard;
	int drained = 0;

	ummu_uffd_lock(process, &guard);
	switch (ummu_descriptor_identity(&process->uffd)) {
	case UMMU_OURS:
		drained = ummu_uffd_drain(process, process->uffd.fd);
		break;
	case UMMU_NOT_OURS: /* perhaps another userfaultfd: do not read it */
		if (process->state != UFFD_IDLE && process->uffd.fd >= 0)
			ummu_uffd_lose(process);
		break;
	case UMMU_NOT_TOLD:
		break;
	}
	ummu_uffd_unlock(process, &guard);
	count(&process->drained_by_lookup, (uint64_t)drained);
	return drained;
}

/* Wait for the end of the drain that made the sequence odd: it has the lock. */
static void wait_for_store(struct uffd_process *process)
{
	struct uffd_guard guard;

	ummu_uffd_lock(process, &guard);
	ummu_uffd_unlock(process, &guard);
}

/*
 * PROBE got no answer.  If the number still stands for our file, the kernel
 * refused this thread only.  If it does not, every watch is lost.  While
 * nothing is registered there is nothing to lose, and nothing in flight.
 * Returns UFFD_UNSETTLED if the descriptor was replaced: probe again.
 */
static enum uffd_settled refused(struct uffd_process *process, int probed)
{
	enum uffd_settled settled = UFFD_UNSETTLED;
	struct uffd_guard guard;

	ummu_uffd_lock(process, &guard);
	if (process->state == UFFD_IDLE) {
		settled = UFFD_SETTLED;
	} else if (process->uffd.fd < 0) {
		settled = UFFD_FAILED;
	} else if (process->uffd.fd == probed) {
		switch (ummu_descriptor_identity(&process->uffd)) {
		case UMMU_NOT_OURS:
			ummu_uffd_lose(process);
			settled = UFFD_FAILED;
			break;
		default:
			settled = UFFD_FORBIDDEN;
		}
	}
	ummu_uffd_unlock(process, &guard);
	return settled;
}

/*
 * Somebody may have put another userfaultfd at our number.  That one answers
 * PROBE too, about operations that are not ours.  While the reader has a table
 * of its own, a munmap that has returned had its event read, and SETTLE sees
 * that; but a thread that gets an address which another thread is still
 * unmapping may be told that the old watch is valid.  A reader that shares the
 * program's table has lost the descriptor, and no event is read.  To look at
 * the identity each time would cost as much as PROBE, so one lookup a second
 * does.
 */
static __attribute__((noinline)) void recheck(struct uffd_process *process)
{
	struct uffd_guard guard;

	ummu_uffd_lock(process, &guard);
	__atomic_store_n(&process->recheck, false, __ATOMIC_RELAXED);
	if (process->state != UFFD_IDLE && process->uffd.fd >= 0 &&
	    ummu_descriptor_identity(&process->uffd) == UMMU_NOT_OURS)
		ummu_uffd_lose(process);
	ummu_uffd_unlock(process, &guard);
}

/* model: SETTLE */
enum uffd_settled ummu_uffd_settle(struct uffd_process *process)
{
	enum uffd_settled settled;
	int fd;

	if (ummu_broken(UMMU_BREAK_NO_PROBE))
		return UFFD_SETTLED;

	for (int round = 0; round < PROBE_ROUNDS; round++) {
		/* Acquire: who sees it even sees what that drain stored. */
		uint64_t sequence = __atomic_load_n(&process->sequence,
						    __ATOMIC_ACQUIRE);

		if (sequence & 1) {
			wait_for_store(process);
			continue;
		}
		if (__builtin_expect(__atomic_load_n(&process->recheck,
						     __ATOMIC_RELAXED),
				     0))
			recheck(process);
		fd = __atomic_load_n(&process->fd, __ATOMIC_RELAXED);
		switch (probe(fd)) {
		case UFFD_QUIET:
			/*
			 * model: RECHECK.  The fence orders the load below
			 * after the probe.  If the count fell because a
			 * message was read, a thread that saw it fall also
			 * sees that the sequence became odd before the read.
			 */
			__atomic_thread_fence(__ATOMIC_ACQUIRE);
			if (__atomic_load_n(&process->sequence,
					    __ATOMIC_RELAXED) == sequence)
				return UFFD_SETTLED;
			break;
		case UFFD_IN_FLIGHT:
			count(&process->probes_in_flight, 1);
			if (!drain_by_lookup(process))
				sched_yield();
			break;
		case UFFD_REFUSED:
			settled = refused(process, fd);
			if (settled != UFFD_UNSETTLED)
				return settled;
		}
	}
	count(&process->unsettled, 1);
	return UFFD_UNSETTLED;
}
