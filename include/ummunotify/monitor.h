/* SPDX-License-Identifier: MIT */
/*
 * monitor.h - learn that memory of this process went away or changed pages.
 *
 * A monitor is one open source of notifications.  A watch is a range it
 * watches.  An invalidation happens when a page of a watched range leaves the
 * process or is replaced by another page; it makes the watch invalid for good,
 * moves the monitor's generation and queues one event.
 *
 * Errors are 0 or a count on success and -errno on failure; out-parameters are
 * written only on success.  All lengths and addresses are in bytes.  A struct
 * that starts with its size is refused with -EINVAL if that is over 4096.
 *
 * THREAD SAFETY: a monitor may be used by any number of threads, except while
 * it is being opened or closed.  No call may be made from a signal handler.
 * Calls leave errno as it was, and are no cancellation points.
 *
 * FORK: a monitor belongs to the process that opened it.  In a child of fork()
 * or clone() without CLONE_VM every watch is invalid, ummu_monitor_status(),
 * _watch() and _read() answer -ECHILD, and ummu_monitor_close() only frees
 * memory.  A child may open a monitor of its own.  vfork() and posix_spawn()
 * children share the parent's memory and are not children in this sense.
 *
 * The idea is that of the 2009 ummunotify driver for Linux: a shared word that
 * says "nothing changed" in one load.  See ummunotify(7) for the guarantee.
 */
#ifndef UMMUNOTIFY_MONITOR_H
#define UMMUNOTIFY_MONITOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The version of the headers that a program was compiled with. */
#define UMMU_VERSION_MAJOR 0
#define UMMU_VERSION_MINOR 1
#define UMMU_VERSION_PATCH 0

/** ummu_version - the version of the library that is running, "0.1.0". */
const char *ummu_version(void);

struct ummu_monitor; /* opaque */

/**
 * struct ummu_monitor_opts - how to open a monitor
 * @size:    sizeof(struct ummu_monitor_opts); lets the struct grow
 * @backend: "kmod", "uffd" or "none"; NULL for the best one on this machine:
 *           the first of these that works
 *
 * "none" opens everywhere and refuses every watch with -EOPNOTSUPP, so that a
 * cache above it registers each time: slow, never wrong.  It is used only when
 * it is named.
 */
struct ummu_monitor_opts {
	size_t size;
	const char *backend;
};

/**
 * ummu_monitor_open - start to listen
 * @opts:      NULL for the defaults
 * @monitor_p: receives the monitor; the caller closes it
 *
 * The environment variable UMMU_MONITOR names a backend and wins over
 * @opts->backend; it is ignored in set-user-ID programs (secure execution).
 *
 * On kmod each monitor is a descriptor of the kernel module's device.  On uffd
 * all monitors of the process share one userfaultfd, two files of /proc/self
 * and one thread, the reader thread.  It starts with the first watch, ends one
 * to two seconds after the last watch has ended, and starts again when it is
 * needed.  The descriptors stay open (ummunotify(7)).
 *
 * Errors, of the last backend that was tried:
 *   -EINVAL      unknown backend name, bad @opts->size
 *   -EMFILE, -ENFILE, -ENOMEM
 *   -EOPNOTSUPP  this kernel, or this release of the module, lacks what the
 *                backend needs (uffd: or failed the self-test)
 *   -ENOENT, -ENODEV, -ENXIO  kmod: the module is not loaded
 *   -EACCES      kmod: this user may not open the device
 *   -EPERM       kmod: nor may this container; uffd: it is forbidden here
 *   -ENOSYS      uffd: the kernel has none
 *   -EAGAIN      uffd: no thread could be started for the self-test
 *   -EBADF       uffd: somebody closed the process's userfaultfd, and what it
 *                watched was not released within five seconds
 * ummu_monitor_explain() says which and what to do.
 */
int ummu_monitor_open(const struct ummu_monitor_opts *opts,
		      struct ummu_monitor **monitor_p);

/**
 * ummu_monitor_close - end every watch of the monitor and free it
 *
 * Watch handles and the file descriptor of the monitor are dead afterwards.
 * NULL is allowed.
 */
void ummu_monitor_close(struct ummu_monitor *monitor);

/**
 * ummu_monitor_explain - cause and remedy of this thread's last refusal
 *
 * One or two sentences for people about the last call that was refused in this
 * thread: a call of a monitor, the creation of a cache, or a request for
 * statistics.  Valid until the next refusal; "" if there was none.
 */
const char *ummu_monitor_explain(void);

/** ummu_monitor_backend - the backend's name: "kmod", "uffd", "none". */
const char *ummu_monitor_backend(const struct ummu_monitor *monitor);

/**
 * ummu_monitor_status - can this monitor still be trusted?
 *
 * 0; -ECHILD in a child of fork; -EBADF after it failed (somebody closed its
 * descriptor).  A monitor that failed does not recover, and watches nothing
 * new; another one can be opened.  On uffd every watch that the process had is
 * then invalid for ever.  On kmod the watches of the monitor go on, and their
 * events can be read, as the kernel keeps them as long as the monitor is open.
 */
int ummu_monitor_status(const struct ummu_monitor *monitor);

/**
 * ummu_monitor_fd - a descriptor to poll for "events are waiting"
 *
 * Readable (POLLIN) while ummu_monitor_read() would return events, and once
 * more after an event was dropped by ummu_monitor_unwatch(), until that has
 * returned 0.  It belongs to the monitor: do not read, write or close it.
 *
 * The first call may have to make the descriptor.  Where that fails it returns,
 * with an explanation, -EMFILE, -ENFILE or -ENOMEM; on uffd also -EAGAIN or
 * -EPERM, if a reader thread has to be started and cannot be.  In a child of
 * fork it returns -ECHILD.  Check for this: poll() ignores a negative
 * descriptor.
 */
int ummu_monitor_fd(const struct ummu_monitor *monitor);

/**
 * struct ummu_watch - one watched range (public prefix of the handle)
 * @proof:    a word that holds @expected only while the watch is valid beyond
 *            doubt; read-only
 * @expected: what *@state holds while the watch is valid, never 0
 * @state:    the watch's own word; read-only.  The same as @proof where one
 *            load is the whole answer
 * @settle:   NULL there; otherwise the monitor has to look for invalidations
 *            in flight before *@state can be trusted
 *
 * The fields are constant for the life of the watch.
 */
struct ummu_watch {
	const uint64_t *proof;
	uint64_t expected;
	const uint64_t *state;
	const struct ummu_monitor *settle;
};

/**
 * ummu_monitor_watch - start to watch a range
 * @addr, @length: the range; widened to whole pages.  On uffd all of it must
 *                 be mapped, and stay mapped until this call returns; kmod
 *                 watches addresses, mapped or not
 * @cookie:        the caller's name for the watch; comes back in its event
 * @watch_p:       receives the handle; ummu_monitor_unwatch() frees it
 *
 * Overlapping and equal ranges are fine.  A watch reports its first
 * invalidation and is then spent: it stays invalid until it is unwatched.
 *
 * uffd registers with the kernel the whole mappings in which the range lies,
 * and so splits none.  A watch still reports no more than its range.  But an
 * unmap of the rest of such a mapping is reported to this library, and costs
 * more.
 *
 * Errors, after each of which nothing is watched:
 *   -EINVAL      length 0, or the range wraps; kmod: or no process can have
 *                such addresses
 *   -ENOMEM      no memory; uffd: or too many mappings are registered.  A
 *                quarter of vm.max_map_count always may be, and more while the
 *                process has fewer mappings than half of it
 *   -EAGAIN      use the memory uncached this time.  uffd: the range was given
 *                back with madvise() a moment ago, invalidations keep coming,
 *                or no thread or descriptor is left to start the reader thread
 *                with; kmod: too many events were not read
 *   -ENOSPC      kmod: a limit of the module is reached (its parameters
 *                watches_per_file, watches_per_process, watches_per_user)
 *   -EFAULT      uffd: part of the range is not mapped
 *   -EOPNOTSUPP  uffd, none: the backend cannot watch this kind of mapping.
 *                uffd: or /proc/self/maps cannot be read, or the range contains
 *                the stack of the reader thread
 *   -EBUSY       uffd: another userfaultfd owns part of the mappings in which
 *                the range lies.  Any backend: somebody has claimed the
 *                monitor, see ummu_monitor_claim()
 *   -EPERM       uffd: a shared mapping that is read-only for good; or a
 *   seccomp
 *                filter forbids this thread to ask the userfaultfd, or the
 *                process to start the reader thread again
 *   -ECHILD, -EBADF  see ummu_monitor_status()
 */
int ummu_monitor_watch(struct ummu_monitor *monitor, const void *addr,
		       size_t length, uint64_t cookie,
		       struct ummu_watch **watch_p);

/**
 * ummu_monitor_unwatch - end a watch and free its handle
 *
 * An event of this watch that was not read yet is dropped.  NULL is allowed.
 */
void ummu_monitor_unwatch(struct ummu_monitor *monitor,
			  struct ummu_watch *watch);

/**
 * ummu_monitor_release - give the kernel back what only ended watches needed
 * @addr, @length: the range; widened to whole pages
 *
 * On uffd the mapping of a watch stays registered with the kernel for one to
 * two seconds after the watch has ended, as most memory is watched again soon.
 * When this call returns, no mapping in the range is registered unless a live
 * watch needs it; such a mapping stays registered, all of it.  Call it before
 * memory is handed to somebody else, such as a userfaultfd of the program's
 * own.  The call takes as long as the kernel needs to walk the mappings.
 *
 * Returns 0; -EINVAL (length 0, or the range wraps), -ECHILD, -EBADF.
 */
int ummu_monitor_release(struct ummu_monitor *monitor, const void *addr,
			 size_t length);

/** ummu_monitor_settle - out-of-line half of the two inline checks below. */
bool ummu_monitor_settle(const struct ummu_monitor *monitor);

/**
 * ummu_watch_spent - is the watch known to be invalid, without looking?
 *
 * One load, no system call.  True means invalid for good; false proves
 * nothing.  Tells "invalid" from "could not find out" after
 * ummu_watch_valid() said false.
 */
static inline bool ummu_watch_spent(const struct ummu_watch *watch)
{
	return __atomic_load_n(watch->state, __ATOMIC_ACQUIRE) !=
	       watch->expected;
}

/**
 * ummu_watch_valid - has no page of the range left since it was watched?
 *
 * False once an operation that removed or replaced a page of the range has
 * completed in any thread.  Never true again after that.  False too when the
 * monitor could not find out (see ummu_watch_spent()), in bounded time or, on
 * uffd, because a seccomp filter forbids this thread to ask; and in a child of
 * fork.
 *
 * Cost: one load and a predictable branch; on uffd one short system call too.
 * Memory ordering: an acquire of what the invalidating thread did.
 */
static inline bool ummu_watch_valid(const struct ummu_watch *watch)
{
	if (__builtin_expect(__atomic_load_n(watch->proof, __ATOMIC_ACQUIRE) ==
				     watch->expected,
			     1))
		return true;
	return watch->settle && ummu_monitor_settle(watch->settle) &&
	       !ummu_watch_spent(watch);
}

/**
 * struct ummu_checkpoint - a moment to compare with, by ummu_changed()
 * @proof:      a word that holds @seen only while nothing has changed beyond
 *              doubt; read-only
 * @seen:       the generation at that moment, never 0
 * @generation: the monitor's generation word; read-only
 * @settle:     as in struct ummu_watch
 */
struct ummu_checkpoint {
	const uint64_t *proof;
	uint64_t seen;
	const uint64_t *generation;
	const struct ummu_monitor *settle;
};

/**
 * ummu_monitor_checkpoint - remember this moment
 *
 * Everything invalidated before the call counts as seen.  The checkpoint is
 * the caller's memory and may be used until the monitor is closed.
 */
void ummu_monitor_checkpoint(const struct ummu_monitor *monitor,
			     struct ummu_checkpoint *checkpoint);

/**
 * ummu_changed - was any watch of the monitor hit since the checkpoint?
 *
 * True also when the monitor could not find out, and in a child of fork.
 * Cost and ordering as ummu_watch_valid().
 */
static inline bool ummu_changed(const struct ummu_checkpoint *checkpoint)
{
	if (__builtin_expect(__atomic_load_n(checkpoint->proof,
					     __ATOMIC_ACQUIRE) ==
				     checkpoint->seen,
			     1))
		return false;
	return !checkpoint->settle ||
	       !ummu_monitor_settle(checkpoint->settle) ||
	       __atomic_load_n(checkpoint->generation, __ATOMIC_ACQUIRE) !=
		       checkpoint->seen;
}

/**
 * ummu_monitor_generation - the count of invalidations so far
 *
 * Starts at 1, never falls, never wraps in practice (64 bits); 0 in a child
 * of fork.  Includes every operation that had returned before the call, in
 * any thread; makes no system call as a rule.
 */
uint64_t ummu_monitor_generation(const struct ummu_monitor *monitor);

/** Why a watch was hit; informational, it differs between kernels. */
enum ummu_reason {
	UMMU_REASON_UNMAP = 1, /* the addresses were unmapped or mapped over */
	UMMU_REASON_CLEAR = 2, /* the pages were given back, the mapping stays */
	UMMU_REASON_MOVE = 3, /* the mapping moved to another address; kmod calls
			       * that UNMAP */
	UMMU_REASON_FAILED = 4, /* the monitor failed: nothing is known any more */
	UMMU_REASON_OTHER = 5, /* other pages took their place, or not known */
};

/**
 * struct ummu_event - one watch was hit
 * @cookie:     of the watch
 * @hint_start: first byte that was hit, clipped to the watch
 * @hint_end:   first byte after that
 * @reason:     enum ummu_reason
 * @reserved:   0
 *
 * The hint tells what the first invalidation hit.  What happened to the rest
 * of the range later is not reported: the watch is spent.
 */
struct ummu_event {
	uint64_t cookie;
	uint64_t hint_start;
	uint64_t hint_end;
	uint32_t reason;
	uint32_t reserved;
};

/**
 * ummu_monitor_read - fetch events, oldest first
 * @events: room for @max of them, the caller's memory
 *
 * Never blocks: poll ummu_monitor_fd() to wait.  A watch has at most one event
 * in its life, so events cannot overflow and none is lost.  Looks for
 * invalidations in flight before it says 0.  After fewer than @max the
 * descriptor is quiet until the next event: for edge-triggered epoll, read
 * until then.
 *
 * Returns the number of events, 0 when there is nothing to say, -ECHILD, or
 * -EBUSY if somebody has claimed the monitor: ummu_monitor_claim().
 */
int ummu_monitor_read(struct ummu_monitor *monitor, struct ummu_event *events,
		      size_t max);

struct ummu_reader; /* opaque */

/**
 * ummu_monitor_claim - be the one reader of a monitor
 * @reader_p: receives the right to watch and read; ummu_reader_drop() ends it
 *
 * For libraries that build on a monitor and whose cookies mean something to
 * them alone, as those of the registration cache do: no event of somebody
 * else's watch may reach such a library, and none of its own may reach somebody
 * else.  Until the claim is dropped, ummu_monitor_watch() and _read() answer
 * -EBUSY; all other calls work as before.
 *
 * Errors: -EBUSY if it is claimed, or somebody has watches on it or is reading
 * it at this moment; -ECHILD, -EBADF as ummu_monitor_status().
 */
int ummu_monitor_claim(struct ummu_monitor *monitor,
		       struct ummu_reader **reader_p);

/**
 * ummu_reader_watch - ummu_monitor_watch() for the one who claimed the monitor
 *
 * ummu_monitor_unwatch() ends the watch.
 */
int ummu_reader_watch(struct ummu_reader *reader, const void *addr,
		      size_t length, uint64_t cookie,
		      struct ummu_watch **watch_p);

/** ummu_reader_read - ummu_monitor_read(), for the one who claimed it. */
int ummu_reader_read(struct ummu_reader *reader, struct ummu_event *events,
		     size_t max);

/**
 * ummu_reader_drop - give the claim up, before the monitor is closed
 *
 * Unwatch first.  Anybody may read the events of a watch that is left, and
 * nobody can claim the monitor until it is unwatched.  NULL is allowed.
 */
void ummu_reader_drop(struct ummu_reader *reader);

/** Ways in which pages leave; the rows of the operation matrix. */
enum ummu_operation {
	UMMU_OP_MUNMAP,
	UMMU_OP_MAP_FIXED, /* mmap() over the range */
	UMMU_OP_MREMAP_MOVE,
	UMMU_OP_MREMAP_SHRINK,
	UMMU_OP_MREMAP_DONTUNMAP,
	UMMU_OP_MREMAP_ONTO, /* another mapping is moved onto the range */
	UMMU_OP_BRK,
	UMMU_OP_MADV_DONTNEED,
	UMMU_OP_MADV_DONTNEED_LOCKED,
	UMMU_OP_MADV_REMOVE,
	UMMU_OP_MADV_FREE,
	UMMU_OP_MADV_GUARD,
	UMMU_OP_PROCESS_MADVISE, /* by another process */
	UMMU_OP_PUNCH_HOLE,	 /* fallocate(), by any process */
	UMMU_OP_FTRUNCATE,	 /* by any process */
	UMMU_OP_SHMDT,
	UMMU_OP_SHM_REMAP, /* shmat(SHM_REMAP) over the range */
	UMMU_OP_REMAP_FILE_PAGES,
	UMMU_OP_UFFDIO_MOVE,
	UMMU_OP_COLLAPSE, /* MADV_COLLAPSE, khugepaged */
	UMMU_OP_COUNT
};

enum ummu_claim {
	UMMU_CLAIM_NONE = 0,   /* the backend cannot see it */
	UMMU_CLAIM_CAUGHT = 1, /* G1 and G2 hold */
	UMMU_CLAIM_EARLY = 2,  /* G1 holds; the report comes before the pages
				 * go, so a registration of that very range made
				 * in between can stay stale */
};

/** Whole-backend properties, in struct ummu_caps. */
enum ummu_caps_flags {
	UMMU_CAPS_EXACT = 1 << 0,    /* watches may cover memory nobody asked
				       * for: a cache may merge and widen */
	UMMU_CAPS_ONE_LOAD = 1 << 1, /* the inline checks make no system call */
	UMMU_CAPS_ANY_FILE = 1 << 2, /* file mappings and SysV shared memory can
				       * be watched, not just anonymous memory,
				       * memfd and hugetlb */
	UMMU_CAPS_SHARED_TABLE = 1
				 << 3, /* the reader thread shares the program's
					  * table of descriptors, as close_range()
					  * and unshare() are refused: a program
					  * that closes them while a forked child
					  * keeps copies waits in munmap() */
};

/**
 * struct ummu_caps - what a backend promises, operation by operation (G6)
 * @size:     set by the caller: sizeof(struct ummu_caps)
 * @flags:    enum ummu_caps_flags
 * @grace_ns: how long a range given back with madvise() is refused, in ns
 * @claims:   enum ummu_claim by enum ummu_operation, for every mapping that
 *            ummu_monitor_watch() accepts
 */
struct ummu_caps {
	size_t size;
	uint64_t flags;
	uint64_t grace_ns;
	uint8_t claims[64];
};

/**
 * ummu_monitor_caps - fill what @caps->size has room for
 *
 * On uffd it starts the reader thread if none has run yet, as only that thread
 * finds out whether UMMU_CAPS_SHARED_TABLE applies.
 *
 * Returns 0, or -EINVAL, with an explanation, if the size is 0 or over 4096.
 */
int ummu_monitor_caps(const struct ummu_monitor *monitor,
		      struct ummu_caps *caps);

/**
 * struct ummu_monitor_stats - counters since the monitor was opened
 * @size: set by the caller
 *
 * The second group counts for the whole process, as the uffd backend is
 * shared by its monitors; it is 0 on other backends.
 */
struct ummu_monitor_stats {
	size_t size;
	uint64_t watches;	/* live now, spent ones included */
	uint64_t watched;	/* ummu_monitor_watch() calls that succeeded */
	uint64_t refused;	/* and that did not */
	uint64_t invalidations; /* watches hit */
	uint64_t events_read;	/* through ummu_monitor_read() */

	uint64_t kernel_events;	    /* messages read from the kernel */
	uint64_t drained_by_lookup; /* of those, read by a thread that was
				     * checking and not by the reader thread */
	uint64_t probes_in_flight;  /* probes that found an event in flight */
	uint64_t unsettled;	    /* checks that gave up and said "invalid" */
	uint64_t registered;	    /* mappings registered now, needed or not */
};

/** ummu_monitor_stats - fill what @stats->size has room for; -EINVAL as above. */
int ummu_monitor_stats(const struct ummu_monitor *monitor,
		       struct ummu_monitor_stats *stats);

#ifdef __cplusplus
}
#endif

#endif
