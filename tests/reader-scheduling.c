/* SPDX-License-Identifier: MIT */
/*
 * reader-scheduling.c - whoever watches first, the reader thread gets to run.
 *
 * It inherits nothing of that thread: a poller with a real-time priority that
 * is bound to one processor would otherwise keep it from running, and with it
 * every other thread that unmaps watched memory.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "proc-self.h"
#include "run.h"
#include "scene.h"

#define SPIN 3.0 /* seconds, at most */

static struct ummu_monitor *monitor;
static char *memory;

static int first_cpu(const cpu_set_t *cpus)
{
	int cpu = 0;

	while (!CPU_ISSET(cpu, cpus))
		cpu++;
	return cpu;
}

static void bind_to(int cpu)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	REQUIRE(!sched_setaffinity(0, sizeof(one), &one));
}

static void watch_first(void)
{
	memory = scene_map(16 * scene_page());
	monitor = scene_monitor();
	scene_watch(monitor, memory, 16 * scene_page());
}

static bool as_it_has_to_be(void *ctx)
{
	const cpu_set_t *all = ctx;
	pid_t reader = proc_reader();
	cpu_set_t its;

	return reader && sched_getscheduler(reader) == SCHED_OTHER &&
	       !sched_getaffinity(reader, sizeof(its), &its) &&
	       CPU_EQUAL(&its, all);
}

static void expect_ordinary_reader(cpu_set_t *all)
{
	bool ordinary = scene_await(as_it_has_to_be, all);
	pid_t reader = proc_reader();
	cpu_set_t its;

	REQUIRE(reader);
	CPU_ZERO(&its);
	sched_getaffinity(reader, sizeof(its), &its);
	printf("  reader: policy %d, nice %d, %d of %d processors\n",
	       sched_getscheduler(reader),
	       getpriority(PRIO_PROCESS, (id_t)reader), CPU_COUNT(&its),
	       CPU_COUNT(all));
	REQUIRE(ordinary);
}

static void find_cpus(cpu_set_t *all)
{
	CPU_ZERO(all);
	REQUIRE(!sched_getaffinity(0, sizeof(*all), all));
}

static void pinned_opener(void)
{
	cpu_set_t all;

	find_cpus(&all);
	if (CPU_COUNT(&all) < 2)
		scene_skip("one processor only");
	bind_to(first_cpu(&all));
	watch_first();
	expect_ordinary_reader(&all);
	scene_unmap(memory, scene_page());
}

/* With @policy and @nice; the reader has the default policy all the same. */
static void opener_of(int policy, int niceness)
{
	const struct sched_param none = { 0 };
	cpu_set_t all;

	find_cpus(&all);
	REQUIRE(!sched_setscheduler(0, policy, &none));
	REQUIRE(!setpriority(PRIO_PROCESS, 0, niceness));
	watch_first();
	expect_ordinary_reader(&all);
	scene_unmap(memory, scene_page());
}

static void batch_opener(void)
{
	opener_of(SCHED_BATCH, 0);
}

static void idle_opener(void)
{
	opener_of(SCHED_IDLE, 0);
}

static void nice_opener(void)
{
	opener_of(SCHED_OTHER, 19);
}

static void expect_mask(const sigset_t *expected)
{
	sigset_t mask;

	REQUIRE(!pthread_sigmask(SIG_SETMASK, NULL, &mask));
	for (int number = 1; number < NSIG; number++)
		REQUIRE(sigismember(&mask, number) ==
			sigismember(expected, number));
}

/* The opener keeps its mask, and no handler of the program runs elsewhere. */
static void opener_with_mask(const sigset_t *mask)
{
	cpu_set_t all;

	find_cpus(&all);
	REQUIRE(!pthread_sigmask(SIG_SETMASK, mask, NULL));
	watch_first();
	expect_mask(mask);
	expect_ordinary_reader(&all);
	REQUIRE(proc_blocks_signals(proc_reader()));
	scene_unmap(memory, scene_page());
	expect_mask(mask);
}

static void opener_blocks_all_signals(void)
{
	sigset_t mask, held;

	sigfillset(&mask);
	/* What the C library does not let itself be asked for is not set. */
	REQUIRE(!pthread_sigmask(SIG_SETMASK, &mask, NULL));
	REQUIRE(!pthread_sigmask(SIG_SETMASK, NULL, &held));
	opener_with_mask(&held);
}

static void opener_blocks_no_signal(void)
{
	sigset_t mask;

	sigemptyset(&mask);
	opener_with_mask(&mask);
}

static int unmapped;

static void *unmap_elsewhere(void *unused)
{
	(void)unused;
	REQUIRE(!munmap(memory, scene_page()));
	__atomic_store_n(&unmapped, 1, __ATOMIC_RELEASE);
	return NULL;
}

/* On the other processors, with the default policy. */
static void start_unmapper(pthread_t *thread, cpu_set_t *others)
{
	const struct sched_param none = { 0 };
	pthread_attr_t attributes;

	pthread_attr_init(&attributes);
	pthread_attr_setinheritsched(&attributes, PTHREAD_EXPLICIT_SCHED);
	pthread_attr_setschedpolicy(&attributes, SCHED_OTHER);
	pthread_attr_setschedparam(&attributes, &none);
	pthread_attr_setaffinity_np(&attributes, sizeof(*others), others);
	REQUIRE(!pthread_create(thread, &attributes, unmap_elsewhere, NULL));
	pthread_attr_destroy(&attributes);
}

static void become_fifo(void)
{
	const struct sched_param lowest = { .sched_priority = 1 };

	if (sched_setscheduler(0, SCHED_FIFO, &lowest))
		scene_skip("SCHED_FIFO is refused here");
}

static void fifo_opener(void)
{
	const struct sched_param none = { 0 };
	double start, took;
	cpu_set_t all, others;
	pthread_t unmapper;
	int mine;

	find_cpus(&all);
	if (CPU_COUNT(&all) < 2)
		scene_skip("one processor only");
	others = all;
	mine = first_cpu(&all);
	CPU_CLR(mine, &others);
	bind_to(mine);
	become_fifo();
	watch_first();
	start_unmapper(&unmapper, &others);
	start = run_seconds();
	while (!__atomic_load_n(&unmapped, __ATOMIC_ACQUIRE) &&
	       run_seconds() - start < SPIN)
		;
	took = run_seconds() - start;
	sched_setscheduler(0, SCHED_OTHER, &none);
	printf("  munmap in another thread while the poller spins: %s (%.3f s)\n",
	       took < SPIN ? "returned" : "did not return", took);
	REQUIRE(took < SPIN);
	pthread_join(unmapper, NULL);
	expect_ordinary_reader(&all);
}

int main(int argc, char **argv)
{
	static const struct scene scenes[] = {
		{ "fifo_opener", fifo_opener },
		{ "pinned_opener", pinned_opener },
		{ "batch_opener", batch_opener },
		{ "idle_opener", idle_opener },
		{ "nice_opener", nice_opener },
		{ "opener_blocks_all_signals", opener_blocks_all_signals },
		{ "opener_blocks_no_signal", opener_blocks_no_signal },
	};

	return scenes_play(scenes, sizeof(scenes) / sizeof(scenes[0]), argc,
			   argv);
}
