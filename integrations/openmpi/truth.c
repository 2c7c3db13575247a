/* SPDX-License-Identifier: MIT */
/*
 * truth.c - the monitor of this process, and who may look into the cache when.
 *
 * Why no lookup that begins after an unmapping has returned gets what it hit,
 * with any number of threads (G1 of ummunotify(7)):
 *
 *  1. A registration is watched before it is pinned, and enters grdma's tree
 *     as a valid one only if the watch is still valid after the pinning; so what
 *     has gone since then moved the generation and queued an event.
 *  2. A lookup holds the lock shared from the moment it compares the generation
 *     until grdma has answered.  If the generation has moved it lets go, takes
 *     the lock alone, takes out what the events name, and compares again.
 *  3. The checkpoint it compares with is taken before the events are read, and
 *     stored after all of them were dealt with, all with the lock held alone.  So
 *     "nothing has changed" means: every event until the checkpoint was dealt
 *     with, and there was none since.  Nobody believes a checkpoint whose events
 *     another thread is still working on.
 *  4. With a bound on the repetitions the lookup avoids the cache: it registers
 *     anew for one transfer, and is right too.
 *
 * grdma itself marks a registration that left with neither its lock nor in an
 * order that lookups and deregistrations in other threads could rely on: one
 * that is found, or dropped, while it is being marked can hang or be freed
 * twice.  So marking is done with the lock held alone, and each of its calls
 * that finds, drops or frees registrations holds the lock shared.
 *
 * Deadlocks: the lock is the first that a thread takes.  With it held shared
 * the BTL pins and unpins, alone the callbacks of Open MPI's hooks run
 * (libfabric's, UCX's); neither comes back to a lookup, and the hooks in libc,
 * which run anywhere, take no lock at all (announced.h).  Those that
 * wait for the lock alone are not starved: whoever comes after the
 * generation has moved wants it alone too.
 */
#define _GNU_SOURCE
#include "truth.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "abi.h"
#include "announced.h"
#include "base/wipe.h"
#include "caches.h"

/* How often a lookup takes out what has gone before it avoids the cache. */
#define TRIES 4

#define EVENTS 64

struct ummu_ompi_counters ummu_ompi_counters;

/**
 * struct truth - what this process knows
 * @monitor:    NULL while it is not open
 * @here:       a word that reads 0 in a child of fork; NULL until the first open
 * @lock:       as above
 * @checkpoint: what lookups compare with; written with @lock held alone
 * @hooks:      take in what hooks in libc announce
 */
static struct truth {
	struct ummu_monitor *monitor;
	uint64_t *here;
	pthread_rwlock_t lock;
	struct ummu_checkpoint checkpoint;
	bool hooks;
} truth = { .lock = PTHREAD_RWLOCK_INITIALIZER };

/*
 * The range that this thread tells of, empty if none.  Relaxed atomics: a signal
 * handler of this thread may ask in between, and half of a range is none.
 *
 * The model is for speed, and more: the usual one may allocate at the first
 * access, and ummu_ompi_telling() is asked inside of allocators.
 */
static __thread struct ummu_ompi_range told
	__attribute__((tls_model("initial-exec")));

bool ummu_ompi_here(void)
{
	/* Relaxed: set before the first lookup can begin, cleared after the last. */
	return truth.here && __atomic_load_n(truth.here, __ATOMIC_RELAXED);
}

const char *ummu_ompi_backend(void)
{
	return truth.monitor ? ummu_monitor_backend(truth.monitor) : "none";
}

bool ummu_ompi_wants_hooks(void)
{
	return truth.hooks;
}

/* Is there a way out that memory/patcher sees and this backend does not? */
static bool hooks_see_more(const struct ummu_monitor *monitor)
{
	static const enum ummu_operation hooked[] = {
		UMMU_OP_MUNMAP,	   UMMU_OP_MAP_FIXED,	  UMMU_OP_MREMAP_MOVE,
		UMMU_OP_BRK,	   UMMU_OP_MADV_DONTNEED, UMMU_OP_MADV_REMOVE,
		UMMU_OP_MADV_FREE, UMMU_OP_SHMDT,	  UMMU_OP_SHM_REMAP,
	};
	struct ummu_caps caps = { .size = sizeof(caps) };
	size_t i;

	if (ummu_monitor_caps(monitor, &caps))
		return true;
	for (i = 0; i < sizeof(hooked) / sizeof(*hooked); i++)
		if (caps.claims[hooked[i]] == UMMU_CLAIM_NONE)
			return true;
	return false;
}

int ummu_ompi_open(void)
{
	struct ummu_monitor *monitor;
	int error;

	if (!truth.here)
		truth.here = ummu_wipe_alloc((size_t)sysconf(_SC_PAGESIZE));
	if (!truth.here)
		return -errno;
	error = ummu_monitor_open(NULL, &monitor);
	if (error)
		return error;
	truth.monitor = monitor;
	truth.hooks = hooks_see_more(monitor);
	ummu_monitor_checkpoint(monitor, &truth.checkpoint);
	/* Relaxed: as in ummu_ompi_here(). */
	__atomic_store_n(truth.here, 1, __ATOMIC_RELAXED);
	return 0;
}

void ummu_ompi_close(void)
{
	__atomic_store_n(truth.here, 0, __ATOMIC_RELAXED);
	ummu_monitor_close(truth.monitor);
	truth.monitor = NULL;
}

bool ummu_ompi_telling(uint64_t start, uint64_t end)
{
	return __atomic_load_n(&told.start, __ATOMIC_RELAXED) == start &&
	       __atomic_load_n(&told.end, __ATOMIC_RELAXED) == end;
}

static void set_told(uint64_t start, uint64_t end)
{
	__atomic_store_n(&told.start, start, __ATOMIC_RELAXED);
	__atomic_store_n(&told.end, end, __ATOMIC_RELAXED);
}

void ummu_ompi_tell(uint64_t start, uint64_t end)
{
	if (!ummu_ompi_here())
		return;
	set_told(start, end);
	opal_mem_hooks_release_hook((void *)(uintptr_t)start, end - start,
				    false);
	set_told(0, 0);
}

/* With the lock held alone. */
static void take_out(uint64_t start, uint64_t end)
{
	ummu_ompi_forget(start, end);
	ummu_ompi_tell(start, end);
}

static void take_out_announced(void)
{
	struct ummu_ompi_range ranges[UMMU_OMPI_ANNOUNCED];
	size_t i, count = ummu_ompi_take_announced(ranges);

	/* Who is fed by the hooks was told by them. */
	for (i = 0; i < count; i++)
		ummu_ompi_forget(ranges[i].start, ranges[i].end);
}

/* False in a child of fork.  Ends: nothing is watched while the lock is held. */
static bool take_out_events(void)
{
	struct ummu_event events[EVENTS];
	int i, count;

	while ((count = ummu_monitor_read(truth.monitor, events, EVENTS)) > 0)
		for (i = 0; i < count; i++) {
			ummu_ompi_count(&ummu_ompi_counters.gone);
			take_out(events[i].hint_start, events[i].hint_end);
		}
	return !count;
}

/* With the lock held. */
static bool something_has_gone(void)
{
	return ummu_changed(&truth.checkpoint) || ummu_ompi_announced();
}

void ummu_ompi_catch_up(void)
{
	struct ummu_checkpoint checkpoint;
	int cancel;

	/* Whoever is told writes to its device files, with the lock held. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	pthread_rwlock_wrlock(&truth.lock);
	if (something_has_gone()) {
		ummu_ompi_count(&ummu_ompi_counters.drains);
		ummu_monitor_checkpoint(truth.monitor, &checkpoint);
		take_out_announced();
		if (take_out_events())
			truth.checkpoint = checkpoint;
	}
	pthread_rwlock_unlock(&truth.lock);
	pthread_setcancelstate(cancel, NULL);
}

static enum ummu_ompi_look begin_lookup(void)
{
	int i;

	if (!ummu_ompi_here())
		return UMMU_OMPI_STRANGER;
	ummu_ompi_count(&ummu_ompi_counters.lookups);
	for (i = 0; i < TRIES; i++) {
		pthread_rwlock_rdlock(&truth.lock);
		if (!something_has_gone())
			return UMMU_OMPI_TRUST;
		pthread_rwlock_unlock(&truth.lock);
		ummu_ompi_catch_up();
	}
	ummu_ompi_count(&ummu_ompi_counters.avoided);
	pthread_rwlock_rdlock(&truth.lock);
	return UMMU_OMPI_AVOID;
}

struct ummu_ompi_call ummu_ompi_begin_lookup(void)
{
	struct ummu_ompi_call call;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &call.cancel);
	call.look = begin_lookup();
	return call;
}

static enum ummu_ompi_look begin_use(void)
{
	if (!ummu_ompi_here())
		return UMMU_OMPI_STRANGER;
	pthread_rwlock_rdlock(&truth.lock);
	return UMMU_OMPI_AVOID;
}

struct ummu_ompi_call ummu_ompi_begin_use(void)
{
	struct ummu_ompi_call call;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &call.cancel);
	call.look = begin_use();
	return call;
}

void ummu_ompi_end_lookup(struct ummu_ompi_call call)
{
	if (call.look != UMMU_OMPI_STRANGER)
		pthread_rwlock_unlock(&truth.lock);
	pthread_setcancelstate(call.cancel, NULL);
}

void ummu_ompi_begin_change(void)
{
	if (ummu_ompi_here())
		pthread_rwlock_wrlock(&truth.lock);
}

void ummu_ompi_end_change(void)
{
	if (ummu_ompi_here())
		pthread_rwlock_unlock(&truth.lock);
}

int ummu_ompi_watch(void *base, size_t size, struct ummu_watch **watch_p)
{
	if (!ummu_ompi_here())
		return -ECHILD;
	return ummu_monitor_watch(truth.monitor, base, size, (uintptr_t)base,
				  watch_p);
}

void ummu_ompi_unwatch(struct ummu_watch *watch)
{
	if (ummu_ompi_here())
		ummu_monitor_unwatch(truth.monitor, watch);
}
