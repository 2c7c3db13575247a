/* SPDX-License-Identifier: MIT */
/*
 * remainder-idle.c - what is left of a watched mapping may be unmapped after
 * the reader has ended.
 *
 * The kernel splits and moves what is registered together with the mappings.
 * Whatever is still registered when the reader goes makes the next unmap of it
 * wait for ever, as long as a child holds a copy of the descriptor.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "proc-self.h"
#include "run.h"
#include "scene.h"

#define COUNT 16UL /* pages that are watched */
#define PIECES 4

static size_t page;
static struct ummu_monitor *monitor;
static struct ummu_watch *watch;

/* What is mapped at the end, and has to go without a wait. */
static struct {
	char *addr;
	size_t length;
} pieces[PIECES];
static int piece_count;

static void piece(char *addr, size_t length)
{
	pieces[piece_count].addr = addr;
	pieces[piece_count++].length = length;
}

static void begin(void)
{
	page = scene_page();
	monitor = scene_monitor();
}

static void unmap_pieces(void)
{
	for (int i = 0; i < piece_count; i++)
		scene_unmap(pieces[i].addr, pieces[i].length);
}

/* It holds copies of the descriptors, and unmaps its memory when told to. */
static pid_t start_child(int go[2])
{
	pid_t child;
	char byte;

	REQUIRE(!pipe(go));
	child = scene_child();
	if (child) {
		close(go[0]);
		return child;
	}
	close(go[1]);
	REQUIRE(read(go[0], &byte, 1) == 0);
	unmap_pieces();
	_exit(0);
}

static void expect_unregistered(void)
{
	for (int i = 0; i < piece_count; i++) {
		if (proc_registered(pieces[i].addr))
			printf("  piece %d is still registered\n", i);
		REQUIRE(!proc_registered(pieces[i].addr));
	}
}

/* The end of each scene. */
static void idle_and_unmap(void)
{
	double start = run_seconds();
	int go[2];
	pid_t child = start_child(go);

	REQUIRE(!ummu_watch_valid(watch));
	ummu_monitor_unwatch(monitor, watch);
	REQUIRE(proc_reader_ends());
	printf("  the reader has ended after %.1f s\n", run_seconds() - start);
	expect_unregistered();
	unmap_pieces();
	close(go[1]);
	scene_child_ends(child);
	scene_watch_works(monitor);
	scene_watch_works(scene_monitor());
}

/* The same while the spent watch is still held. */
static void idle_while_held(void)
{
	int go[2];
	pid_t child = start_child(go);

	REQUIRE(!ummu_watch_valid(watch));
	REQUIRE(proc_reader_ends());
	expect_unregistered();
	unmap_pieces();
	close(go[1]);
	scene_child_ends(child);
	ummu_monitor_unwatch(monitor, watch);
	scene_watch_works(monitor);
}

static char *watched(size_t first, size_t length, size_t mapped)
{
	char *addr = scene_map(mapped * page);

	watch = scene_watch(monitor, addr + first * page, length * page);
	return addr;
}

static void half_unmapped(void)
{
	char *addr;

	begin();
	addr = watched(0, COUNT, COUNT);
	scene_unmap(addr, COUNT / 2 * page);
	piece(addr + COUNT / 2 * page, COUNT / 2 * page);
	idle_and_unmap();
}

static void half_unmapped_and_held(void)
{
	char *addr;

	begin();
	addr = watched(0, COUNT, COUNT);
	scene_unmap(addr, COUNT / 2 * page);
	piece(addr + COUNT / 2 * page, COUNT / 2 * page);
	idle_while_held();
}

/* One page is watched, the rest is the mapping's. */
static void watched_part_unmapped(void)
{
	char *addr;

	begin();
	addr = watched(COUNT / 2, 1, COUNT);
	scene_unmap(addr + COUNT / 2 * page, page);
	piece(addr, COUNT / 2 * page);
	piece(addr + (COUNT / 2 + 1) * page, (COUNT / 2 - 1) * page);
	idle_and_unmap();
}

static void hole_in_the_middle(void)
{
	char *addr;

	begin();
	addr = watched(0, COUNT, COUNT);
	scene_unmap(addr + 4 * page, 2 * page);
	scene_unmap(addr + 8 * page, 2 * page);
	piece(addr, 4 * page);
	piece(addr + 6 * page, 2 * page);
	piece(addr + 10 * page, (COUNT - 10) * page);
	idle_and_unmap();
}

/* The hole is filled again by memory that nobody watches. */
static void hole_filled(void)
{
	char *addr, *again;

	begin();
	addr = watched(0, COUNT, COUNT);
	scene_unmap(addr + 4 * page, 2 * page);
	again = mmap(addr + 4 * page, 2 * page, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	REQUIRE(again != MAP_FAILED);
	memset(again, 2, 2 * page);
	piece(addr, COUNT * page);
	idle_and_unmap();
}

static void split_by_mprotect(void)
{
	char *addr;

	begin();
	addr = watched(0, COUNT, COUNT);
	REQUIRE(!mprotect(addr + 4 * page, 2 * page, PROT_READ));
	REQUIRE(!mprotect(addr + 8 * page, 2 * page, PROT_NONE));
	scene_unmap(addr + COUNT / 2 * page, 4 * page);
	piece(addr, COUNT / 2 * page);
	piece(addr + (COUNT / 2 + 4) * page, (COUNT / 2 - 4) * page);
	idle_and_unmap();
}

struct move {
	char *from;
	size_t length;
	char *to; /* the result */
	size_t new_length;
	int flags;
};

static void remap(void *ctx)
{
	struct move *move = ctx;

	move->to = mremap(move->from, move->length, move->new_length,
			  move->flags, move->to);
	REQUIRE(move->to != MAP_FAILED);
}

static char *move(char *from, size_t length, size_t new_length, int flags,
		  char *to)
{
	struct move move = { .from = from,
			     .length = length,
			     .to = to,
			     .new_length = new_length,
			     .flags = flags };

	scene_returns("mremap", remap, &move);
	return move.to;
}

/* Addresses that nothing else gets, such as the stack of a thread. */
static char *reserve(size_t length)
{
	char *addr = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);

	REQUIRE(addr != MAP_FAILED);
	return addr;
}

static void grown_and_moved(void)
{
	char *addr, *to;

	begin();
	addr = watched(0, COUNT, COUNT);
	to = move(addr, COUNT * page, 2 * COUNT * page,
		  MREMAP_MAYMOVE | MREMAP_FIXED, reserve(4 * COUNT * page));
	piece(to, 2 * COUNT * page);
	idle_and_unmap();
}

static void shrunk(void)
{
	char *addr;

	begin();
	addr = watched(0, COUNT, COUNT);
	piece(move(addr, COUNT * page, COUNT / 2 * page, 0, NULL),
	      COUNT / 2 * page);
	idle_and_unmap();
}

static void moved_and_left_behind(void)
{
	char *addr, *to;

	begin();
	addr = watched(0, COUNT, COUNT);
	to = move(addr, COUNT * page, COUNT * page,
		  MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	piece(addr, COUNT * page);
	piece(to, COUNT * page);
	idle_and_unmap();
}

static void half_moved(void)
{
	char *addr, *to;

	begin();
	addr = watched(0, COUNT, COUNT);
	to = move(addr + COUNT / 2 * page, COUNT / 2 * page, COUNT / 2 * page,
		  MREMAP_MAYMOVE | MREMAP_FIXED, reserve(COUNT * page));
	piece(addr, COUNT / 2 * page);
	piece(to, COUNT / 2 * page);
	idle_and_unmap();
}

/* The unwatched part moves away, with the registration of the whole. */
static void unwatched_part_moved(void)
{
	char *addr, *to;

	begin();
	addr = watched(0, 1, COUNT);
	to = move(addr + COUNT / 2 * page, COUNT / 2 * page, COUNT / 2 * page,
		  MREMAP_MAYMOVE | MREMAP_FIXED, reserve(COUNT * page));
	REQUIRE(ummu_watch_valid(watch));
	scene_unmap(addr, page);
	piece(addr + page, (COUNT / 2 - 1) * page);
	piece(to, COUNT / 2 * page);
	idle_and_unmap();
}

static void moved_twice(void)
{
	char *addr, *to;

	begin();
	addr = watched(0, COUNT, COUNT);
	to = move(addr, COUNT * page, COUNT * page,
		  MREMAP_MAYMOVE | MREMAP_FIXED, reserve(COUNT * page));
	to = move(to, COUNT * page, COUNT * page, MREMAP_MAYMOVE | MREMAP_FIXED,
		  reserve(3 * COUNT * page));
	piece(to, COUNT * page);
	idle_and_unmap();
}

/* Grown where it is, then the watched part goes: the new end is registered. */
static void grown_in_place(void)
{
	char *addr, *room;

	begin();
	room = reserve(4 * COUNT * page);
	addr = mmap(room, COUNT * page, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	REQUIRE(addr == room);
	memset(addr, 1, COUNT * page);
	watch = scene_watch(monitor, addr, COUNT * page);
	REQUIRE(!munmap(addr + COUNT * page, 3 * COUNT * page));
	if (mremap(addr, COUNT * page, 2 * COUNT * page, 0) != addr)
		scene_skip("there is no room to grow");
	scene_unmap(addr, COUNT * page);
	piece(addr + COUNT * page, COUNT * page);
	idle_and_unmap();
}

/*
 * A program that may not be traced, as a set-user-ID one, cannot read its
 * pagemap.  The half that is split off was never in what the library knows.
 */
static void grown_where_pagemap_is_refused(void)
{
	char *addr, *room;
	int fd;

	if (!geteuid())
		REQUIRE(!setresuid(65534, 65534, 65534));
	REQUIRE(!prctl(PR_SET_DUMPABLE, 0));
	fd = open("/proc/thread-self/pagemap", O_RDONLY | O_CLOEXEC);
	printf("  pagemap: %s\n", fd < 0 ? "refused" : "can be read");
	begin();
	room = reserve(4 * COUNT * page);
	addr = mmap(room, COUNT * page, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	REQUIRE(addr == room);
	watch = scene_watch(monitor, addr, COUNT * page);
	REQUIRE(!munmap(addr + COUNT * page, 3 * COUNT * page));
	if (mremap(addr, COUNT * page, 2 * COUNT * page, 0) != addr)
		scene_skip("there is no room to grow");
	REQUIRE(!madvise(addr + COUNT * page, COUNT * page, MADV_DONTFORK));
	ummu_monitor_unwatch(monitor, watch);
	REQUIRE(proc_reader_ends());
	scene_unmap(addr + COUNT * page, COUNT * page);
	scene_unmap(addr, COUNT * page);
	scene_watch_works(monitor);
}

/* Memory of a file system of memory, in huge pages if there are any. */
static char *map_memfd(unsigned int flags, size_t length)
{
	int fd = memfd_create("remainder-idle", flags);
	char *addr;

	REQUIRE(fd >= 0 || (flags & MFD_HUGETLB));
	if (fd < 0 || ftruncate(fd, (off_t)length)) {
		close(fd);
		return NULL;
	}
	addr = mmap(NULL, length, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_POPULATE, fd, 0);
	close(fd);
	return addr == MAP_FAILED ? NULL : addr;
}

static void half_of(char *addr, size_t length)
{
	watch = scene_watch(monitor, addr, length);
	scene_unmap(addr, length / 2);
	piece(addr + length / 2, length / 2);
	idle_and_unmap();
}

static void memfd(void)
{
	char *addr;

	begin();
	addr = map_memfd(MFD_CLOEXEC, COUNT * page);
	REQUIRE(addr);
	half_of(addr, COUNT * page);
}

static void hugetlb(void)
{
	const size_t huge = 2UL << 20;
	char *addr;

	begin();
	addr = map_memfd(MFD_CLOEXEC | MFD_HUGETLB, 4 * huge);
	if (!addr)
		scene_skip("no huge pages are reserved");
	half_of(addr, 4 * huge);
}

static void set_break(void *ctx)
{
	REQUIRE(!brk(ctx));
}

/* The heap's end, which the program gives back. */
static void heap(void)
{
	char *start;

	begin();
	start = sbrk(0);
	start += (page - (size_t)start % page) % page;
	REQUIRE(!brk(start + COUNT * page));
	memset(start, 1, COUNT * page);
	watch = scene_watch(monitor, start, COUNT * page);
	scene_returns("brk", set_break, start + COUNT / 2 * page);
	piece(start, COUNT / 2 * page); /* unmapped, though it is the heap */
	idle_and_unmap();
}

static pthread_barrier_t watched_now;

static void *watch_own_stack(void *unused)
{
	char here[4096];

	here[0] = 1;
	watch = scene_watch(monitor, here, sizeof(here));
	pthread_barrier_wait(&watched_now);
	return unused;
}

/* A stack of the program's own, half of which goes when the thread is gone. */
static void stack(void)
{
	const size_t length = 64 * scene_page();
	pthread_attr_t attributes;
	pthread_t thread;
	char *addr;

	begin();
	addr = scene_map(length);
	REQUIRE(!pthread_barrier_init(&watched_now, NULL, 2));
	pthread_attr_init(&attributes);
	REQUIRE(!pthread_attr_setstack(&attributes, addr, length));
	REQUIRE(!pthread_create(&thread, &attributes, watch_own_stack, NULL));
	pthread_barrier_wait(&watched_now);
	REQUIRE(!pthread_join(thread, NULL));
	scene_unmap(addr + length / 2, length / 2);
	piece(addr, length / 2);
	idle_and_unmap();
}

static void *just_end(void *unused)
{
	return unused;
}

/* The stack of a thread that has ended, which the C library keeps or frees. */
static void stack_of_the_library(void)
{
	pthread_t threads[8];

	begin();
	REQUIRE(!pthread_barrier_init(&watched_now, NULL, 2));
	REQUIRE(!pthread_create(&threads[0], NULL, watch_own_stack, NULL));
	pthread_barrier_wait(&watched_now);
	REQUIRE(!pthread_join(threads[0], NULL));
	ummu_monitor_unwatch(monitor, watch);
	REQUIRE(proc_reader_ends());
	for (int i = 0; i < 8; i++)
		REQUIRE(!pthread_create(&threads[i], NULL, just_end, NULL));
	for (int i = 0; i < 8; i++)
		REQUIRE(!pthread_join(threads[i], NULL));
	scene_watch_works(monitor);
}

/* Nothing was unmapped at all: the mapping as a whole outlives the reader. */
static void whole_left(void)
{
	char *addr;
	int go[2];
	pid_t child;

	begin();
	addr = watched(0, COUNT, COUNT);
	piece(addr, COUNT * page);
	child = start_child(go);
	ummu_monitor_unwatch(monitor, watch);
	REQUIRE(proc_reader_ends());
	expect_unregistered();
	unmap_pieces();
	close(go[1]);
	scene_child_ends(child);
	scene_watch_works(monitor);
}

int main(int argc, char **argv)
{
	static const struct scene scenes[] = {
		{ "whole_left", whole_left },
		{ "half_unmapped", half_unmapped },
		{ "half_unmapped_and_held", half_unmapped_and_held },
		{ "watched_part_unmapped", watched_part_unmapped },
		{ "hole_in_the_middle", hole_in_the_middle },
		{ "hole_filled", hole_filled },
		{ "split_by_mprotect", split_by_mprotect },
		{ "grown_and_moved", grown_and_moved },
		{ "shrunk", shrunk },
		{ "moved_and_left_behind", moved_and_left_behind },
		{ "half_moved", half_moved },
		{ "unwatched_part_moved", unwatched_part_moved },
		{ "moved_twice", moved_twice },
		{ "grown_in_place", grown_in_place },
		{ "grown_where_pagemap_is_refused",
		  grown_where_pagemap_is_refused },
		{ "memfd", memfd },
		{ "hugetlb", hugetlb },
		{ "heap", heap },
		{ "stack", stack },
		{ "stack_of_the_library", stack_of_the_library },
	};

	return scenes_play(scenes, sizeof(scenes) / sizeof(scenes[0]), argc,
			   argv);
}
