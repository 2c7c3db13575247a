/* SPDX-License-Identifier: MIT */
/* uffd-leave.c - unregister what nobody needs any more, outside the lock. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "mappings.h"
#include "uffd.h"

enum left {
	LEFT,	 /* it is not registered any more; from begin(): it may leave */
	NEEDED,	 /* a live watch needs it */
	KEPT,	 /* it could not be unregistered now: try again later */
	FOREIGN, /* not ours: another userfaultfd has it, or nobody has */
};

/* model: LEAVE_BEGIN.  See uffd.h. */
static enum left begin(struct uffd_process *process,
		       const struct uffd_range *range, bool patient)
{
	enum left left = LEFT;
	struct uffd_guard guard;

	ummu_uffd_lock(process, &guard);
	while (process->is_leaving && patient)
		ummu_uffd_wait(process);
	if (process->state == UFFD_IDLE) {
		/* A sweep unregistered all; leave() must not register again. */
		left = FOREIGN;
	} else if (process->is_leaving) {
		left = KEPT;
	} else if (ummu_interval_first(&process->watches, range->start,
				       range->last)) {
		left = NEEDED;
	} else {
		process->is_leaving = true;
		process->leaving = *range;
	}
	ummu_uffd_unlock(process, &guard);
	return left;
}

/* The range stays registered: record that again.  The caller holds the lock. */
static void put_back(struct uffd_process *process,
		     const struct uffd_range *range)
{
	if (process->ledger.unused) {
		ummu_uffd_ledger_add(process, range);
		ummu_uffd_ledger_unneeded(process, range);
	} else {
		process->ledger.strays = true;
	}
	/* The sweep may be past this range, so END_COMMIT must fail. */
	if (process->state == UFFD_ENDING)
		process->state = UFFD_RUNNING;
}

/* model: LEAVE_END.  @kept: the range is still registered. */
static void end(struct uffd_process *process, const struct uffd_range *range,
		bool kept)
{
	struct uffd_guard guard;

	ummu_uffd_lock(process, &guard);
	process->is_leaving = false;
	if (kept)
		put_back(process, range);
	pthread_cond_broadcast(&process->changed);
	ummu_uffd_unlock(process, &guard);
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

/* Another thread is unregistering something: put this off. */
static void keep(struct uffd_process *process, const struct uffd_range *range)
{
	struct uffd_guard guard;

	ummu_uffd_lock(process, &guard);
	put_back(process, range);
	ummu_uffd_unlock(process, &guard);
}

/*
 * Before Linux 6.18 UFFDIO_UNREGISTER also unregisters what belongs to another
 * userfaultfd.  The addresses may have changed hands without an event: shmdt(),
 * for one, sends none.  So register the range first, which fails with EBUSY if
 * another userfaultfd has it.
 */
static enum left leave(struct uffd_process *process,
		       const struct uffd_tools *tools,
		       const struct uffd_range *range, bool patient)
{
	enum left left = begin(process, range, patient);

	if (left == KEPT)
		keep(process, range);
	if (left != LEFT)
		return left;
	if (ummu_uffd_register(tools->fd, range))
		left = FOREIGN;
	else if (ummu_uffd_unregister(tools->fd, range))
		left = KEPT;
	end(process, range, left == KEPT);
	return left;
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
		/* The reader calls: no unmap waits for all the extents. */
		if (!patient)
			ummu_uffd_drain(process, tools->fd);
		taken = ummu_uffd_ledger_take(process, within, before, &extent,
					      &cut);
		ummu_uffd_unlock(process, &guard);
		if (taken)
			leave_extent(process, tools, &extent, cut, patient);
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

	if (process->any_file) {
		ummu_mappings_begin(walk, tools->maps_fd, 0);
		return fd;
	}
	fd = open("/proc/thread-self/smaps", O_RDONLY | O_CLOEXEC);
	ummu_mappings_begin_smaps(walk, fd);
	return fd;
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
		switch (leave(process, tools, &range, false)) {
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
