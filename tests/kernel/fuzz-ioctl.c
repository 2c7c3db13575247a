/* SPDX-License-Identifier: MIT */
/*
 * fuzz-ioctl.c - random calls from several threads, over memory that others
 * unmap and processes that are killed: nothing must break, nothing be left.
 *
 * usage: fuzz-ioctl [SECONDS]
 *
 * UMMU_SEED repeats the calls of each thread, not how they fall together.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device.h"
#include "fuzz.h"
#include "tests/run.h"

#define CALLERS 3
#define ROUND 2.0 /* seconds that a process gets */
#define FOREVER 1e9

/**
 * struct thread - one of a process
 * @state: its chance
 */
struct thread {
	pthread_t pthread;
	struct fuzz *fuzz;
	uint64_t state;
};

static bool stopped(const struct fuzz *fuzz)
{
	return __atomic_load_n(&fuzz->stop, __ATOMIC_RELAXED);
}

static void *call_all_the_time(void *argument)
{
	struct thread *thread = argument;
	unsigned long calls = 0;

	while (!stopped(thread->fuzz)) {
		calls++;
		if (fuzz_chance(&thread->state, 4))
			fuzz_call(thread->fuzz, &thread->state);
		else
			fuzz_descriptor(thread->fuzz, &thread->state);
	}
	__atomic_fetch_add(&thread->fuzz->calls, calls, __ATOMIC_RELAXED);
	return NULL;
}

static void *change_all_the_time(void *argument)
{
	struct thread *thread = argument;

	while (!stopped(thread->fuzz))
		fuzz_memory(&thread->state);
	return NULL;
}

/* The child's calls must all be refused, and harm nobody. */
static void *fork_all_the_time(void *argument)
{
	struct thread *thread = argument;

	while (!stopped(thread->fuzz)) {
		pid_t child = fork();

		if (!child) {
			for (int i = 0; i < 50; i++) {
				fuzz_call(thread->fuzz, &thread->state);
				fuzz_memory(&thread->state);
			}
			_exit(0);
		}
		if (child > 0)
			waitpid(child, NULL, 0);
		fuzz_chance(&thread->state, 0);
		usleep(30000);
	}
	return NULL;
}

static void interrupted(int number)
{
	(void)number;
}

static void process(uint64_t seed, double seconds)
{
	static void *(*const runs[])(void *) = { change_all_the_time,
						 fork_all_the_time };
	struct sigaction action = { .sa_handler = interrupted };
	struct thread threads[CALLERS + 2];
	struct fuzz fuzz = { .stop = false };
	double end = run_seconds() + seconds;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGIO, &action, NULL);
	for (int i = 0; i < CALLERS + 2; i++) {
		threads[i].fuzz = &fuzz;
		threads[i].state = seed + (uint64_t)i * 0x9e3779b97f4a7c15;
		if (pthread_create(&threads[i].pthread, NULL,
				   i < CALLERS ? call_all_the_time :
						 runs[i - CALLERS],
				   &threads[i]))
			exit(2);
	}
	while (run_seconds() < end) {
		usleep(5000);
		/* For those that read and wait. */
		for (int i = 0; i < CALLERS; i++)
			pthread_kill(threads[i].pthread, SIGUSR1);
	}
	__atomic_store_n(&fuzz.stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < CALLERS + 2; i++)
		pthread_join(threads[i].pthread, NULL);
	printf("%lu calls\n", fuzz.calls);
	fflush(stdout);
	_exit(0);
}

/* Every other one is killed in the middle. */
static bool round_passes(int number, uint64_t seed)
{
	bool killed = number % 2;
	pid_t child;
	int status;

	fflush(stdout);
	child = fork();
	if (!child)
		process(seed, killed ? FOREVER : ROUND);
	if (killed) {
		usleep((unsigned int)(seed % 1000000) + 300000);
		kill(child, SIGKILL);
	}
	waitpid(child, &status, 0);
	if (killed ? !WIFSIGNALED(status) : status != 0) {
		printf("round %d: status %#x\n", number, status);
		return false;
	}
	return device_await_statistic("watches", 0) &&
	       device_await_statistic("files", 0) &&
	       device_await_statistic("spaces", 0);
}

int main(int argc, char **argv)
{
	unsigned int seconds = argc > 1 ? (unsigned int)atoi(argv[1]) : 20;
	uint64_t seed;
	double end;
	int number = 0;
	long watches, hits;

	device_need();
	watches = device_statistic("watches_made");
	hits = device_statistic("hits");
	seed = run_seed();
	/* Small enough to be reached. */
	device_parameter("watches_per_file", 3000);
	device_parameter("watches_per_process", 9000);
	end = run_seconds() + run_scaled(seconds);
	while (run_seconds() < end)
		if (!round_passes(number++, run_random(&seed)))
			return 1;
	device_parameter("watches_per_file", 131072);
	device_parameter("watches_per_process", 262144);
	printf("%d processes, %ld watches, %ld hits\n", number,
	       device_statistic("watches_made") - watches,
	       device_statistic("hits") - hits);
	return 0;
}
