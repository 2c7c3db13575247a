/* SPDX-License-Identifier: MIT */
/*
 * libfabric-teller.c - tests that the thread which tells libfabric's caches is
 * harmless in the program that it was started in.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake-backend.h"
#include "integrations/libfabric/teller.h"

#define BASE ((char *)(uintptr_t)0x10000000)
#define MAX 64
#define HANG 60	   /* seconds */
#define NUMBERS 64 /* descriptors that are looked at */

static unsigned int told; /* atomic */
static size_t page;

static void notify(void *arg, const void *addr, size_t length)
{
	(void)arg;
	(void)addr;
	(void)length;
	/* Relaxed: a number that is waited for. */
	__atomic_fetch_add(&told, 1, __ATOMIC_RELAXED);
}

struct fixture {
	struct fake_monitor *fake;
	struct ummu_teller *teller;
};

static void start(struct fixture *f)
{
	int low;

	f->fake = fake_open(true);
	/* It has no events that anybody is woken for. */
	low = eventfd(0, EFD_CLOEXEC);
	f->fake->base.event_fd = fcntl(low, F_DUPFD_CLOEXEC, NUMBERS);
	assert_true(f->fake->base.event_fd >= NUMBERS);
	close(low);
	assert_int_equal(ummu_teller_start(&f->fake->base, MAX, false, notify,
					   &f->teller),
			 0);
	alarm(HANG);
}

static void stop(struct fixture *f)
{
	ummu_teller_stop(f->teller);
	close(f->fake->base.event_fd);
	fake_close(f->fake);
	alarm(0);
}

/* More ranges than there is room for: the thread is asked to evict some. */
static void fill(struct fixture *f)
{
	struct ummu_ranges *ranges = ummu_teller_ranges(f->teller);
	size_t i;
	int result;

	for (i = 0; i < MAX; i++) {
		result = ummu_ranges_subscribe(ranges, BASE + 2 * i * page,
					       page);
		assert_true(result == -EBUSY || result == -ENOSPC);
	}
}

static void wait_for_eviction(struct fixture *f)
{
	struct ummu_ranges_counts counts;

	do {
		usleep(1000);
		ummu_ranges_count(ummu_teller_ranges(f->teller), &counts);
	} while (!counts.evicted);
}

/* The thread's id, when it has its name. */
static pid_t find_thread(void)
{
	char path[300], name[32];
	struct dirent *entry;
	pid_t found = 0;
	FILE *file;
	DIR *tasks;

	do {
		usleep(1000);
		tasks = opendir("/proc/self/task");
		assert_non_null(tasks);
		while ((entry = readdir(tasks))) {
			snprintf(path, sizeof(path), "/proc/self/task/%s/comm",
				 entry->d_name);
			file = fopen(path, "r");
			if (!file)
				continue;
			if (fgets(name, sizeof(name), file) &&
			    !strcmp(name, "ummu-libfabric\n"))
				found = (pid_t)atoi(entry->d_name);
			fclose(file);
		}
		closedir(tasks);
	} while (!found);
	return found;
}

static void full_is_made_room_in(void **state)
{
	struct fixture f;

	(void)state;
	start(&f);
	fill(&f);
	wait_for_eviction(&f);
	stop(&f);
}

static void thread_is_not_as_its_creator(void **state)
{
	struct sched_param param = { .sched_priority = 0 };
	cpu_set_t before, one, its;
	struct fixture f;
	int cpu = 0;
	pid_t thread;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	while (!CPU_ISSET(cpu, &before))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	assert_int_equal(sched_setscheduler(0, SCHED_BATCH, &param), 0);
	start(&f);
	thread = find_thread();
	print_message("policy %d, ", sched_getscheduler(thread));
	assert_int_equal(sched_getscheduler(thread), SCHED_OTHER);
	assert_int_equal(sched_getaffinity(thread, sizeof(its), &its), 0);
	print_message("%d CPUs of %d\n", CPU_COUNT(&its), CPU_COUNT(&before));
	assert_true(CPU_COUNT(&its) >= CPU_COUNT(&before));
	sched_setscheduler(0, SCHED_OTHER, &param);
	sched_setaffinity(0, sizeof(before), &before);
	stop(&f);
}

/* Descriptors that were opened between two looks. */

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void look(bool open[NUMBERS])
{
	int fd;

	for (fd = 0; fd < NUMBERS; fd++)
		open[fd] = is_open(fd);
}

/* As a daemon does, whose own descriptors then get these numbers. */
static unsigned int reuse(const bool before[NUMBERS], int with,
			  bool reused[NUMBERS])
{
	unsigned int count = 0;
	int fd;

	memset(reused, 0, NUMBERS * sizeof(*reused));
	for (fd = 3; fd < NUMBERS; fd++) {
		if (before[fd] || !is_open(fd))
			continue;
		assert_int_equal(dup2(with, fd), fd);
		reused[fd] = true;
		count++;
	}
	return count;
}

static void nothing_is_done_with_reused_numbers_of(int own, struct fixture *f)
{
	bool before[NUMBERS], reused[NUMBERS];
	int fd;

	look(before);
	start(f);
	find_thread();
	assert_true(reuse(before, own, reused));
	fill(f);
	wait_for_eviction(f);
	stop(f);
	for (fd = 3; fd < NUMBERS; fd++) {
		if (!reused[fd])
			continue;
		if (!is_open(fd))
			fail_msg("the program's descriptor %d was closed", fd);
		close(fd);
	}
}

static void program_has_the_numbers_for_a_file(void **state)
{
	FILE *file = tmpfile();
	struct fixture f;

	(void)state;
	assert_non_null(file);
	nothing_is_done_with_reused_numbers_of(fileno(file), &f);
	print_message("the program's file has %ld bytes\n",
		      (long)lseek(fileno(file), 0, SEEK_END));
	assert_int_equal(lseek(fileno(file), 0, SEEK_END), 0);
	fclose(file);
}

static void program_has_the_numbers_for_an_eventfd(void **state)
{
	int own = eventfd(7, EFD_NONBLOCK);
	struct fixture f;
	uint64_t value = 0;

	(void)state;
	nothing_is_done_with_reused_numbers_of(own, &f);
	assert_int_equal(read(own, &value, sizeof(value)), sizeof(value));
	print_message("the program's eventfd reads %llu\n",
		      (unsigned long long)value);
	assert_int_equal(value, 7);
	close(own);
}

/* A copy in a child keeps the sockets open, and nothing says they are closed. */
static void program_has_the_numbers_and_a_child(void **state)
{
	bool before[NUMBERS], reused[NUMBERS];
	int own = eventfd(7, EFD_NONBLOCK);
	struct fixture f;
	pid_t child;

	(void)state;
	look(before);
	start(&f);
	find_thread();
	child = fork();
	if (!child) {
		alarm(HANG);
		pause();
		_exit(0);
	}
	assert_true(reuse(before, own, reused));
	stop(&f);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(full_is_made_room_in),
		cmocka_unit_test(thread_is_not_as_its_creator),
		cmocka_unit_test(program_has_the_numbers_for_a_file),
		cmocka_unit_test(program_has_the_numbers_for_an_eventfd),
		cmocka_unit_test(program_has_the_numbers_and_a_child),
	};

	page = (size_t)sysconf(_SC_PAGESIZE);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
