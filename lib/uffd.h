/* SPDX-License-Identifier: MIT */
/*
 * uffd.h - the one userfaultfd of this process, which all its monitors share.
 *
 * A mapping belongs to one userfaultfd, so there is one a process.  It is
 * opened with the first monitor.  A thread reads it from the first watch until
 * nothing is registered any more, and then ends (uffd-reader.c).  The
 * descriptor stays open: while nothing is registered it costs nobody anything.
 *
 * How it stays exact, in the words of model/: the kernel raises a count before
 * an address range is free and lowers it when the unmapping thread runs again
 * after its event was read.  PROBE asks for that count.  DRAIN reads events
 * and stores what they mean, both between two steps of ->sequence.  SETTLE is
 * a quiet PROBE with the sequence even and the same on both sides of it: every
 * event whose operation began to free memory before the PROBE has then been
 * read (else the count would be up) and stored (else the sequence would be odd
 * or have moved).
 *
 * What is registered.  A watch has the whole mapping registered in which it
 * lies, for a part would split it, and then the program's own mremap() fails.
 * The ledger (uffd-ledger.c) knows these extents.  One that no live watch needs
 * is unregistered a second later, by the reader, or at once by
 * ummu_monitor_release(); outside the lock, as the kernel walks the range.
 * Between LEAVE_BEGIN and LEAVE_END such a range stands in ->leaving:
 *   - LEAVE_BEGIN, under the lock: no live watch overlaps it, and nothing else
 *     is leaving;
 *   - WATCH, under the lock: waits while what it registers overlaps it.
 * So a live watch's range is registered from its REGISTER until it is spent or
 * disarmed: any UNREGISTER of it began before the watch was armed, and has
 * ended before REGISTER; or begins after it was disarmed or spent.
 *
 * Locks, in the order in which they may be taken: ->members, then ->lock.
 * Fork handlers take ->members and nothing else.  Callers' locks come before
 * both: the handlers are registered by a constructor, before those of the
 * callers, and the C library runs them in the reverse order before a fork.
 */
#ifndef UMMU_UFFD_H
#define UMMU_UFFD_H

#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "bell.h"
#include "descriptor.h"
#include "watchset.h"

/** Ranges given back with madvise() that are remembered at one time. */
#define UFFD_GRACE_RANGES 32

/** How long such a range is not watched again, in nanoseconds. */
#define UFFD_GRACE_NS 10000000ULL

/** How long what nobody watches stays registered, in nanoseconds. */
#define UFFD_LINGER_NS 1000000000ULL

/** A range of addresses, inclusive. */
struct uffd_range {
	uint64_t start, last;
};

static inline bool uffd_overlap(const struct uffd_range *a,
				const struct uffd_range *b)
{
	return a->start <= b->last && b->start <= a->last;
}

static inline bool uffd_contains(const struct uffd_range *outer,
				 const struct uffd_range *inner)
{
	return outer->start <= inner->start && inner->last <= outer->last;
}

/** A range given back, and when it may be watched again (CLOCK_MONOTONIC). */
struct uffd_grace {
	struct uffd_range range;
	uint64_t until;
};

/**
 * struct uffd_extent - addresses that we had registered, in the ledger
 * @range: what may still be registered of it; in ledger->tree
 * @idle_since: when it was found that no live watch needs it (CLOCK_MONOTONIC);
 *         0 while one does
 * @cut:   something within was unmapped, and may be another's by now
 * @idle:  of ledger->idle while @idle_since is not 0; @next: of ledger->unused
 */
struct uffd_extent {
	struct ummu_interval range;
	uint64_t idle_since;
	bool cut;
	union {
		TAILQ_ENTRY(uffd_extent) idle;
		struct uffd_extent *next;
	};
};

/**
 * struct uffd_ledger - what is registered; all under the process's lock
 * @tree:   extents; they may overlap
 * @idle:   those that no live watch needs, longest first
 * @unused: memory for more.  It is never given back, and a child leaves it
 * @count:  extents in @tree
 * @limit:  most of them: what is mapped beside an extent later stays apart from
 *          it, so that each may cost the program two mappings
 * @counted: when the program's mappings were last counted (CLOCK_MONOTONIC)
 * @strays: something may be registered that is in no extent
 */
struct uffd_ledger {
	struct ummu_interval_tree tree;
	TAILQ_HEAD(, uffd_extent) idle;
	struct uffd_extent *unused;
	unsigned long count, limit;
	uint64_t counted;
	bool strays;
};

enum uffd_state {
	UFFD_IDLE,    /* nothing is registered, and there is no reader */
	UFFD_RUNNING, /* there is a reader */
	UFFD_ENDING,  /* there is one, which is about to go: see END_COMMIT */
};

/**
 * struct uffd_process - the shared state; in memory that a fork wipes
 * @incarnation: 0 until opened and in a forked child; then a number that no
 *               earlier incarnation had.  Written once (release)
 * @sequence:    odd while a drain is under way; written under @lock
 * @fd:          number of @uffd, for PROBE without the lock; atomic, written
 *               under @lock.  -1 while there is none
 * @recheck:     set once a second by the reader: the next lookup asks whether
 *               @fd still stands for our file.  Atomic; orders nothing
 * @losses:      how often the descriptor was found closed; atomic, written
 *               under @lock.  A monitor of an earlier count has failed
 * @members:     the lists of watches and chunks that a forked child frees.  A
 *               fork waits for it and not for @lock: an unmap in somebody's
 *               fork handler waits for a drain
 * @lock:        everything below, and the above for writing.  Held with all
 *               signals blocked, as a handler that unmaps memory would wait for
 *               the holder.  Nothing is allocated or freed under it, for the
 *               same reason
 * @changed:     with @lock: @state, @starting or @leaving have changed
 * @uffd:        the userfaultfd, O_NONBLOCK
 * @pagemap, @maps: files of /proc/self; none without /proc
 * @any_file:    the kernel watches file mappings too (WP_ASYNC)
 * @state:       see there
 * @starting:    a thread opens the descriptors or starts a reader
 * @reader:      which reader is the one; 0: none
 * @readers:     how many there were so far
 * @table_known, @table_shared: the last reader shares the program's descriptors
 * @bells, @reader_bells: bells that were made, and that its table has
 * @stacks:      stacks of readers, the latest first
 * @watches:     every live watch of every monitor
 * @ledger:      what is registered
 * @leaving:     what is being unregistered, while @is_leaving
 * @grace:       ranges given back; @grace_all is for those that did not fit
 * @grace_last:  the latest time in them
 *
 * The counters are relaxed atomics.
 */
struct uffd_process {
	uint64_t incarnation;
	uint64_t sequence;
	int fd;
	bool recheck;
	uint64_t losses;
	pthread_mutex_t members;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct ummu_descriptor uffd, pagemap, maps;
	bool any_file;
	bool starting;
	enum uffd_state state;
	uint64_t reader, readers;
	bool table_known, table_shared;
	uint64_t bells, reader_bells;
	struct uffd_stack *stacks;
	LIST_HEAD(, watch_queue) queues;
	struct ummu_interval_tree watches;
	struct uffd_ledger ledger;
	bool is_leaving;
	struct uffd_range leaving;
	struct uffd_grace grace[UFFD_GRACE_RANGES];
	uint64_t grace_all;
	uint64_t grace_last;

	uint64_t kernel_events;
	uint64_t drained_by_lookup;
	uint64_t probes_in_flight;
	uint64_t unsettled;
};

/**
 * struct uffd_monitor - a monitor
 * @process:     the shared state
 * @incarnation: of @process when this was opened; a forked child sees another
 * @losses:      of @process then; another one now means that this has failed
 * @queue:       watches and events; under the process's lock
 */
struct uffd_monitor {
	struct ummu_monitor base;
	struct uffd_process *process;
	uint64_t incarnation;
	uint64_t losses;
	struct watch_queue queue;
};

static inline bool ummu_uffd_has_failed(const struct uffd_monitor *monitor)
{
	/* Acquire: who sees it finds every watch invalid. */
	return __atomic_load_n(&monitor->process->losses, __ATOMIC_ACQUIRE) !=
	       monitor->losses;
}

/** What a holder of a lock has to put back. */
struct uffd_guard {
	sigset_t signals;
	int cancel_state;
};

/* uffd-process.c: the shared memory and its locks. */

/** ummu_uffd_process - the memory, made if need be; 0 or -errno, explained. */
int ummu_uffd_process(struct uffd_process **process_p);

void ummu_uffd_lock(struct uffd_process *process, struct uffd_guard *guard);
void ummu_uffd_unlock(struct uffd_process *process,
		      const struct uffd_guard *guard);
void ummu_uffd_lock_members(struct uffd_process *process,
			    struct uffd_guard *guard);
void ummu_uffd_unlock_members(struct uffd_process *process,
			      const struct uffd_guard *guard);

/** ummu_uffd_wait - until ->changed is told; the caller holds the lock. */
void ummu_uffd_wait(struct uffd_process *process);

/** ummu_uffd_wait_until - the same until CLOCK_REALTIME says @until: ETIMEDOUT. */
int ummu_uffd_wait_until(struct uffd_process *process,
			 const struct timespec *until);

/** ummu_uffd_now - CLOCK_MONOTONIC in nanoseconds. */
uint64_t ummu_uffd_now(void);

/* uffd-ledger.c: what is registered; the caller holds the lock, but for grow. */

void ummu_uffd_ledger_init(struct uffd_ledger *ledger, unsigned long limit);

/** ummu_uffd_ledger_grow - room for more extents; without the lock; -errno. */
int ummu_uffd_ledger_grow(struct uffd_process *process);

/**
 * ummu_uffd_ledger_extend - the limit is reached: is there room for more?
 *
 * Half of what vm.max_map_count allows is the program's.  Counts its mappings,
 * once a second.  Without the lock.  False: there is none.
 */
bool ummu_uffd_ledger_extend(struct uffd_process *process);

/** ummu_uffd_ledger_covers - a whole extent around @range, or NULL. */
const struct uffd_extent *
ummu_uffd_ledger_covers(const struct uffd_process *process,
			const struct uffd_range *range);

/** ummu_uffd_ledger_add - @range was registered; there is room. */
void ummu_uffd_ledger_add(struct uffd_process *process,
			  const struct uffd_range *range);

/** ummu_uffd_ledger_unneeded - watches in @range have ended: which are idle? */
void ummu_uffd_ledger_unneeded(struct uffd_process *process,
			       const struct uffd_range *range);

/** ummu_uffd_ledger_gone - @range was unmapped. */
void ummu_uffd_ledger_gone(struct uffd_process *process,
			   const struct uffd_range *range);

/** ummu_uffd_ledger_moved - @from was moved to @to, which is registered now. */
void ummu_uffd_ledger_moved(struct uffd_process *process,
			    const struct uffd_range *from,
			    const struct uffd_range *to);

/**
 * ummu_uffd_ledger_take - take an idle extent out
 * @within: overlapping this range; idle since @before at the latest
 *
 * False if there is none.  *cut as in struct uffd_extent.
 */
bool ummu_uffd_ledger_take(struct uffd_process *process,
			   const struct uffd_range *within, uint64_t before,
			   struct uffd_range *range, bool *cut);

/** ummu_uffd_ledger_clear - nothing is registered any more. */
void ummu_uffd_ledger_clear(struct uffd_ledger *ledger);

/* uffd-drain.c: PROBE, DRAIN and SETTLE. */

enum uffd_probe {
	UFFD_QUIET,
	UFFD_IN_FLIGHT,
	UFFD_REFUSED, /* no answer: not our descriptor, or a seccomp filter */
};

enum uffd_probe ummu_uffd_probe(int fd);

/** ummu_uffd_drain - read and store what is there; the caller holds the lock. */
int ummu_uffd_drain(struct uffd_process *process, int fd);

/**
 * ummu_uffd_lose - the descriptor is not ours any more: nothing is known
 *
 * Spends every watch.  The caller holds the lock.
 */
void ummu_uffd_lose(struct uffd_process *process);

enum uffd_settled {
	UFFD_SETTLED,
	UFFD_UNSETTLED, /* invalidations kept coming */
	UFFD_FORBIDDEN, /* this thread may not ask: a seccomp filter */
	UFFD_FAILED,	/* the descriptor was closed */
};

/** ummu_uffd_settle - without the lock. */
enum uffd_settled ummu_uffd_settle(struct uffd_process *process);

/** ummu_uffd_in_grace - was the range given back a moment ago?  Under the lock. */
bool ummu_uffd_in_grace(const struct uffd_process *process,
			const struct uffd_range *range);

/* uffd-range.c: telling the kernel which ranges to report. */

/** ummu_uffd_register, _unregister - have @range reported, or not; -errno. */
int ummu_uffd_register(int fd, const struct uffd_range *range);
int ummu_uffd_unregister(int fd, const struct uffd_range *range);

/**
 * ummu_uffd_whole - is every page of @range mapped and registered?
 * @registered: what was registered for it
 *
 * 0 if so; -ERESTART: register again and ask again; -EAGAIN once that was done
 * often enough (@attempt counts from 0); -EFAULT.  Without the lock.
 */
int ummu_uffd_whole(const struct uffd_process *process,
		    const struct uffd_range *range,
		    const struct uffd_range *registered, int attempt);

/** ummu_uffd_is_registered - any page of @mapping, by us or others?  <0: unknown. */
int ummu_uffd_is_registered(const struct uffd_process *process, int pagemap_fd,
			    const struct uffd_range *mapping);

/** ummu_uffd_explain_range - why a range was refused; without a lock. */
int ummu_uffd_explain_range(const struct uffd_process *process,
			    const struct uffd_range *range, int error);

/* uffd-watch.c: begin and end a watch.  Without a lock. */

/** ummu_uffd_start_watch - of watch->range; 0 or -errno, explained. */
int ummu_uffd_start_watch(struct uffd_monitor *monitor, struct watch *watch);
void ummu_uffd_end_watch(struct uffd_process *process, struct watch *watch);

/* uffd-leave.c: unregistering. */

/** ummu_uffd_wait_while_leaving - the caller holds the lock; true: it waited. */
bool ummu_uffd_wait_while_leaving(struct uffd_process *process,
				  const struct uffd_range *range);

/** What unregistering is done with: numbers in the calling thread's table. */
struct uffd_tools {
	int fd, pagemap_fd, maps_fd;
};

/** ummu_uffd_leave_idle - what is idle since @before; without the lock. */
void ummu_uffd_leave_idle(struct uffd_process *process,
			  const struct uffd_tools *tools,
			  const struct uffd_range *within, uint64_t before,
			  bool patient);

enum uffd_swept {
	UFFD_CLEAN,	  /* nothing is registered any more */
	UFFD_NOT_YET,	  /* something was, or moved: sweep again */
	UFFD_INTERRUPTED, /* a watch was armed, or another reader began */
	UFFD_CANNOT_TELL, /* the kernel does not say what is registered */
};

/**
 * ummu_uffd_sweep - unregister all there is; model: SWEEP
 * @reader: which reader does it
 *
 * Without the lock.  What the last of them found holds until its caller looks,
 * under the lock, that nothing has changed: END_COMMIT.
 */
enum uffd_swept ummu_uffd_sweep(struct uffd_process *process,
				const struct uffd_tools *tools,
				uint64_t reader);

/* uffd-start.c: start the thread of uffd-reader.c. */

/**
 * ummu_uffd_reader_start - have a reader; without the lock
 * @afresh: also if there is one: its table has to know a new bell
 *
 * 0 or -errno, explained.
 */
int ummu_uffd_reader_start(struct uffd_process *process, bool afresh);

/** ummu_uffd_is_stack - does the range touch a reader's stack?  Under the lock. */
bool ummu_uffd_is_stack(const struct uffd_process *process,
			const struct uffd_range *range);

/* uffd-open.c: the descriptors. */

/** ummu_uffd_open - the process, its descriptor open; 0 or -errno, explained. */
int ummu_uffd_open(struct uffd_process **process_p);

/**
 * ummu_uffd_reopen - the descriptors, where they were closed; 0 or -errno
 *
 * The caller has set ->starting, and nothing is registered.  Without the lock.
 */
int ummu_uffd_reopen(struct uffd_process *process);

/* uffd-selftest.c */

/** ummu_uffd_selftest - does this kernel order its steps as PROBE needs? */
int ummu_uffd_selftest(int fd);

#endif
