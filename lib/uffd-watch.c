/* SPDX-License-Identifier: MIT */
/* uffd-watch.c - begin and end watches. */
#define _GNU_SOURCE
#include <errno.h>

#include "explain.h"
#include "mappings.h"
#include "uffd.h"

static struct uffd_range range_of(const struct watch *watch)
{
	return (struct uffd_range){ watch->range.start, watch->range.last };
}

/* What a watch needs next, or how its attempt ended. */
enum step {
	ARMED,
	AGAIN,	 /* it had to wait, so start over */
	REFUSED, /* the kernel has refused it, with @error */
	IN_GRACE,
	NO_READER,  /* start a reader */
	NO_WORD,    /* make state words */
	NO_EXTENT,  /* make extents */
	NO_MAPPING, /* find out in which mapping the range lies */
	TOO_MANY,
	OUR_STACK,
	LOST,
};

/**
 * struct attempt - one thread's attempt to begin a watch; on its stack
 * @range:   what is to be watched
 * @mapping: the whole mappings around @range, once @known
 * @registered: what is registered for @range
 * @known:   @mapping was found out
 * @error:   -errno of the kernel, when it has refused
 */
struct attempt {
	struct uffd_monitor *monitor;
	struct watch *watch;
	struct uffd_range range, mapping, registered;
	bool known;
	int error;
};

/*
 * Choose what to register: the mapping if it is known, or an extent around the
 * range.  Returns false if the mapping has to be found first.  The caller holds
 * the lock.
 */
static bool choose_range(struct attempt *attempt)
{
	struct uffd_process *process = attempt->monitor->process;
	const struct uffd_extent *extent;

	if (attempt->known) {
		attempt->registered = attempt->mapping;
		return true;
	}
	extent = ummu_uffd_ledger_covers(process, &attempt->range);
	if (!extent)
		return false;
	attempt->registered = (struct uffd_range){ extent->range.start,
						   extent->range.last };
	return true;
}

/* Check what can be checked before arming.  The caller holds the lock. */
static enum step prepare(struct attempt *attempt)
{
	struct uffd_monitor *monitor = attempt->monitor;
	struct uffd_process *process = monitor->process;

	if (ummu_uffd_has_failed(monitor))
		return LOST;
	if (process->state == UFFD_IDLE)
		return NO_READER;
	if (ummu_uffd_in_grace(process, &attempt->range))
		return IN_GRACE;
	if (process->ledger.count >= process->ledger.limit)
		return TOO_MANY;
	if (!process->ledger.unused)
		return NO_EXTENT;
	return ARMED;
}

/*
 * model: WATCH.  Arms and registers in one critical section, so that no event
 * of this range is read in between, and one that is read later finds the watch
 * in the tree.  An older event of the same addresses may spend the new watch:
 * then the caller tries again, and no invalidation is lost.
 *
 * The caller holds the lock.
 */
static enum step arm(struct attempt *attempt)
{
	struct uffd_monitor *monitor = attempt->monitor;
	struct uffd_process *process = monitor->process;
	enum step step;

	step = prepare(attempt);
	if (step != ARMED)
		return step;
	if (!choose_range(attempt))
		return NO_MAPPING;
	if (ummu_uffd_wait_while_leaving(process, &attempt->registered))
		return AGAIN;
	if (ummu_uffd_is_stack(process, &attempt->registered))
		return OUR_STACK;
	/* Never register with a userfaultfd of the program's. */
	if (ummu_descriptor_identity(&process->uffd) == UMMU_NOT_OURS) {
		ummu_uffd_lose(process);
		return LOST;
	}
	if (!ummu_watch_arm(&process->watches, &monitor->queue, attempt->watch))
		return NO_WORD;
	process->state = UFFD_RUNNING; /* makes END_COMMIT fail */
	process->ledger.used = true;
	/* model: REGISTER.  Even if the range seems to be registered. */
	attempt->error = ummu_uffd_register(process->uffd.fd,
					    &attempt->registered);
	if (attempt->error) {
		ummu_watch_disarm(&process->watches, attempt->watch);
		return REFUSED;
	}
	ummu_uffd_ledger_add(process, &attempt->registered);
	return ARMED;
}

static int add_words(struct uffd_monitor *monitor)
{
	struct watch_chunk *chunk = ummu_watch_chunk_new();
	struct uffd_guard members, lock;

	if (!chunk)
		return ummu_explain(-ENOMEM, "no memory for state words");
	ummu_uffd_lock_members(monitor->process, &members);
	ummu_uffd_lock(monitor->process, &lock);
	ummu_watch_chunk_add(&monitor->queue, chunk);
	ummu_uffd_unlock(monitor->process, &lock);
	ummu_uffd_unlock_members(monitor->process, &members);
	return 0;
}

/* The process may have put itself into a sandbox since its first monitor. */
static int start_reader(struct uffd_process *process)
{
	int error = ummu_uffd_reader_start(process, false);

	switch (error) {
	case 0:
	case -ENOMEM:
		return error;
	case -EAGAIN:
	case -EMFILE:
	case -ENFILE:
		return -EAGAIN;
	default:
		return -EPERM;
	}
}

static int find_mapping(struct attempt *attempt)
{
	struct uffd_process *process = attempt->monitor->process;
	struct ummu_descriptor maps;
	struct uffd_guard guard;
	int error = -ENOENT;

	ummu_uffd_lock(process, &guard);
	maps = process->maps;
	ummu_uffd_unlock(process, &guard);
	attempt->mapping = attempt->range;
	if (ummu_descriptor_is_ours(&maps))
		error = ummu_mappings_around(maps.fd, &attempt->mapping.start,
					     &attempt->mapping.last);
	if (error)
		return ummu_uffd_explain_range(process, &attempt->range, error);
	attempt->known = true;
	return 0;
}

/*
 * Do what a step asks for.  The caller does not hold the lock.  Returns 0 to
 * try again, or -errno.
 */
static int help(struct attempt *attempt, enum step step)
{
	struct uffd_process *process = attempt->monitor->process;

	switch (step) {
	case AGAIN:
		return 0;
	case NO_READER:
		return start_reader(process);
	case NO_WORD:
		return add_words(attempt->monitor);
	case NO_EXTENT:
		return ummu_uffd_ledger_grow(process) ?
			       ummu_explain(-ENOMEM, "no memory for a watch") :
			       0;
	case NO_MAPPING:
		return find_mapping(attempt);
	case REFUSED:
		/* The ledger may be out of date: ask what lies there now. */
		if (!attempt->known)
			return find_mapping(attempt);
		return ummu_uffd_explain_range(process, &attempt->range,
					       attempt->error);
	case IN_GRACE:
		return ummu_explain(
			-EAGAIN,
			"the range was given back with madvise() a moment ago: use it uncached this time");
	case TOO_MANY:
		if (ummu_uffd_ledger_extend(process))
			return 0;
		return ummu_explain(
			-ENOMEM,
			"too many mappings are watched for this program to have half of vm.max_map_count: raise that sysctl");
	case OUR_STACK:
		return ummu_explain(
			-EOPNOTSUPP,
			"the range contains the stack of this library's reader thread");
	default:
		return -EBADF; /* ummu_monitor_status() explains it */
	}
}

static int arm_with_help(struct attempt *attempt)
{
	struct uffd_process *process = attempt->monitor->process;
	struct uffd_guard guard;
	enum step step;
	int error;

	for (;;) {
		ummu_uffd_lock(process, &guard);
		step = arm(attempt);
		ummu_uffd_unlock(process, &guard);
		if (step == ARMED)
			return 0;
		error = help(attempt, step);
		if (error)
			return error;
	}
}

/* A watch that was spent meanwhile is left alone: the caller will see that. */
static int register_again(struct attempt *attempt)
{
	struct uffd_process *process = attempt->monitor->process;
	struct uffd_guard guard;
	int error = 0;

	ummu_uffd_lock(process, &guard);
	if (!attempt->watch->spent)
		error = ummu_uffd_register(process->uffd.fd,
					   &attempt->registered);
	ummu_uffd_unlock(process, &guard);
	return error;
}

/* model: UNWATCH.  What it had registered is unregistered later: see uffd.h. */
void ummu_uffd_end_watch(struct uffd_process *process, struct watch *watch)
{
	const struct uffd_range range = range_of(watch);
	struct uffd_guard guard;

	ummu_uffd_lock(process, &guard);
	ummu_watch_disarm(&process->watches, watch);
	ummu_uffd_ledger_unneeded(process, &range);
	ummu_uffd_unlock(process, &guard);
}

int ummu_uffd_start_watch(struct uffd_monitor *monitor, struct watch *watch)
{
	struct uffd_process *process = monitor->process;
	struct attempt attempt = {
		.monitor = monitor,
		.watch = watch,
		.range = range_of(watch),
	};
	int error = arm_with_help(&attempt);

	if (error)
		return error;
	for (int i = 0;; i++) {
		error = ummu_uffd_whole(process, &attempt.range,
					&attempt.registered, i);
		if (error != -ERESTART)
			break;
		error = register_again(&attempt);
		if (error)
			break;
	}
	if (!error)
		return 0;
	ummu_uffd_end_watch(process, watch);
	return ummu_uffd_explain_range(process, &attempt.range, error);
}
