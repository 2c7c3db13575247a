/* SPDX-License-Identifier: MIT */
/*
 * announce-in-signal.c - tests that what the hooks of Open MPI announce is kept,
 * and that nobody waits, when an announcer is interrupted at any instruction.
 *
 * On x86 the processor's trap flag sends SIGTRAP after each instruction of the
 * call under test.  At the instruction whose turn it is the handler does what a
 * handler that frees memory does (it announces), or what another thread does
 * while this one does not run (it takes), or forks.  All instructions have
 * their turn.  A call that waits for the one it interrupted never returns, and
 * SIGALRM says so.  Other processors have a timer at work instead.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <cmocka.h>

#include "integrations/openmpi/announced.h"

#define HANG 20 /* seconds, for one call */
#define MOST_STEPS 20000
/* A call of a build with sanitizers is long: from here on not each step. */
#define EACH_STEP 512
#define STRIDE 29
#define TIMER_ROUNDS 20000

/* What the interrupted call announces, and what interrupts it. */
static const struct ummu_ompi_range outer = { 0x10000, 0x20000 };
static const struct ummu_ompi_range inner = { 0x50000, 0x60000 };

/**
 * struct seen - which ranges takers were given
 * @outer, @inner: those two, or everything
 */
static struct seen {
	bool outer, inner;
} seen;

static volatile sig_atomic_t waiting_inside;

static bool covers(const struct ummu_ompi_range *range,
		   const struct ummu_ompi_range *other)
{
	return range->start <= other->start && other->end <= range->end;
}

static size_t take(void)
{
	struct ummu_ompi_range ranges[UMMU_OMPI_ANNOUNCED];
	size_t i, count = ummu_ompi_take_announced(ranges);

	for (i = 0; i < count; i++) {
		seen.outer |= covers(&ranges[i], &outer);
		seen.inner |= covers(&ranges[i], &inner);
	}
	return count;
}

static void announce_outer(void)
{
	ummu_ompi_announce(outer.start, outer.end);
}

static void announce_inner(void)
{
	ummu_ompi_announce(inner.start, inner.end);
}

static void take_all(void)
{
	take();
}

/* In the child the interrupted call never ends; in the parent it goes on. */
static void announce_in_child(void)
{
	int status = 1;
	pid_t child = fork();

	if (!child) {
		alarm(HANG);
		announce_inner();
		take();
		_exit(!seen.inner);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || status)
		seen.inner = seen.outer = false;
	else
		seen.inner = true;
}

static void all_hang(int number)
{
	static const char text[] =
		"a call waits for ever for the one that it interrupted\n";
	ssize_t written;

	(void)number;
	if (waiting_inside) {
		written = write(STDERR_FILENO, text, sizeof(text) - 1);
		(void)written;
	}
	_exit(1);
}

static void handle(int number, void (*handler)(int, siginfo_t *, void *))
{
	struct sigaction action = { .sa_sigaction = handler,
				    .sa_flags = SA_SIGINFO };

	assert_int_equal(sigaction(number, &action, NULL), 0);
}

static void watch_for_hangs(void)
{
	struct sigaction action = { .sa_handler = all_hang };

	assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
	alarm(HANG);
}

static void fill(size_t ranges)
{
	while (ranges--)
		ummu_ompi_announce(0x1000, 0x2000);
}

static void begin_round(size_t ranges)
{
	take();
	assert_int_equal(take(), 0);
	memset(&seen, 0, sizeof(seen));
	fill(ranges);
}

/* All that has returned is known: either somebody was told, or will be. */
static void end_round(long step, bool both)
{
	bool told = seen.outer && (seen.inner || !both);

	if (!told && !ummu_ompi_announced())
		fail_msg("step %ld: nobody will look", step);
	take();
	if (!seen.outer || (both && !seen.inner))
		fail_msg("step %ld: lost %s", step,
			 seen.outer ? "the handler's range" :
				      "the interrupted call's range");
}

#ifdef __x86_64__

#define TRAP_FLAG 0x100

/**
 * struct stepper - the call that is stepped through
 * @steps:     instructions so far
 * @turn:      at this one @interrupt is called, and the stepping ends
 * @stopped:   the call has returned before
 */
static struct stepper {
	void (*interrupt)(void);
	volatile long steps, turn;
	volatile sig_atomic_t stopped;
} stepper;

static void on_start(int number, siginfo_t *info, void *context)
{
	ucontext_t *there = context;

	(void)number;
	(void)info;
	there->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
}

static void on_step(int number, siginfo_t *info, void *context)
{
	ucontext_t *there = context;

	(void)number;
	(void)info;
	if (stepper.stopped) {
		there->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
		return;
	}
	if (stepper.steps++ != stepper.turn)
		return;
	there->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
	waiting_inside = 1;
	stepper.interrupt();
	waiting_inside = 0;
}

/* False when the call has fewer instructions. */
static bool step_through(void (*call)(void), void (*interrupt)(void), long turn)
{
	stepper = (struct stepper){ .interrupt = interrupt, .turn = turn };
	raise(SIGUSR1); /* whose handler sets the flag */
	call();
	stepper.stopped = 1;
	return stepper.steps > turn;
}

static void interrupt_everywhere(void (*call)(void), void (*interrupt)(void),
				 size_t full, bool both)
{
	long turn = 0;
	bool more = true;

	handle(SIGUSR1, on_start);
	handle(SIGTRAP, on_step);
	for (; more && turn < MOST_STEPS;
	     turn += turn < EACH_STEP ? 1 : STRIDE) {
		watch_for_hangs();
		begin_round(full);
		if (call != announce_outer)
			announce_outer();
		more = step_through(call, interrupt, turn);
		end_round(turn, both && more);
	}
	alarm(0);
	print_message("interrupted at up to %ld instructions\n", turn);
	assert_in_range(turn, 10, MOST_STEPS - 1);
}

#else

static void (*interrupt_of_timer)(void);

static void on_timer(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)info;
	(void)context;
	waiting_inside = 1;
	interrupt_of_timer();
	waiting_inside = 0;
}

static void set_timer(suseconds_t interval)
{
	struct itimerval timer = { { 0, interval }, { 0, interval } };

	assert_int_equal(setitimer(ITIMER_PROF, &timer, NULL), 0);
}

static void interrupt_everywhere(void (*call)(void), void (*interrupt)(void),
				 size_t full, bool both)
{
	long round;

	(void)both;
	interrupt_of_timer = interrupt;
	handle(SIGPROF, on_timer);
	set_timer(200);
	for (round = 0; round < TIMER_ROUNDS; round++) {
		watch_for_hangs();
		memset(&seen, 0, sizeof(seen));
		fill(full);
		announce_outer();
		if (call != announce_outer)
			call();
		take();
		assert_true(seen.outer);
	}
	set_timer(0);
	alarm(0);
}

#endif

static void handler_announces_while_one_announces(void **state)
{
	(void)state;
	interrupt_everywhere(announce_outer, announce_inner, 0, true);
}

static void handler_announces_while_there_is_no_room(void **state)
{
	(void)state;
	interrupt_everywhere(announce_outer, announce_inner,
			     UMMU_OMPI_ANNOUNCED - 1, true);
}

static void handler_announces_while_one_takes(void **state)
{
	(void)state;
	interrupt_everywhere(take_all, announce_inner, 2, true);
}

/* As a taker of a higher priority, which the announcer never gets past. */
static void taker_waits_for_no_announcer(void **state)
{
	(void)state;
	interrupt_everywhere(announce_outer, take_all, 2, false);
}

/* The child has the interrupted call's memory, and nobody who ends it. */
static void child_waits_for_no_announcer(void **state)
{
	(void)state;
	interrupt_everywhere(announce_outer, announce_in_child, 0, true);
}

static void errno_is_kept(void **state)
{
	(void)state;
	errno = EXDEV;
	fill(2 * UMMU_OMPI_ANNOUNCED);
	assert_int_equal(errno, EXDEV);
	begin_round(0);
	assert_false(ummu_ompi_announced());
}

static void too_many_are_everything(void **state)
{
	struct ummu_ompi_range ranges[UMMU_OMPI_ANNOUNCED];

	(void)state;
	begin_round(UMMU_OMPI_ANNOUNCED);
	assert_int_equal(ummu_ompi_take_announced(ranges), UMMU_OMPI_ANNOUNCED);
	assert_int_equal(ranges[0].start, 0x1000);
	begin_round(UMMU_OMPI_ANNOUNCED + 1);
	ummu_ompi_announce(3, 3); /* nothing */
	assert_true(ummu_ompi_announced());
	take();
	assert_true(seen.outer && seen.inner);
	begin_round(1);
	assert_int_equal(ummu_ompi_take_announced(ranges), 1);
	assert_int_equal(ranges[0].end, 0x2000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(too_many_are_everything),
		cmocka_unit_test(errno_is_kept),
		cmocka_unit_test(handler_announces_while_one_announces),
		cmocka_unit_test(handler_announces_while_there_is_no_room),
		cmocka_unit_test(handler_announces_while_one_takes),
		cmocka_unit_test(taker_waits_for_no_announcer),
		cmocka_unit_test(child_waits_for_no_announcer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
