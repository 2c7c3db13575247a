/* SPDX-License-Identifier: MIT */
/*
 * uffd.h - the one userfaultfd of this process, which all its monitors share.
 *
 * A mapping can be registered with one userfaultfd only, so the process has
 * one.  The first monitor opens it.  The reader, a thread of this library
 * (uffd-reader.c), starts with the first watch and ends when nothing is
 * registered any more.  The descriptor stays open: while nothing is registered,
 * it costs nothing.
 *
 * The kernel counts the operations in flight: it raises the count before an
 * operation frees its addresses, and lowers it when the thread that unmaps runs
 * again, after its event was read.  In the words of model/:
 *   - PROBE asks whether the count is zero ("quiet");
 *   - DRAIN makes ->sequence odd, reads events, stores what they mean, and then
 *     makes ->sequence even again;
 *   - SETTLE succeeds when a PROBE is quiet and the sequence is even, and the
 *     same, before and after it.
 * After SETTLE every operation that began to free memory before the PROBE has
 * had its event read, or the count would not be zero, and stored, or the
 * sequence would be odd or have moved.
 *
 * A watch registers the whole mapping in which it lies.  To register a part
 * would split the mapping, and the program's own mremap() of it would then
 * fail.  The ledger (uffd-ledger.c) records what is registered, as extents.
 * The reader unregisters an extent a second after the last live watch in it has
 * ended; ummu_monitor_release() does so at once.  Neither holds the lock
 * meanwhile, as the kernel walks the whole range.  From LEAVE_BEGIN to
 * LEAVE_END ->leaving holds the range that is being unregistered:
 *   - LEAVE_BEGIN, with the lock held, checks that no live watch overlaps the
 *     range and that no other range is leaving;
 *   - WATCH, with the lock held, waits while ->leaving overlaps what it is
 *     about to register.
 * So the range of a live watch is registered from REGISTER until the watch is
 * spent or disarmed.  An UNREGISTER that began before the watch was armed has
 * ended before REGISTER; any other begins after the watch was spent or
 * disarmed.
 *
 * Locks, in the order in which they may be taken: ->members, then ->lock.
 * The fork handlers take ->members only.  Locks of our callers come before
 * both: a constructor registers our handlers before any caller registers its
 * own, and the C library runs the handlers before a fork in the reverse order.
 */
#ifndef UMMU_UFFD_H
#define UMMU_UFFD_H

#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "bell.h"
#include "descriptor.h"
#include "watchset.h"

/** How many ranges given back with madvise() are remembered at one time. */
#define UFFD_GRACE_RANGES 32

/** How long such a range is not watched again, in nanoseconds. */
#define UFFD_GRACE_NS 10000000ULL

/** How long an extent stays registered that no watch needs, in nanoseconds. */
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

/**
 * struct uffd_grace - a range that was given back with madvise()
 * @until: when it may be watched again (nanoseconds of CLOCK_MONOTONIC)
 */
struct uffd_grace {
	struct uffd_range range;
	uint64_t until;
};

/**
 * struct uffd_extent - a range of addresses that we have registered
 * @range: its addresses; a node of ledger->tree
 * @idle_since: since when no live watch needs it (nanoseconds of
 *         CLOCK_MONOTONIC); 0 while one does
 * @cut:   a part in its middle was unmapped; other memory may lie there by now
 * @idle:  links it into ledger->idle while @idle_since is not 0
 * @next:  links it into ledger->unused while it records nothing
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
 * struct uffd_ledger - what is registered; protected by the process's lock
 * @tree:   the extents; they may overlap
 * @idle:   the extents that no live watch needs, the longest idle first
 * @unused: memory for more extents.  It is never freed
 * @count:  how many extents are in @tree
 * @limit:  how many there may be.  The kernel does not join an extent with what
 *          is mapped beside it later, so that each may cost the program two
 *          mappings
 * @counted: when the program's mappings were last counted (nanoseconds of
 *          CLOCK_MONOTONIC)
 * @used:   something was registered since this was last empty for certain
 */
struct uffd_ledger {
	struct ummu_interval_tree tree;
	TAILQ_HEAD(, uffd_extent) idle;
	struct uffd_extent *unused;
	unsigned long count, limit;
	uint64_t counted;
	bool used;
};

enum uffd_state {
	UFFD_IDLE,    /* nothing is registered, and there is no reader */
	UFFD_RUNNING, /* there is a reader */
	UFFD_ENDING,  /* the reader is about to end: see END_COMMIT */
};

/**
 * struct uffd_process - the shared state, in memory that is zero in a child
 * @incarnation: 0 before the first open, and in a forked child until it opens a
 *               monitor of its own; then a number that neither the process nor
 *               its parent had before.  Written once, with a release store
 * @sequence:    odd while a drain is under way.  Atomic, written under @lock
 * @fd:          the number of @uffd, for a PROBE without the lock; -1 while
 *               there is none.  Atomic, written under @lock
 * @recheck:     the next lookup asks whether @fd still stands for our file.
 *               The reader sets it once a second.  Atomic; orders nothing
 * @losses:      how often the descriptor was found closed.  A monitor that was
 *               opened at a lower count has failed.  Atomic, written under
 *               @lock
 * @members:     protects the lists of watches and of their memory, which a
 *               forked child frees.  A fork waits for this lock and not for
 *               @lock: somebody's fork handler may unmap, and wait for a drain
 * @lock:        protects everything below, and what is above against writers.
 *               Its holder blocks all signals, and neither allocates nor frees:
 *               a signal handler and an allocator may unmap memory, an unmap
 *               may wait for a drain, and a drain needs this lock
 * @changed:     @state, @starting or @leaving has changed; used with @lock
 * @uffd:        the userfaultfd, O_NONBLOCK
 * @pagemap, @maps: the files of /proc/self; not open where there is no /proc
 * @any_file:    the kernel can watch file mappings too (WP_ASYNC)
 * @state:       is there a reader?  See enum uffd_state
 * @starting:    a thread is opening the descriptors or starting a reader
 * @reader:      the number of the current reader; 0: none
 * @readers:     how many readers were started so far
 * @table_known: @table_shared is known, as a reader has run
 * @table_shared: the last reader shares the program's table of descriptors
 * @bells:       how many bells (bell.h) were made so far
 * @reader_bells: @bells when the reader copied the table: it can ring those
 * @stacks:      the stacks of readers, the latest first
 * @queues:      the watches and events of each monitor
 * @watches:     every live watch of every monitor
 * @ledger:      what is registered
 * @is_leaving:  a thread is unregistering @leaving
 * @leaving:     the range that is being unregistered, while @is_leaving
 * @grace:       ranges that were given back with madvise()
 * @grace_all:   until when no range may be watched, as @grace was full
 * @grace_last:  the latest time in @grace and @grace_all
 *
 * The counters at the end are relaxed atomics; ummu_monitor_stats() has them.
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
 * @incarnation: that of @process when this was opened.  A forked child finds
 *               another one in @process
 * @losses:      that of @process when this was opened.  If it has changed, this
 *               monitor has failed
 * @queue:       its watches and events; protected by the process's lock
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
	/* Acquire: a thread that sees the loss finds every watch invalid. */
	return __atomic_load_n(&monitor->process->losses, __ATOMIC_ACQUIRE) !=
	       monitor->losses;
}

/** What the thread that takes a lock restores when it drops it. */
struct uffd_guard {
	sigset_t signals;
	int cancel_state;
};

/* uffd-process.c: the shared memory and its locks. */

/** ummu_uffd_process - find or make the memory; 0, or -errno, explained. */
int ummu_uffd_process(struct uffd_process **process_p);

void ummu_uffd_lock(struct uffd_process *process, struct uffd_guard *guard);
void ummu_uffd_unlock(struct uffd_process *process,
		      const struct uffd_guard *guard);
void ummu_uffd_lock_members(struct uffd_process *process,
			    struct uffd_guard *guard);
void ummu_uffd_unlock_members(struct uffd_process *process,
			      const struct uffd_guard *guard);

/** ummu_uffd_wait - wait for ->changed; the caller holds the lock. */
void ummu_uffd_wait(struct uffd_process *process);

/** ummu_uffd_wait_until - likewise; ETIMEDOUT at @until (CLOCK_REALTIME). */
int ummu_uffd_wait_until(struct uffd_process *process,
			 const struct timespec *until);

/** ummu_uffd_now - CLOCK_MONOTONIC in nanoseconds. */
uint64_t ummu_uffd_now(void);

/*
 * uffd-ledger.c: what is registered.  The caller holds the lock, except in
 * _init(), _grow() and _extend().
 */

void ummu_uffd_ledger_init(struct uffd_ledger *ledger, unsigned long limit);

/** ummu_uffd_ledger_grow - make room for more extents; 0 or -ENOMEM. */
int ummu_uffd_ledger_grow(struct uffd_process *process);

/**
 * ummu_uffd_ledger_extend - try to raise the limit, which is reached
 *
 * Counts the program's mappings, at most once a second: half of what
 * vm.max_map_count allows is left to the program.  Returns false if there is no
 * room, or if they were counted less than a second ago.
 */
bool ummu_uffd_ledger_extend(struct uffd_process *process);

/** ummu_uffd_ledger_covers - an extent that contains @range and is not cut. */
const struct uffd_extent *
ummu_uffd_ledger_covers(const struct uffd_process *process,
			const struct uffd_range *range);

/** ummu_uffd_ledger_add - @range was registered; ->unused is not NULL. */
void ummu_uffd_ledger_add(struct uffd_process *process,
			  const struct uffd_range *range);

/** ummu_uffd_ledger_unneeded - a watch of @range ended: find idle extents. */
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
 * ummu_uffd_ledger_take - remove an idle extent from the ledger
 * @within: it overlaps this range
 * @before: it has been idle since this time or longer
 * @range:  receives its addresses
 * @cut:    receives its @cut
 *
 * Returns false if there is none.
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

/** ummu_uffd_drain - read all events, store them; the caller holds the lock. */
int ummu_uffd_drain(struct uffd_process *process, int fd);

/**
 * ummu_uffd_lose - spend every watch: the descriptor is not ours any more
 *
 * The caller holds the lock.
 */
void ummu_uffd_lose(struct uffd_process *process);

enum uffd_settled {
	UFFD_SETTLED,
	UFFD_UNSETTLED, /* invalidations kept coming */
	UFFD_FORBIDDEN, /* this thread may not ask: a seccomp filter */
	UFFD_FAILED,	/* the descriptor was closed */
};

/** ummu_uffd_settle - SETTLE; the caller does not hold the lock. */
enum uffd_settled ummu_uffd_settle(struct uffd_process *process);

/** ummu_uffd_in_grace - was @range given back a moment ago?  Needs the lock. */
bool ummu_uffd_in_grace(const struct uffd_process *process,
			const struct uffd_range *range);

/* uffd-range.c: telling the kernel which ranges to report. */

/** ummu_uffd_register, _unregister - begin or end reports; 0 or -errno. */
int ummu_uffd_register(int fd, const struct uffd_range *range);
int ummu_uffd_unregister(int fd, const struct uffd_range *range);

/**
 * ummu_uffd_whole - is every page of @range mapped and registered?
 * @registered: what was registered for it
 * @attempt: how often the caller has registered it again; from 0
 *
 * The caller does not hold the lock.  Returns 0 if so; -EFAULT if part of the
 * range is not mapped; -ERESTART if the caller has to register it again and ask
 * again; -EAGAIN if it has done that often enough.
 */
int ummu_uffd_whole(const struct uffd_process *process,
		    const struct uffd_range *range,
		    const struct uffd_range *registered, int attempt);

/**
 * ummu_uffd_is_registered - is any page of @mapping registered, by anybody?
 *
 * Returns 1, 0, or a negative number if the kernel does not tell.
 */
int ummu_uffd_is_registered(const struct uffd_process *process, int pagemap_fd,
			    const struct uffd_range *mapping);

/** ummu_uffd_explain_range - say why a range was refused; no lock is held. */
int ummu_uffd_explain_range(const struct uffd_process *process,
			    const struct uffd_range *range, int error);

/* uffd-watch.c: begin and end a watch.  The caller holds no lock. */

/** ummu_uffd_start_watch - watch watch->range; 0, or -errno, explained. */
int ummu_uffd_start_watch(struct uffd_monitor *monitor, struct watch *watch);
void ummu_uffd_end_watch(struct uffd_process *process, struct watch *watch);

/* uffd-leave.c: unregistering. */

/**
 * ummu_uffd_wait_while_leaving - wait while ->leaving overlaps @range
 *
 * The caller holds the lock.  Returns true if it was dropped to wait.
 */
bool ummu_uffd_wait_while_leaving(struct uffd_process *process,
				  const struct uffd_range *range);

/** Descriptor numbers, in the calling thread's table, to unregister with. */
struct uffd_tools {
	int fd, pagemap_fd, maps_fd;
};

/**
 * ummu_uffd_leave_idle - unregister the idle extents that overlap @within
 * @before:  those that have been idle since this time or longer
 * @patient: wait for what another thread is unregistering.  False for the
 *           reader, which drains in between and puts off what has to wait
 *
 * The caller does not hold the lock.
 */
void ummu_uffd_leave_idle(struct uffd_process *process,
			  const struct uffd_tools *tools,
			  const struct uffd_range *within, uint64_t before,
			  bool patient);

enum uffd_swept {
	UFFD_CLEAN,	  /* nothing of ours is registered any more */
	UFFD_NOT_YET,	  /* something was, or moved: sweep again */
	UFFD_INTERRUPTED, /* a watch was armed, or another reader began */
	UFFD_CANNOT_TELL, /* the kernel does not say what is registered */
};

/**
 * ummu_uffd_sweep - unregister whatever is still registered; model: SWEEP
 * @reader: the number of the reader that calls
 *
 * The caller does not hold the lock.  UFFD_CLEAN may be out of date at once:
 * END_COMMIT checks, with the lock held, that nothing has changed.
 */
enum uffd_swept ummu_uffd_sweep(struct uffd_process *process,
				const struct uffd_tools *tools,
				uint64_t reader);

/* uffd-start.c: start the thread of uffd-reader.c. */

/**
 * ummu_uffd_reader_start - start a reader if there is none
 * @afresh: replace the one there is, if a bell was made that its table lacks
 *
 * The caller does not hold the lock.  Returns 0, or -errno, explained.
 */
int ummu_uffd_reader_start(struct uffd_process *process, bool afresh);

/** ummu_uffd_is_stack - is a reader's stack in @range?  Needs the lock. */
bool ummu_uffd_is_stack(const struct uffd_process *process,
			const struct uffd_range *range);

/* uffd-open.c: the descriptors. */

/** ummu_uffd_open - open the descriptors if need be; 0 or -errno, explained. */
int ummu_uffd_open(struct uffd_process **process_p);

/**
 * ummu_uffd_reopen - open those descriptors that are closed
 *
 * The caller has set ->starting and does not hold the lock; nothing is
 * registered.  Returns 0, or -errno, explained.
 */
int ummu_uffd_reopen(struct uffd_process *process);

/* uffd-selftest.c */

/** ummu_uffd_selftest - 0 if this kernel orders its steps as PROBE needs. */
int ummu_uffd_selftest(int fd);

#endif
