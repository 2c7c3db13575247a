/* SPDX-License-Identifier: MIT */
/* uffd-leave.c - unregister what nobody needs any more, outside the lock. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "mappings.h"
#include "uffd.h"

/*
 * One thread at a time unregisters.  It has the slot from the moment that it
 * takes something out of the ledger until all of that is unregistered or in the
 * ledger again; within that, ->leaving is what it is about to unregister.
 */

enum left {
	LEFT,	 /* it was registered, and is no more */
	NEEDED,	 /* a live watch needs it */
	KEPT,	 /* it could not be unregistered: it is in the ledger again */
	FOREIGN, /* another userfaultfd has it, or none can */
};

/* The caller holds the lock.  Only a reader is not patient: see uffd.h. */
static bool take_slot(struct uffd_process *process,
		      const struct uffd_range *range, bool patient)
{
	while (process->is_leaving && patient)
		ummu_uffd_wait(process);
	if (process->is_leaving)
		return false;
	process->is_leaving = true;
	process->leaving = *range;
	return true;
}

/* model: LEAVE_END */
static void give_slot_back(struct uffd_process *process)
{
	struct uffd_guard guard;

	ummu_uffd_lock(process, &guard);
	process->is_leaving = false;
	pthread_cond_broadcast(&process->changed);
	ummu_uffd_unlock(process, &guard);
}

/* model: LEAVE_BEGIN.  The caller has the slot.  See uffd.h. */
static bool begin(struct uffd_process *process, const struct uffd_tools *tools,
		  const struct uffd_range *range, bool patient)
{
	struct uffd_guard guard;
	bool begun;

	ummu_uffd_lock(process, &guard);
	/* A reader reads on, so that no unmap waits for all mappings. */
	if (!patient)
		ummu_uffd_drain(process, tools->fd);
	begun = !ummu_interval_first(&process->watches, range->start,
				     range->last);
	if (begun)
		process->leaving = *range;
	ummu_uffd_unlock(process, &guard);
	return begun;
}

/* The caller has the slot, so that nobody sees the ledger without it. */
static void put_back(struct uffd_process *process,
		     const struct uffd_range *range)
{
	struct uffd_guard guard;

	ummu_uffd_lock(process, &guard);
	if (process->ledger.unused) {
		ummu_uffd_ledger_add(process, range);
		ummu_uffd_ledger_unneeded(process, range);
	}
	/* A sweep may have passed it by: END_COMMIT must not follow. */
	if (process->state == UFFD_ENDING)
		process->state = UFFD_RUNNING;
	ummu_uffd_unlock(process, &guard);
}

/*
 * Kernels before 6.18 would unregister what another userfaultfd has.  It may
 * have got memory that was unmapped without a word to us, by shmdt() say; so
 * registering it first tells whether it is ours.  The caller has the slot.
 */
static enum left leave(struct uffd_process *process,
		       const struct uffd_tools *tools,
		       const struct uffd_range *range, bool patient)
{
	if (!begin(process, tools, range, patient))
		return NEEDED;
	if (ummu_uffd_register(tools->fd, range))
		return FOREIGN;
	if (!ummu_uffd_unregister(tools->fd, range))
		return LEFT;
	put_back(process, range);
	return KEPT;
}

bool ummu_uffd_wait_while_leaving(struct uffd_process *process,
				  const struct uffd_range *range)
{
	bool waited = false;

	while (process->is_leaving && uffd_overlap(&process->leaving, range)) {
		ummu_uffd_wait(process);
		waited = true;
	}
	return waited;
}

/*
 * Unregister the whole mappings that lie at an extent's addresses now.  They
 * may be larger than the extent, and some may belong to another userfaultfd.
 */
static void leave_mappings(struct uffd_process *process,
			   const struct uffd_tools *tools,
			   const struct uffd_range *extent, bool patient)
{
	struct ummu_mappings walk;
	struct ummu_mapping mapping;

	ummu_mappings_begin(&walk, tools->maps_fd, extent->start);
	while (ummu_mappings_next(&walk, &mapping) > 0 &&
	       mapping.start <= extent->last) {
		const struct uffd_range range = { mapping.start, mapping.last };

		if (!ummu_uffd_is_registered(process, tools->pagemap_fd, &range))
			continue;
		leave(process, tools, &range, patient);
	}
}

/*
 * Where it is slow to ask which mappings lie there, an extent that is not cut
 * is unregistered as one range.  A sweep finds what that misses.
 */
static void leave_extent(struct uffd_process *process,
			 const struct uffd_tools *tools,
			 const struct uffd_range *extent, bool cut,
			 bool patient)
{
	if (cut || ummu_mappings_are_fast(tools->maps_fd))
		leave_mappings(process, tools, extent, patient);
	else
		leave(process, tools, extent, patient);
}

void ummu_uffd_leave_idle(struct uffd_process *process,
			  const struct uffd_tools *tools,
			  const struct uffd_range *within, uint64_t before,
			  bool patient)
{
	struct uffd_range extent;
	struct uffd_guard guard;
	bool cut, taken;

	do {
		ummu_uffd_lock(process, &guard);
		taken = take_slot(process, within, patient);
		if (taken && !ummu_uffd_ledger_take(process, within, before,
						    &extent, &cut)) {
			process->is_leaving = false;
			pthread_cond_broadcast(&process->changed);
			taken = false;
		}
		if (taken)
			process->leaving = extent;
		ummu_uffd_unlock(process, &guard);
		if (taken) {
			leave_extent(process, tools, &extent, cut, patient);
			give_slot_back(process);
		}
	} while (taken);
}

/*
 * Begin a walk over all mappings.  Where the kernel cannot be asked which of
 * them are registered, smaps says so.  Returns a descriptor to close, or -1.
 */
static int open_walk(struct uffd_process *process,
		     const struct uffd_tools *tools, struct ummu_mappings *walk)
{
	int fd = -1;

	/* Who may not be traced, as a set-user-ID program, has no pagemap. */
	if (process->any_file && tools->pagemap_fd >= 0) {
		ummu_mappings_begin(walk, tools->maps_fd, 0);
		return fd;
	}
	fd = open("/proc/thread-self/smaps", O_RDONLY | O_CLOEXEC);
	ummu_mappings_begin_smaps(walk, fd);
	return fd;
}

/* A mapping that the sweep has found registered. */
static enum left leave_found(struct uffd_process *process,
			     const struct uffd_tools *tools,
			     const struct uffd_range *range)
{
	struct uffd_guard guard;
	enum left left;
	bool taken;

	ummu_uffd_lock(process, &guard);
	taken = take_slot(process, range, false);
	ummu_uffd_unlock(process, &guard);
	if (!taken)
		return KEPT;
	left = leave(process, tools, range, false);
	give_slot_back(process);
	return left;
}

/*
 * May the sweep go on?  Called between two mappings, it also drains, so that no
 * unmap waits for the whole sweep.
 */
static bool is_still_ending(struct uffd_process *process, int fd,
			    uint64_t reader)
{
	struct uffd_guard guard;
	bool still;

	ummu_uffd_lock(process, &guard);
	still = process->reader == reader && process->state == UFFD_ENDING;
	if (still)
		ummu_uffd_drain(process, fd);
	ummu_uffd_unlock(process, &guard);
	return still;
}

static uint64_t events_read(const struct uffd_process *process)
{
	return __atomic_load_n(&process->kernel_events, __ATOMIC_RELAXED);
}

/*
 * A mapping that moves during the walk may be missed at both of its places.
 * Its move is in flight before it takes place, so the PROBE at the end finds it
 * in flight, or its event was read meanwhile.
 */
enum uffd_swept ummu_uffd_sweep(struct uffd_process *process,
				const struct uffd_tools *tools, uint64_t reader)
{
	uint64_t before = events_read(process);
	enum uffd_swept swept = UFFD_CLEAN;
	struct ummu_mappings walk;
	struct ummu_mapping mapping;
	bool any = false, interrupted = false;
	int smaps_fd = open_walk(process, tools, &walk);

	while (ummu_mappings_next(&walk, &mapping) > 0) {
		const struct uffd_range range = { mapping.start, mapping.last };
		int registered = mapping.write_protect;

		any = true;
		if (!walk.smaps)
			registered = ummu_uffd_is_registered(process,
							     tools->pagemap_fd,
							     &range);
		if (registered < 0)
			swept = UFFD_CANNOT_TELL;
		if (registered <= 0)
			continue;
		interrupted = !is_still_ending(process, tools->fd, reader);
		if (interrupted)
			break;
		switch (leave_found(process, tools, &range)) {
		case FOREIGN:
			break;
		case LEFT:
			swept = UFFD_NOT_YET;
			break;
		default: /* in the ledger again, or a watch needs it */
			interrupted = true;
		}
	}
	if (smaps_fd >= 0)
		close(smaps_fd);
	if (!any)
		return UFFD_CANNOT_TELL;
	if (interrupted || !is_still_ending(process, tools->fd, reader))
		return UFFD_INTERRUPTED;
	if (ummu_uffd_probe(tools->fd) != UFFD_QUIET ||
	    events_read(process) != before)
		return UFFD_NOT_YET;
	return swept;
}
