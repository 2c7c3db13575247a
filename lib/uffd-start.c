/* SPDX-License-Identifier: MIT */
/* uffd-start.c - start a reader thread. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../base/stay.h"
#include "explain.h"
#include "uffd-start.h"

#if defined(__has_feature)
#define SANITIZED \
	(__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/*
 * Enough for our frames.  The C library puts thread-local storage on the stack,
 * too; if that does not fit, pthread_create() fails and the large size is
 * tried.
 */
#define STACK_BYTES ((size_t)(SANITIZED ? 2048 : 256) << 10)
#define LARGE_STACK_BYTES ((size_t)8 << 20)

/*
 * The guards keep the kernel from joining the stack with a mapping beside it,
 * which might be registered.  A forked child keeps its copy, as the C library
 * looks at the stacks of all threads after a fork.
 */
static struct uffd_stack *new_stack(size_t bytes)
{
	size_t guard = (size_t)sysconf(_SC_PAGESIZE);
	struct uffd_stack *stack;
	char *memory;

	bytes += 2 * guard;
	memory = mmap(NULL, bytes, PROT_NONE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK,
		      -1, 0);
	if (memory == MAP_FAILED)
		return NULL;
	madvise(memory, bytes, MADV_NOHUGEPAGE);
	if (mprotect(memory + guard, bytes - 2 * guard,
		     PROT_READ | PROT_WRITE)) {
		munmap(memory, bytes);
		return NULL;
	}
	stack = (struct uffd_stack *)(memory + guard);
	*stack = (struct uffd_stack){ .bytes = bytes, .guard = guard };
	return stack;
}

static void free_stack(struct uffd_stack *stack)
{
	munmap((char *)stack - stack->guard, stack->bytes);
}

static bool has_ended(const struct uffd_stack *stack)
{
	return stack->thread &&
	       syscall(SYS_tgkill, getpid(), stack->thread, 0) < 0 &&
	       errno == ESRCH;
}

/* Unlink a stack whose thread has ended; NULL if there is none. */
static struct uffd_stack *take_dead_stack(struct uffd_process *process)
{
	struct uffd_stack **link, *stack;
	struct uffd_guard guard;

	ummu_uffd_lock(process, &guard);
	for (link = &process->stacks; (stack = *link); link = &stack->next)
		if (has_ended(stack)) {
			*link = stack->next;
			break;
		}
	ummu_uffd_unlock(process, &guard);
	return stack;
}

bool ummu_uffd_is_stack(const struct uffd_process *process,
			const struct uffd_range *range)
{
	for (const struct uffd_stack *stack = process->stacks; stack;
	     stack = stack->next) {
		uint64_t start = (uintptr_t)stack - stack->guard;
		const struct uffd_range all = { start,
						start + stack->bytes - 1 };

		if (uffd_overlap(&all, range))
			return true;
	}
	return false;
}

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* How many numbers there may be to keep.  Bells may be added meanwhile. */
static size_t most_numbers(struct uffd_process *process)
{
	const struct watch_queue *queue;
	struct uffd_guard guard;
	size_t count = 4;

	ummu_uffd_lock(process, &guard);
	LIST_FOREACH(queue, &process->queues, of_process)
	count++;
	ummu_uffd_unlock(process, &guard);
	return count;
}

/* Its number, or -1 if it is not ours any more. */
static int keep_number(struct uffd_start *start,
		       const struct ummu_descriptor *descriptor)
{
	if (!ummu_descriptor_is_ours(descriptor))
		return -1;
	start->numbers[start->count++] = descriptor->fd;
	return descriptor->fd;
}

/* Returns false if @most is too small, as a monitor was opened meanwhile. */
static bool collect_numbers(struct uffd_start *start, size_t most)
{
	struct uffd_process *process = start->process;
	const struct watch_queue *queue;
	struct uffd_guard guard;
	bool fits = true;

	start->count = 0;
	ummu_uffd_lock(process, &guard);
	start->bells = process->bells;
	start->tools = (struct uffd_tools){
		keep_number(start, &process->uffd),
		keep_number(start, &process->pagemap),
		keep_number(start, &process->maps),
	};
	LIST_FOREACH(queue, &process->queues, of_process)
	{
		fits = start->count < most;
		if (!fits)
			break;
		keep_number(start, &queue->bell.pull);
	}
	ummu_uffd_unlock(process, &guard);
	if (SANITIZED) /* a sanitizer writes its reports there */
		start->numbers[start->count++] = STDERR_FILENO;
	return fits;
}

static int list_numbers(struct uffd_start *start)
{
	size_t most;

	do {
		free(start->numbers);
		most = most_numbers(start->process);
		start->numbers = calloc(most + 1, sizeof(*start->numbers));
		if (!start->numbers)
			return ummu_explain(-ENOMEM,
					    "no memory to start the reader thread");
	} while (!collect_numbers(start, most));
	if (!start->count || start->tools.fd < 0)
		return ummu_explain(-EBADF,
				    "this library's userfaultfd was closed");
	qsort(start->numbers, start->count, sizeof(*start->numbers), by_number);
	return 0;
}

/* Ordinary scheduling from the start, whatever scheduling the caller has. */
static void set_attributes(pthread_attr_t *attributes, struct uffd_stack *stack)
{
	const struct sched_param ordinary = { .sched_priority = 0 };

	pthread_attr_init(attributes);
	pthread_attr_setdetachstate(attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setinheritsched(attributes, PTHREAD_EXPLICIT_SCHED);
	pthread_attr_setschedpolicy(attributes, SCHED_OTHER);
	pthread_attr_setschedparam(attributes, &ordinary);
	/* The C library gets what lies above the header. */
	pthread_attr_setstack(attributes, stack + 1,
			      stack->bytes - 2 * stack->guard - sizeof(*stack));
}

static int create_thread(struct uffd_start *start)
{
	pthread_attr_t attributes;
	sigset_t all, old;
	pthread_t thread;
	int error;

	set_attributes(&attributes, start->stack);
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old); /* the thread inherits this */
	error = pthread_create(&thread, &attributes, ummu_uffd_reader, start);
	if (error == EPERM) {
		/* It may not choose its policy: run with the caller's. */
		pthread_attr_setinheritsched(&attributes, PTHREAD_INHERIT_SCHED);
		error = pthread_create(&thread, &attributes, ummu_uffd_reader,
				       start);
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attributes);
	return error;
}

static int explain_thread(int error)
{
	return ummu_explain(
		-error,
		"could not start the reader thread (%s): raise the limit on processes (ulimit -u, pids cgroup)",
		strerror(error));
}

static void add_stack(struct uffd_process *process, struct uffd_stack *stack)
{
	struct uffd_guard guard;

	ummu_uffd_lock(process, &guard);
	stack->next = process->stacks;
	process->stacks = stack;
	ummu_uffd_unlock(process, &guard);
}

static void remove_stack(struct uffd_process *process, struct uffd_stack *stack)
{
	struct uffd_stack **link;
	struct uffd_guard guard;

	ummu_uffd_lock(process, &guard);
	for (link = &process->stacks; *link != stack; link = &(*link)->next)
		;
	*link = stack->next;
	ummu_uffd_unlock(process, &guard);
}

static int run_on_stack(struct uffd_start *start, size_t bytes)
{
	struct uffd_process *process = start->process;
	int error;

	start->stack = new_stack(bytes);
	if (!start->stack)
		return ENOMEM;
	add_stack(process, start->stack);
	error = create_thread(start);
	if (error) {
		remove_stack(process, start->stack);
		free_stack(start->stack);
	}
	return error;
}

static int wait_until_it_runs(struct uffd_start *start)
{
	struct uffd_process *process = start->process;
	struct uffd_guard guard;

	ummu_uffd_lock(process, &guard);
	while (!start->done)
		ummu_uffd_wait(process);
	ummu_uffd_unlock(process, &guard);
	if (!start->error)
		return 0;
	return ummu_explain(start->error,
			    "the reader thread was refused %s: %s", start->what,
			    strerror(-start->error));
}

/* model: START, the part that one thread does at a time: it set ->starting. */
static int start_one(struct uffd_process *process, bool afresh)
{
	struct uffd_start start = { .process = process };
	struct uffd_stack *dead;
	int error = 0;

	while ((dead = take_dead_stack(process)))
		free_stack(dead);
	if (!afresh)
		error = ummu_uffd_reopen(process);
	if (!error)
		error = list_numbers(&start);
	if (!error) {
		int failed = run_on_stack(&start, STACK_BYTES);

		if (failed == EINVAL)
			failed = run_on_stack(&start, LARGE_STACK_BYTES);
		error = failed ? explain_thread(failed) :
				 wait_until_it_runs(&start);
	}
	free(start.numbers);
	return error;
}

int ummu_uffd_reader_start(struct uffd_process *process, bool afresh)
{
	struct uffd_guard guard;
	bool needed;
	int error = 0;

	/* Before others may wait for this thread: see base/stay.c. */
	ummu_stay_loaded();
	ummu_uffd_lock(process, &guard);
	while (process->starting)
		ummu_uffd_wait(process);
	needed = afresh ? process->state != UFFD_IDLE &&
				  !process->table_shared &&
				  process->bells > process->reader_bells :
			  process->state == UFFD_IDLE;
	process->starting = needed;
	ummu_uffd_unlock(process, &guard);
	if (!needed)
		return 0;

	error = start_one(process, afresh);

	ummu_uffd_lock(process, &guard);
	process->starting = false;
	pthread_cond_broadcast(&process->changed);
	ummu_uffd_unlock(process, &guard);
	return error;
}
