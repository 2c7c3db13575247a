/* SPDX-License-Identifier: MIT */
/* uffd-drain.c - read invalidations from the userfaultfd and store them. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../base/breakable.h"
#include "uffd-abi.h"
#include "uffd.h"

/* Messages fetched by one read. */
#define BATCH 16

/*
 * How often SETTLE asks before it gives up.  The count falls when the thread
 * that unmapped runs again; each round yields the processor to it.
 */
#define PROBE_ROUNDS 256

static void count(uint64_t *counter, uint64_t amount)
{
	__atomic_fetch_add(counter, amount, __ATOMIC_RELAXED);
}

static uint64_t now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000ULL + (uint64_t)time.tv_nsec;
}

/*
 * model: PROBE.  An empty range is refused with EINVAL, but the kernel looks
 * at its count of operations in flight first, and answers EAGAIN then.
 *
 * Part of its caller: after a system call returns are mispredicted, and that is
 * most of what a check costs beside it.
 */
static inline __attribute__((always_inline)) enum uffd_probe probe(int fd)
{
	struct uffdio_writeprotect nothing = { .mode = 0 };

	if (!ioctl(fd, UFFDIO_WRITEPROTECT, &nothing))
		return UFFD_LOST;
	switch (errno) {
	case EINVAL:
		return UFFD_QUIET;
	case EAGAIN:
		return UFFD_IN_FLIGHT;
	default:
		return UFFD_LOST;
	}
}

enum uffd_probe ummu_uffd_probe(int fd)
{
	return probe(fd);
}

static void remember_grace(struct uffd_process *process, uint64_t start,
			   uint64_t last)
{
	uint64_t now = now_ns();
	struct uffd_grace *oldest = &process->grace[0];

	for (unsigned int i = 1; i < UFFD_GRACE_RANGES; i++)
		if (process->grace[i].until < oldest->until)
			oldest = &process->grace[i];
	process->grace_last = now + UFFD_GRACE_NS;
	if (oldest->until > now) { /* no room: then for every range */
		process->grace_all = process->grace_last;
		return;
	}
	oldest->range.start = start;
	oldest->range.last = last;
	oldest->until = process->grace_last;
}

bool ummu_uffd_in_grace(const struct uffd_process *process, uint64_t start,
			uint64_t last)
{
	uint64_t now;

	if (!process->grace_last)
		return false;
	now = now_ns();
	if (process->grace_last <= now)
		return false;
	if (process->grace_all > now)
		return true;
	for (unsigned int i = 0; i < UFFD_GRACE_RANGES; i++) {
		const struct uffd_grace *grace = &process->grace[i];

		if (grace->until > now && grace->range.start <= last &&
		    grace->range.last >= start)
			return true;
	}
	return false;
}

/*
 * A page that is write-protected although nobody here asked for it: left by
 * somebody's earlier userfaultfd.  A thread waits for it to be released.
 */
static void release_fault(const struct uffd_process *process, uint64_t address)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct uffdio_writeprotect release = {
		.range = { .start = address & ~(page - 1), .len = page },
	};

	ioctl(process->fd, UFFDIO_WRITEPROTECT, &release);
}

/* model: DRAIN_STORE */
static void store_message(struct uffd_process *process,
			  const struct uffd_msg *message)
{
	uint64_t start, last;

	switch (message->event) {
	case UFFD_EVENT_UNMAP:
		start = message->arg.remove.start;
		last = message->arg.remove.end - 1;
		ummu_watch_hit(&process->watches, start, last,
			       UMMU_REASON_UNMAP);
		break;
	case UFFD_EVENT_REMOVE: /* comes before the pages go */
		start = message->arg.remove.start;
		last = message->arg.remove.end - 1;
		ummu_watch_hit(&process->watches, start, last,
			       UMMU_REASON_CLEAR);
		remember_grace(process, start, last);
		break;
	case UFFD_EVENT_REMAP:
		start = message->arg.remap.from;
		last = start + message->arg.remap.len - 1;
		ummu_watch_hit(&process->watches, start, last, UMMU_REASON_MOVE);
		break;
	case UFFD_EVENT_PAGEFAULT:
		release_fault(process, message->arg.pagefault.address);
		break;
	}
}

static bool is_ours(const struct uffd_process *process)
{
	struct stat now;

	return ummu_uffd_probe(process->fd) != UFFD_LOST &&
	       !fstat(process->fd, &now) && now.st_ino == process->inode;
}

/* The descriptor was closed, perhaps its number used again: trust nothing. */
static void fail(struct uffd_process *process)
{
	ummu_watch_hit(&process->watches, 0, UINT64_MAX, UMMU_REASON_FAILED);
	/* After the words: who sees this flag finds every watch invalid. */
	__atomic_store_n(&process->failed, true, __ATOMIC_RELEASE);
}

/* model: DRAIN_READ.  By syscall(): read() would be a cancellation point. */
static int read_messages(const struct uffd_process *process,
			 struct uffd_msg *messages)
{
	long bytes = syscall(SYS_read, process->fd, messages,
			     BATCH * sizeof(*messages));

	return bytes > 0 ? (int)((size_t)bytes / sizeof(*messages)) : 0;
}

static void begin_store(struct uffd_process *process)
{
	/*
	 * Odd before the first message is read: a thread whose munmap returned
	 * because its message was read must find the sequence odd, or the
	 * message stored.  Nobody else writes it (lock).  The full fence keeps
	 * the store before the read on its own terms; the kernel's locks
	 * around the message queue order it for the unmapping thread.
	 */
	__atomic_store_n(&process->sequence, process->sequence + 1,
			 __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void end_store(struct uffd_process *process)
{
	/* Release: who sees it even again sees all that was stored. */
	__atomic_store_n(&process->sequence, process->sequence + 1,
			 __ATOMIC_RELEASE);
}

void ummu_uffd_give_up(struct uffd_process *process)
{
	/* If it is still open then unmaps must not wait for a reader. */
	if (is_ours(process))
		close(process->fd);
	begin_store(process);
	fail(process);
	end_store(process);
}

int ummu_uffd_drain(struct uffd_process *process)
{
	struct uffd_msg messages[BATCH];
	int total = 0;
	int fetched;

	if (process->failed)
		return 0;
	/* Never read a descriptor that has become somebody else's. */
	if (!is_ours(process)) {
		ummu_uffd_give_up(process);
		return 0;
	}

	if (ummu_broken(UMMU_BREAK_READ_OUTSIDE_LOCK)) {
		fetched = read_messages(process, messages);
		sched_yield();
		begin_store(process);
		for (int i = 0; i < fetched; i++)
			store_message(process, &messages[i]);
		end_store(process);
		return fetched;
	}

	begin_store(process);
	while ((fetched = read_messages(process, messages)) > 0) {
		for (int i = 0; i < fetched; i++)
			store_message(process, &messages[i]);
		total += fetched;
	}
	end_store(process);
	count(&process->kernel_events, (uint64_t)total);
	return total;
}

static int drain_by_lookup(struct uffd_process *process)
{
	struct uffd_guard guard;
	int drained;

	ummu_uffd_lock(process, &guard);
	drained = ummu_uffd_drain(process);
	ummu_uffd_unlock(process, &guard);
	count(&process->drained_by_lookup, (uint64_t)drained);
	return drained;
}

/* Wait until the drain that made the sequence odd is over. */
static void wait_for_store(struct uffd_process *process)
{
	struct uffd_guard guard;

	ummu_uffd_lock(process, &guard);
	ummu_uffd_unlock(process, &guard);
}

/* model: SETTLE */
bool ummu_uffd_settle(struct uffd_process *process)
{
	if (ummu_broken(UMMU_BREAK_NO_PROBE))
		return true;

	for (int round = 0; round < PROBE_ROUNDS; round++) {
		/* Acquire: even means that the caller sees what was stored. */
		uint64_t sequence = __atomic_load_n(&process->sequence,
						    __ATOMIC_ACQUIRE);

		if (sequence & 1) {
			wait_for_store(process);
			continue;
		}
		if (__atomic_load_n(&process->failed, __ATOMIC_ACQUIRE))
			return false;
		switch (probe(process->fd)) {
		case UFFD_QUIET:
			/*
			 * model: RECHECK.  The load below after the probe: if
			 * the count fell because a message was read, the odd
			 * sequence of that read is visible to whoever saw it
			 * fallen.
			 */
			__atomic_thread_fence(__ATOMIC_ACQUIRE);
			if (__atomic_load_n(&process->sequence,
					    __ATOMIC_RELAXED) == sequence)
				return true;
			break;
		case UFFD_IN_FLIGHT:
			count(&process->probes_in_flight, 1);
			if (!drain_by_lookup(process))
				sched_yield();
			break;
		case UFFD_LOST:
			drain_by_lookup(process); /* marks the failure */
			return false;
		}
	}
	count(&process->unsettled, 1);
	return false;
}
