/* SPDX-License-Identifier: MIT */
/*
 * uffd-reader.c - the thread that reads the userfaultfd.
 *
 * A thread that unmaps watched memory waits until its event was read.  The
 * reader sees to it that this is soon, even if no other thread looks anything
 * up.  So nothing that the program does may keep the reader from its work:
 *   - it has a table of descriptors of its own, made by close_range() with
 *     CLOSE_RANGE_UNSHARE or by unshare(), so that the program may close or
 *     reuse the numbers;
 *   - it runs with ordinary priority on any CPU, whichever thread started it;
 *   - its stack is a mapping of its own, which no watch may cover;
 *   - it neither allocates nor frees, calls no code of the program, and touches
 *     no thread-local variable: each may unmap memory, or wait for a thread
 *     that does, and so wait for the reader itself.
 * Nor does it stand in the program's way: it ends when nothing is registered
 * any more, and when it is the last thread of the process.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "uffd-abi.h"
#include "uffd-start.h"

/* How often it looks for idle extents, and has the descriptor checked. */
#define TICK_MS 1000

/* Sweeps in one look, while an unmap in flight does not come to its end. */
#define SWEEPS 64

/* How much later than that it may wake up, to spare an idle CPU. */
#define SLACK_NS 100000000UL

/* How many CPUs the mask of its CPUs has; Linux supports fewer. */
#define PROCESSORS 65536

/* Where close_range() is missing, numbers up to this are closed one by one. */
#define MOST_NUMBERS (1U << 20)

/**
 * struct reader - the reader's own state
 * @tools:  the numbers that it reads and unregisters with
 * @serial: its number; it is the current reader while process->reader is this
 * @losses: process->losses when it began, or when it last noticed a loss
 * @lost:   the descriptor was found closed: everything is to be unregistered
 * @shared: it shares the program's table of descriptors
 * @looked: when it last looked for idle extents, by ummu_uffd_now()
 */
struct reader {
	struct uffd_process *process;
	struct uffd_tools tools;
	uint64_t serial;
	uint64_t losses;
	bool lost;
	bool shared;
	uint64_t looked;
};

/* What it may not change stays as the thread inherited it. */
static void run_as_anybody(void)
{
	const struct sched_param ordinary = { .sched_priority = 0 };
	unsigned char all[PROCESSORS / 8];

	memset(all, 0xff, sizeof(all));
	sched_setscheduler(0, SCHED_OTHER, &ordinary);
	setpriority(PRIO_PROCESS, 0, 0);
	syscall(SYS_sched_setaffinity, 0, sizeof(all), all);
	prctl(PR_SET_TIMERSLACK, SLACK_NS, 0, 0, 0);
	prctl(PR_SET_NAME, "ummunotify", 0, 0, 0);
}

static void close_numbers(unsigned int first, unsigned int last)
{
	if (first > last || !syscall(SYS_close_range, first, last, 0))
		return;
	if (last > MOST_NUMBERS)
		last = MOST_NUMBERS;
	for (unsigned int fd = first; fd <= last; fd++)
		syscall(SYS_close, fd);
}

/*
 * close_range() does not copy the numbers above our highest one.  The others
 * that are not ours are closed at once: a copy of a pipe's end or of a socket
 * would keep the peer from seeing that the program has closed it.
 */
static bool take_own_table(const struct uffd_start *start)
{
	unsigned int next = 0;

	if (syscall(SYS_close_range, start->numbers[start->count - 1] + 1, ~0U,
		    UMMU_CLOSE_RANGE_UNSHARE) &&
	    unshare(CLONE_FILES))
		return false;
	for (size_t i = 0; i < start->count; i++) {
		if (start->numbers[i] > 0)
			close_numbers(next, (unsigned int)start->numbers[i] - 1);
		next = (unsigned int)start->numbers[i] + 1;
	}
	close_numbers(next, ~0U);
	return true;
}

/* Tell the thread that waits in uffd-start.c. */
static void report(struct uffd_start *start, struct reader *self)
{
	struct uffd_process *process = start->process;
	struct uffd_guard guard;

	ummu_uffd_lock(process, &guard);
	start->stack->thread = (pid_t)syscall(SYS_gettid);
	if (!start->error) {
		self->serial = ++process->readers;
		self->losses = process->losses;
		process->reader = self->serial;
		process->reader_bells = start->bells;
		process->state = UFFD_RUNNING;
		process->table_known = true;
		process->table_shared = self->shared;
	}
	start->done = true;
	pthread_cond_broadcast(&process->changed);
	ummu_uffd_unlock(process, &guard);
}

static bool begin(struct uffd_start *start, struct reader *self)
{
	*self = (struct reader){
		.process = start->process,
		.tools = start->tools,
		.looked = ummu_uffd_now(),
	};
	run_as_anybody();
	self->shared = !take_own_table(start);
	if (ummu_uffd_probe(self->tools.fd) == UFFD_REFUSED) {
		start->error = -EPERM;
		start->what = "ioctl (by a seccomp filter?)";
	}
	report(start, self);
	return self->serial != 0;
}

/*
 * Wait for events, or for the next look.  A filter that was put over all threads
 * may refuse to; then look often.  Where the table is shared, the number may be
 * closed, and stand for another file: then this waits in vain, but for no longer
 * than to the next look, which finds out.
 *
 * By syscall(), as a sanitizer takes the numbers of two tables for the same
 * descriptors.
 */
static void wait_for_events(const struct reader *self)
{
	const struct timespec nap = { .tv_nsec = 1000000 };
	struct timespec tick = { .tv_sec = TICK_MS / 1000 };
	struct pollfd uffd = { .fd = self->tools.fd, .events = POLLIN };
	long ready = syscall(SYS_ppoll, &uffd, 1, &tick, NULL, 0);

	if ((ready < 0 && errno != EINTR) || uffd.revents & ~POLLIN)
		syscall(SYS_nanosleep, &nap, NULL);
}

/*
 * Has the descriptor been lost?  Lookups may have found that out.  Where the
 * table is shared, the number may have been closed, and perhaps used again.
 */
static bool has_lost(const struct reader *self)
{
	const struct uffd_process *process = self->process;

	if (self->losses != process->losses)
		return true;
	return self->shared &&
	       ummu_descriptor_identity(&process->uffd) == UMMU_NOT_OURS;
}

/* Returns false if another reader has taken over. */
static bool read_events(struct reader *self)
{
	struct uffd_process *process = self->process;
	struct uffd_guard guard;
	bool mine;

	ummu_uffd_lock(process, &guard);
	mine = process->reader == self->serial;
	if (mine && has_lost(self)) {
		if (self->losses == process->losses)
			ummu_uffd_lose(process);
		self->losses = process->losses;
		self->lost = true;
	}
	/* In a table of its own the descriptor is still open. */
	if (mine && !(self->lost && self->shared))
		ummu_uffd_drain(process, self->tools.fd);
	ummu_uffd_unlock(process, &guard);
	return mine;
}

/* Is nothing registered, by the ledger?  The caller holds the lock. */
static bool is_needless(const struct reader *self)
{
	const struct uffd_process *process = self->process;

	return process->reader == self->serial && !process->starting &&
	       !process->is_leaving && !process->watches.root &&
	       (self->lost || !process->ledger.tree.root);
}

/* model: END_DECIDE.  *events receives how many events were read so far. */
static bool decide_to_end(struct reader *self, uint64_t *events)
{
	struct uffd_process *process = self->process;
	struct uffd_guard guard;
	bool ending;

	ummu_uffd_lock(process, &guard);
	ending = is_needless(self);
	if (process->reader == self->serial)
		process->state = ending ? UFFD_ENDING : UFFD_RUNNING;
	*events = process->kernel_events;
	ummu_uffd_unlock(process, &guard);
	return ending;
}

/*
 * model: END_COMMIT.  Ends if nothing has changed since END_DECIDE, as then the
 * sweep's result still holds.  Whatever could have changed it shows:
 *   - arming a watch makes the state RUNNING, even if it has ended since;
 *   - what another thread is unregistering is in ->leaving, and is in the
 *     ledger again if that fails;
 *   - a mapping that moved behind the sweep is in flight, or its event was
 *     read.
 */
static bool commit_to_end(struct reader *self, enum uffd_swept swept,
			  uint64_t events)
{
	struct uffd_process *process = self->process;
	struct uffd_guard guard;
	bool ended;

	ummu_uffd_lock(process, &guard);
	/* If the kernel does not tell, only what was never used is empty. */
	ended = (swept == UFFD_CLEAN ||
		 (swept == UFFD_CANNOT_TELL && !process->ledger.used)) &&
		process->state == UFFD_ENDING && is_needless(self) &&
		((self->lost && self->shared) ||
		 (process->kernel_events == events &&
		  ummu_uffd_probe(self->tools.fd) == UFFD_QUIET));
	if (ended) {
		process->state = UFFD_IDLE;
		process->reader = 0;
		ummu_uffd_ledger_clear(&process->ledger);
	} else if (process->reader == self->serial) {
		process->state = UFFD_RUNNING;
	}
	pthread_cond_broadcast(&process->changed);
	ummu_uffd_unlock(process, &guard);
	return ended;
}

/* Returns true if nothing is registered; there is then no reader any more. */
static bool try_to_end(struct reader *self)
{
	enum uffd_swept swept = UFFD_CLEAN;
	int rounds = SWEEPS;
	uint64_t events;

	do {
		if (!decide_to_end(self, &events))
			return false;
		/* In a shared table, the close ended all registrations. */
		if (!self->lost || !self->shared)
			swept = ummu_uffd_sweep(self->process, &self->tools,
						self->serial);
	} while (swept == UFFD_NOT_YET && --rounds && !sched_yield());
	return commit_to_end(self, swept, events);
}

/* Has the first thread ended?  It stays a zombie as long as others run. */
static bool leader_is_gone(void)
{
	char text[512], *state;
	int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	ssize_t bytes;

	if (fd < 0)
		return false;
	bytes = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (bytes <= 0)
		return false;
	text[bytes] = '\0';
	state = strrchr(text, ')');
	return state && !strncmp(state, ") Z", 3);
}

/*
 * Have all threads of the program ended, main()'s by pthread_exit()?  A process
 * ends with its last thread, which must not be this one.
 */
static bool is_last_thread(void)
{
	struct stat tasks;

	/* Two links, and one for each thread: the first one and this one. */
	return !stat("/proc/self/task", &tasks) && tasks.st_nlink <= 4 &&
	       leader_is_gone();
}

/* Once a second, and after a loss.  Returns true if the reader has to end. */
static bool look_around(struct reader *self)
{
	static const struct uffd_range everything = { 0, UINT64_MAX };
	uint64_t now = ummu_uffd_now();

	if (now - self->looked < TICK_MS * 1000000ULL && !self->lost)
		return false;
	self->looked = now;
	/* Relaxed: any lookup may be the one that does it. */
	__atomic_store_n(&self->process->recheck, true, __ATOMIC_RELAXED);
	if (!self->lost)
		ummu_uffd_leave_idle(self->process, &self->tools, &everything,
				     now - UFFD_LINGER_NS, false);
	return try_to_end(self) || is_last_thread();
}

void *ummu_uffd_reader(void *argument)
{
	struct reader self;

	if (!begin(argument, &self))
		return NULL;
	do
		wait_for_events(&self);
	while (read_events(&self) && !look_around(&self));
	return NULL;
}
