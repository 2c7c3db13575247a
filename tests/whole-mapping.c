/* SPDX-License-Identifier: MIT */
/*
 * whole-mapping.c - watching a part of a mapping does not split it.
 *
 * The program's own mremap() of a mapping that was split fails, realloc() falls
 * back to copying, and some 32,000 watches use up what vm.max_map_count allows.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "proc-self.h"
#include "run.h"
#include "scene.h"

#define WATCHES 60000UL
#define SPARE 64 /* mappings that the library and malloc() may use */

static size_t page;
static struct ummu_monitor *monitor;

static void set_up(void)
{
	page = scene_page();
	monitor = scene_monitor();
}

/* The middle is watched. */
static char *part_watched(size_t length)
{
	char *addr = scene_map(length);

	scene_watch(monitor, addr + length / 4, page);
	return addr;
}

struct move {
	char *from;
	size_t length, new_length;
	int flags;
	void *to;
};

/* The C library has a thread take the errno with it, so it is kept here. */
static int move_error;

static void remap(void *ctx)
{
	struct move *move = ctx;

	move->to = mremap(move->from, move->length, move->new_length,
			  move->flags, NULL);
	move_error = move->to == MAP_FAILED ? errno : 0;
}

static char *moves(const char *what, char *from, size_t length,
		   size_t new_length, int flags)
{
	struct move move = { from, length, new_length, flags, NULL };

	scene_returns("mremap", remap, &move);
	printf("  %s: %s\n", what, move_error ? strerror(move_error) : "works");
	REQUIRE(!move_error);
	return move.to;
}

static void grows_and_moves(void)
{
	const size_t length = 1UL << 20;
	char *to;

	set_up();
	to = moves("mremap that grows", part_watched(length), length,
		   2 * length, MREMAP_MAYMOVE);
	for (size_t at = 0; at < length; at += page)
		REQUIRE(to[at] == 1);
}

static void shrinks(void)
{
	const size_t length = 1UL << 20;
	char *addr, *to;

	set_up();
	addr = part_watched(length);
	to = moves("mremap that shrinks", addr, length, length / 8,
		   MREMAP_MAYMOVE);
	REQUIRE(to == addr);
}

static void is_left_behind(void)
{
	const size_t length = 1UL << 20;

	set_up();
	moves("mremap that leaves the mapping", part_watched(length), length,
	      length, MREMAP_MAYMOVE | MREMAP_DONTUNMAP);
}

/* A block that malloc() has mapped grows by mremap(), not by a copy. */
static void realloc_does_not_copy(void)
{
	const size_t length = 64UL << 20;
	struct rusage before, after;
	char *block;

	set_up();
	mallopt(M_MMAP_THRESHOLD, 1 << 20);
	block = malloc(length);
	REQUIRE(block);
	memset(block, 1, length);
	scene_watch(monitor, block + (1 << 20), 16 * page);
	getrusage(RUSAGE_SELF, &before);
	block = realloc(block, length + (1 << 20));
	getrusage(RUSAGE_SELF, &after);
	REQUIRE(block);
	printf("  realloc of a part-watched block: %ld pages were touched\n",
	       after.ru_minflt - before.ru_minflt);
	/* A copy touches each new page, unless pages are huge. */
	REQUIRE(after.ru_minflt - before.ru_minflt < 32);
	REQUIRE(block[length - 1] == 1);
}

static void count_stays(const char *what, unsigned int before)
{
	unsigned int after = proc_mappings();

	printf("  %s: %u mappings before, %u after\n", what, before, after);
	REQUIRE(after <= before + SPARE);
}

/* The program splits it and puts it together again, as without watches. */
static void protection_changes(void)
{
	char *addr;
	unsigned int before, mine;

	set_up();
	addr = part_watched(64 * page);
	before = proc_mappings();
	REQUIRE(!mprotect(addr + 8 * page, 4 * page, PROT_READ));
	mine = proc_mappings();
	printf("  mprotect of a part: %u mappings, then %u\n", before, mine);
	REQUIRE(!mprotect(addr + 8 * page, 4 * page, PROT_READ | PROT_WRITE));
	count_stays("mprotect back", before);
	REQUIRE(proc_mappings() <= before);
	addr[9 * page] = 3;
}

static char *sparse_map(void)
{
	char *addr = mmap(NULL, 2 * WATCHES * page, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	REQUIRE(addr != MAP_FAILED);
	return addr;
}

/* Every second page. */
static void watch_many(char *addr)
{
	double start = run_seconds();
	struct ummu_watch *handle;
	size_t refused = 0;

	for (size_t i = 0; i < WATCHES; i++)
		if (ummu_monitor_watch(monitor, addr + 2 * i * page, page, i,
				       &handle)) {
			if (!refused++)
				printf("  a refusal: %s\n",
				       ummu_monitor_explain());
		}
	printf("  %lu watches in %.2f s, %zu refused\n", WATCHES,
	       run_seconds() - start, refused);
	REQUIRE(!refused);
}

static void goes_on_as_before(char *addr)
{
	char *more = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	REQUIRE(more != MAP_FAILED);
	REQUIRE(!mprotect(more + page, page, PROT_READ));
	REQUIRE(!mprotect(addr + page, page, PROT_READ));
	REQUIRE(!mprotect(addr + page, page, PROT_READ | PROT_WRITE));
	moves("mremap of all of it", addr, 2 * WATCHES * page,
	      4 * WATCHES * page, MREMAP_MAYMOVE);
}

static void many_watches(void)
{
	unsigned int before;
	char *addr;

	set_up();
	addr = sparse_map();
	before = proc_mappings();
	watch_many(addr);
	count_stays("descriptors are free", before);
	goes_on_as_before(addr);
}

/* The library cannot look the mapping up in a file it would have to open. */
static void many_watches_without_descriptors(void)
{
	const struct rlimit few = { 20, 20 };
	unsigned int before;
	int last = -1, fd;
	char *addr;

	set_up();
	addr = sparse_map();
	before = proc_mappings();
	REQUIRE(!setrlimit(RLIMIT_NOFILE, &few));
	while ((fd = dup(0)) >= 0)
		last = fd;
	REQUIRE(errno == EMFILE);
	watch_many(addr);
	close(last); /* to read /proc */
	count_stays("no descriptor is free", before);
	goes_on_as_before(addr);
}

/* Through a cache, whose regions come and go. */
static void many_regions(void)
{
	struct ummu_region *region;
	struct ummu_rcache *rcache;
	unsigned int before;
	size_t uncached = 0;
	char *addr;

	set_up();
	REQUIRE(!ummu_rcache_create(monitor, &scene_pinner, NULL, NULL,
				    &rcache));
	addr = sparse_map();
	before = proc_mappings();
	for (size_t i = 0; i < WATCHES; i++) {
		REQUIRE(!ummu_rcache_get(rcache, addr + 2 * i * page, page, 0,
					 &region));
		uncached += !region->cached;
		ummu_rcache_put(rcache, region);
	}
	printf("  %zu of %lu regions are not cached\n", uncached, WATCHES);
	count_stays("regions", before);
	REQUIRE(!uncached);
}

int main(int argc, char **argv)
{
	static const struct scene scenes[] = {
		{ "grows_and_moves", grows_and_moves },
		{ "shrinks", shrinks },
		{ "is_left_behind", is_left_behind },
		{ "realloc_does_not_copy", realloc_does_not_copy },
		{ "protection_changes", protection_changes },
		{ "many_watches", many_watches },
		{ "many_watches_without_descriptors",
		  many_watches_without_descriptors },
		{ "many_regions", many_regions },
	};

	return scenes_play(scenes, sizeof(scenes) / sizeof(scenes[0]), argc,
			   argv);
}
