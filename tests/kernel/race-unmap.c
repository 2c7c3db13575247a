/* SPDX-License-Identifier: MIT */
/* race-unmap.c - unmaps that take long, by threads and by other processes. */
#define _GNU_SOURCE
#include "race-unmap.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "race-cpu.h"

#define STACK_BYTES ((size_t)64 << 10)
#define HUGE ((uintptr_t)2 << 20)

enum { GO = 1, END };

/**
 * struct helper - a thread or a process that does something when it is told
 * @tell:    a pipe: GO, END
 * @hear:    a pipe: the errno of what it did
 * @repeats: does it until the other has done what it does
 */
struct helper {
	struct race_unmapping *unmapping;
	int (*act)(const struct race_area *area);
	unsigned int cpu;
	bool repeats;
	int tell[2], hear[2];
	bool has_thread;
	pthread_t thread;
	pid_t process;
	char *stack;
};

/**
 * struct race_unmapping - an area and who unmaps it
 * @over: the unmap has returned (atomic)
 */
struct race_unmapping {
	const struct race_unmapper *unmapper;
	struct race_area area;
	struct helper first, second;
	bool over;
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int give_back(const struct race_area *area)
{
	return madvise(area->start, area->length, MADV_DONTNEED) ? -errno : 0;
}

/* Within the other's range, but not the page that the race is about. */
static int give_back_beside(const struct race_area *area)
{
	size_t two = 2 * (size_t)getpagesize();

	return madvise(area->last - two, two, MADV_DONTNEED) ? -errno : 0;
}

static int unmap(const struct race_area *area)
{
	return munmap(area->start, area->length) ? -errno : 0;
}

static int truncate_file(const struct race_area *area)
{
	return ftruncate(area->file, 0) ||
			       ftruncate(area->file, (off_t)area->length) ?
		       -errno :
		       0;
}

static int punch(const struct race_area *area)
{
	return fallocate(area->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			 0, (off_t)area->length) ?
		       -errno :
		       0;
}

const struct race_unmapper race_unmappers[] = {
	{ .name = "thread", .act = give_back },
	{ .name = "threads", .act = give_back, .also = give_back_beside },
	{ .name = "munmap", .act = unmap, .gone = true },
	{ .name = "borrower", .act = give_back, .borrows = true },
	{ .name = "truncate",
	  .act = truncate_file,
	  .shared = true,
	  .process = true },
	{ .name = "punch", .act = punch, .shared = true, .process = true },
};
const size_t race_unmapper_count = sizeof(race_unmappers) /
				   sizeof(*race_unmappers);

static int act(const struct helper *helper)
{
	const struct race_unmapping *unmapping = helper->unmapping;
	int error;

	do {
		error = helper->act(&unmapping->area);
	} while (helper->repeats && !error &&
		 !__atomic_load_n(&unmapping->over, __ATOMIC_RELAXED));
	return error;
}

/* All that a helper does; 0 at its end, for clone(). */
static int serve(void *argument)
{
	struct helper *helper = argument;
	char word;

	race_on_cpu(helper->cpu);
	while (read(helper->tell[0], &word, 1) == 1 && word == GO) {
		word = (char)-act(helper);
		if (write(helper->hear[1], &word, 1) != 1)
			break;
	}
	return 0;
}

/* A child that shares this thread's memory shares errno too: only wait. */
static void *lend(void *argument)
{
	struct helper *helper = argument;
	pid_t child = clone(serve, helper->stack + STACK_BYTES,
			    CLONE_VM | SIGCHLD, helper);

	if (child < 0 || waitpid(child, NULL, 0) != child)
		die("clone");
	return NULL;
}

static void *serve_here(void *argument)
{
	serve(argument);
	return NULL;
}

static void start_process(struct helper *helper)
{
	helper->process = fork();
	if (helper->process < 0)
		die("fork");
	if (helper->process)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	_exit(serve(helper));
}

static void start(struct helper *helper, bool process, bool borrows)
{
	if (pipe2(helper->tell, O_CLOEXEC) || pipe2(helper->hear, O_CLOEXEC))
		die("pipe");
	if (process) {
		start_process(helper);
		return;
	}
	if (borrows)
		helper->stack = malloc(STACK_BYTES);
	helper->has_thread = true;
	if ((borrows && !helper->stack) ||
	    pthread_create(&helper->thread, NULL, borrows ? lend : serve_here,
			   helper))
		die("pthread_create");
}

static void tell(const struct helper *helper, char word)
{
	if (helper->act && write(helper->tell[1], &word, 1) != 1)
		die("a helper");
}

static void hear(const struct helper *helper)
{
	char error = 0;

	if (helper->act && read(helper->hear[0], &error, 1) != 1)
		error = ESRCH;
	if (error) {
		errno = error;
		die("a helper's call");
	}
}

static void stop(struct helper *helper)
{
	if (!helper->act)
		return;
	tell(helper, END);
	if (helper->has_thread)
		pthread_join(helper->thread, NULL);
	if (helper->process)
		waitpid(helper->process, NULL, 0);
	for (int i = 0; i < 2; i++) {
		close(helper->tell[i]);
		close(helper->hear[i]);
	}
	free(helper->stack);
}

/* Base pages, in one piece of the address space that nobody else will use. */
static void map(struct race_area *area)
{
	int flags = MAP_FIXED_NOREPLACE |
		    (area->file < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);

	if (mmap(area->start, area->length, PROT_READ | PROT_WRITE, flags,
		 area->file, 0) != area->start)
		die("mmap");
	if (madvise(area->start, area->length, MADV_NOHUGEPAGE) &&
	    errno != EINVAL)
		die("MADV_NOHUGEPAGE");
}

static void make_area(struct race_area *area, size_t pages, bool shared)
{
	size_t reserve = (size_t)4 << 30;
	char *hole = mmap(NULL, reserve, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (hole == MAP_FAILED)
		die("mmap");
	munmap(hole, reserve);
	area->start = (char *)(((uintptr_t)hole + reserve / 2) & -HUGE);
	area->length = pages * (size_t)getpagesize();
	area->last = area->start + area->length - getpagesize();
	area->file = -1;
	if (shared) {
		area->file = memfd_create("race", MFD_CLOEXEC);
		if (area->file < 0 || ftruncate(area->file, (off_t)area->length))
			die("memfd");
	}
}

struct race_unmapping *race_unmap_open(const struct race_unmapper *unmapper,
				       size_t pages)
{
	struct race_unmapping *unmapping = calloc(1, sizeof(*unmapping));

	if (!unmapping)
		die("calloc");
	unmapping->unmapper = unmapper;
	make_area(&unmapping->area, pages, unmapper->shared);
	unmapping->first = (struct helper){
		.unmapping = unmapping,
		.act = unmapper->act,
		.cpu = RACE_CPU,
	};
	unmapping->second = (struct helper){
		.unmapping = unmapping,
		.act = unmapper->also,
		.cpu = RACE_CPU + 1,
		.repeats = true,
	};
	start(&unmapping->first, unmapper->process, unmapper->borrows);
	if (unmapper->also)
		start(&unmapping->second, false, false);
	map(&unmapping->area);
	return unmapping;
}

void race_unmap_close(struct race_unmapping *unmapping)
{
	stop(&unmapping->second);
	stop(&unmapping->first);
	munmap(unmapping->area.start, unmapping->area.length);
	if (unmapping->area.file >= 0)
		close(unmapping->area.file);
	free(unmapping);
}

const struct race_area *race_unmap_area(const struct race_unmapping *unmapping)
{
	return &unmapping->area;
}

void race_unmap_fill(struct race_unmapping *unmapping, uint64_t number)
{
	const struct race_area *area = &unmapping->area;

	if (madvise(area->start, area->length, MADV_POPULATE_WRITE))
		die("MADV_POPULATE_WRITE");
	*(volatile uint64_t *)area->last = number;
}

void race_unmap_begin(struct race_unmapping *unmapping)
{
	__atomic_store_n(&unmapping->over, false, __ATOMIC_RELAXED);
	tell(&unmapping->second, GO);
	tell(&unmapping->first, GO);
}

void race_unmap_await(struct race_unmapping *unmapping)
{
	hear(&unmapping->first);
	__atomic_store_n(&unmapping->over, true, __ATOMIC_RELAXED);
	hear(&unmapping->second);
	if (unmapping->unmapper->gone)
		map(&unmapping->area);
}
