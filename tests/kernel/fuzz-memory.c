/* SPDX-License-Identifier: MIT */
/* fuzz-memory.c - random changes of memory, descriptors and mappings. */
#define _GNU_SOURCE
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "device.h"
#include "tests/run.h"

uint64_t fuzz_chance(uint64_t *state, uint64_t below)
{
	uint64_t number = run_random(state);

	return below ? number % below : number;
}

void fuzz_failed(const char *what, long value)
{
	printf("must not be: %s: %ld\n", what, value);
	fflush(stdout);
	_exit(1);
}

char *fuzz_address(uint64_t *state)
{
	static const uint64_t bad[] = { 0,
					8,
					4096,
					0x7fffffffe000,
					0x7ffffffff000,
					0x800000000000,
					0xffff888000000000,
					0xffffffffff600000,
					~0ULL - 4095,
					~0ULL };

	if (!fuzz_chance(state, 6))
		return (char *)bad[fuzz_chance(state, 10)];
	return FUZZ_ARENA + fuzz_chance(state, FUZZ_PAGES * 4096);
}

int fuzz_file(struct fuzz *fuzz, uint64_t *state)
{
	int *slot = &fuzz->files[fuzz_chance(state, FUZZ_FILES)];

	return __atomic_load_n(slot, __ATOMIC_RELAXED);
}

void fuzz_memory(uint64_t *state)
{
	static const int protections[] = { PROT_NONE, PROT_READ,
					   PROT_READ | PROT_WRITE,
					   PROT_READ | PROT_WRITE };
	static const int advice[] = { MADV_DONTNEED,   MADV_FREE,
				      MADV_COLD,       MADV_PAGEOUT,
				      MADV_WILLNEED,   MADV_DONTFORK,
				      MADV_DOFORK,     MADV_MERGEABLE,
				      MADV_UNMERGEABLE };
	uint64_t first = fuzz_chance(state, FUZZ_PAGES);
	uint64_t count = 1 + fuzz_chance(state, 8);
	uint64_t to = fuzz_chance(state, FUZZ_PAGES);
	char *at = FUZZ_ARENA + first * page;
	size_t length;

	if (count > FUZZ_PAGES - first)
		count = FUZZ_PAGES - first;
	if (to > FUZZ_PAGES - count)
		to = FUZZ_PAGES - count;
	length = count * page;
	switch (fuzz_chance(state, 8)) {
	case 0:
		munmap(at, length);
		break;
	case 1:
		madvise(at, length, advice[fuzz_chance(state, 9)]);
		break;
	case 2:
		mprotect(at, length, protections[fuzz_chance(state, 4)]);
		break;
	case 3:
		mremap(at, length, length, MREMAP_MAYMOVE | MREMAP_FIXED,
		       FUZZ_ARENA + to * page);
		break;
	default:
		mmap(at, length, PROT_READ | PROT_WRITE,
		     (fuzz_chance(state, 3) ? MAP_PRIVATE : MAP_SHARED) |
			     MAP_ANONYMOUS | MAP_FIXED |
			     (fuzz_chance(state, 2) ? MAP_POPULATE : 0),
		     -1, 0);
	}
}

static void reopen(int *slot, uint64_t *state)
{
	/* Who reads from one that blocks waits for a signal: fuzz-ioctl.c. */
	int fd = device_open(fuzz_chance(state, 30) ? O_NONBLOCK : 0);

	if (fd < 0)
		return;
	fd = __atomic_exchange_n(slot, fd, __ATOMIC_RELAXED);
	if (fd)
		close(fd);
}

/* Puts this there, and unmaps what was there. */
static void put_map(struct fuzz *fuzz, uint64_t which, char *map, size_t pages)
{
	uintptr_t old = __atomic_exchange_n(&fuzz->maps[which],
					    (uintptr_t)map | pages,
					    __ATOMIC_ACQ_REL);

	if (old)
		munmap((char *)(old & -page), old % page * page);
}

static void map(struct fuzz *fuzz, uint64_t which, uint64_t *state)
{
	static const int protections[] = { PROT_READ, PROT_READ, PROT_READ,
					   PROT_READ | PROT_WRITE, PROT_NONE };
	size_t pages = 1 + fuzz_chance(state, 40);
	int protection = protections[fuzz_chance(state, 5)];
	int flags = fuzz_chance(state, 5) ? MAP_SHARED : MAP_PRIVATE;
	size_t offset = fuzz_chance(state, 3) ? 0 : fuzz_chance(state, 50);
	char *map = mmap(NULL, pages * page, protection, flags,
			 fuzz_file(fuzz, state), (off_t)(offset * page));

	if (map == MAP_FAILED)
		return;
	if (protection & PROT_WRITE)
		fuzz_failed("writable mapping", (long)(uintptr_t)map);
	put_map(fuzz, which, map, pages);
}

/* To a file: what is not there is an error, and no SIGBUS. */
static void look(const char *map, size_t length)
{
	static int sink;
	int fd = __atomic_load_n(&sink, __ATOMIC_RELAXED);

	if (!fd) {
		fd = memfd_create("sink", MFD_CLOEXEC);
		__atomic_store_n(&sink, fd, __ATOMIC_RELAXED);
	}
	if (pwrite(fd, map, length, 0) < 0 && errno != EFAULT)
		fuzz_failed("look", errno);
}

static void use_map(struct fuzz *fuzz, uint64_t *state)
{
	uint64_t which = fuzz_chance(state, FUZZ_MAPS);
	uintptr_t taken = __atomic_exchange_n(&fuzz->maps[which], 0,
					      __ATOMIC_ACQ_REL);
	char *at = (char *)(taken & -page);
	size_t length = taken % page * page;

	if (!taken)
		return;
	switch (fuzz_chance(state, 6)) {
	case 0:
		munmap(at, length);
		return;
	case 1:
		if (!mprotect(at, length, PROT_READ | PROT_WRITE))
			fuzz_failed("made writable", (long)(uintptr_t)at);
		break;
	case 2:
		if (mremap(at, length, length + page, MREMAP_MAYMOVE) !=
		    MAP_FAILED)
			fuzz_failed("expanded", (long)(uintptr_t)at);
		break;
	case 3:
		madvise(at, length, (int)fuzz_chance(state, 26));
		break;
	default:
		look(at, length);
	}
	put_map(fuzz, which, at, length / page);
}

void fuzz_descriptor(struct fuzz *fuzz, uint64_t *state)
{
	uint64_t which = fuzz_chance(state, FUZZ_FILES);
	struct pollfd poller = { .fd = fuzz_file(fuzz, state),
				 .events = (short)fuzz_chance(state, 64) };

	switch (fuzz_chance(state, 8)) {
	case 0:
		reopen(&fuzz->files[which], state);
		break;
	case 1:
	case 2:
		map(fuzz, fuzz_chance(state, FUZZ_MAPS), state);
		break;
	case 3:
		poll(&poller, 1, 0);
		break;
	case 4:
		fcntl(poller.fd, F_SETOWN, getpid());
		fcntl(poller.fd, F_SETFL,
		      O_NONBLOCK | (fuzz_chance(state, 2) ? O_ASYNC : 0));
		break;
	default:
		use_map(fuzz, state);
	}
}
