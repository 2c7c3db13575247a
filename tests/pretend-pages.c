/* SPDX-License-Identifier: MIT */
/*
 * pretend-pages.c - preloaded, makes a program believe in pages of 64 KiB.
 *
 * Some kernels of arm64 and other machines have such pages.  There, whatever
 * takes 4096 bytes for a page fails, or damages what lies beside its memory.
 * This object finds such code on a machine with pages of 4 KiB: it says that
 * pages are of 64 KiB, and the calls below refuse, round and align as a kernel
 * with such pages does.  UFFDIO_COPY and its kin, remap_file_pages() and
 * process_madvise() are not among them, nor is /proc: tests of these cannot
 * run here.
 *
 * Memory that the C library maps for itself (the heap, stacks, libraries) keeps
 * its small pages.  Thus all that the program maps is put far away from it, so
 * that the kernel never joins the two into one mapping.
 */
#undef _FILE_OFFSET_BITS /* it would rename mmap, and both are defined here */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/userfaultfd.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PRETENDED ((uintptr_t)64 << 10)
#define LEAST_REAL 4096 /* no machine has smaller pages */

/* Much more than any test maps. */
#define AREA_BYTES ((uintptr_t)1 << 40)

/*
 * Where the program's memory goes, and where in it to look for room first.
 * Relaxed atomics: the area is the same whoever finds it out last, and the
 * cursor is a hint, as the kernel tells what is in use.
 */
static uintptr_t area, cursor;

static int error(int number)
{
	errno = number;
	return -1;
}

static int aligned(const void *address)
{
	return !((uintptr_t)address & (PRETENDED - 1));
}

/* What is too much stays so, for the kernel to refuse. */
static size_t whole(size_t bytes)
{
	if (bytes > SIZE_MAX - PRETENDED)
		return bytes;
	return (bytes + PRETENDED - 1) & ~(PRETENDED - 1);
}

long sysconf(int name)
{
	static long (*real)(int);
	long (*found)(int) = __atomic_load_n(&real, __ATOMIC_RELAXED);
	void *symbol;

	if (name == _SC_PAGESIZE)
		return (long)PRETENDED;
	if (!found) {
		symbol = dlsym(RTLD_NEXT, "sysconf");
		memcpy(&found, &symbol, sizeof(found));
		/* Relaxed: whoever is here finds the same function. */
		__atomic_store_n(&real, found, __ATOMIC_RELAXED);
	}
	return found(name);
}

int getpagesize(void)
{
	return (int)PRETENDED;
}

static void *map_at(uintptr_t address, size_t bytes, int protection, int flags,
		    int fd, off_t offset)
{
	return (void *)syscall(SYS_mmap, address, bytes, protection, flags, fd,
			       offset);
}

/* The kernel puts the next mappings at its upper end; it is empty below. */
static uintptr_t find_area(void)
{
	void *found = map_at(0, AREA_BYTES, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			     0);

	if (found == MAP_FAILED)
		return 0;
	syscall(SYS_munmap, found, AREA_BYTES);
	return whole((uintptr_t)found);
}

static uintptr_t first_to_try(void)
{
	uintptr_t first = __atomic_load_n(&cursor, __ATOMIC_RELAXED);

	if (first)
		return first;
	first = find_area();
	__atomic_store_n(&area, first, __ATOMIC_RELAXED);
	return first;
}

/* Like the kernel's mmap, it soon uses addresses again. */
static void *map_anywhere(size_t bytes, int protection, int flags, int fd,
			  off_t offset)
{
	uintptr_t address = first_to_try();
	int before = errno;
	void *memory;

	do {
		memory = map_at(address, bytes, protection,
				flags | MAP_FIXED_NOREPLACE, fd, offset);
		if (memory == MAP_FAILED)
			address += PRETENDED;
	} while (memory == MAP_FAILED && errno == EEXIST);
	if (memory == MAP_FAILED)
		return memory;
	__atomic_store_n(&cursor, address + bytes, __ATOMIC_RELAXED);
	errno = before;
	return memory;
}

static void came_free(const void *memory)
{
	uintptr_t first = __atomic_load_n(&area, __ATOMIC_RELAXED);
	uintptr_t address = (uintptr_t)memory;

	if (first && address >= first &&
	    address < __atomic_load_n(&cursor, __ATOMIC_RELAXED))
		__atomic_store_n(&cursor, address, __ATOMIC_RELAXED);
}

static void *map_near(uintptr_t hint, size_t bytes, int protection, int flags,
		      int fd, off_t offset)
{
	int before = errno;
	void *memory = map_at(whole(hint), bytes, protection,
			      flags | MAP_FIXED_NOREPLACE, fd, offset);

	if (memory != MAP_FAILED || errno != EEXIST)
		return memory;
	errno = before;
	return map_anywhere(bytes, protection, flags, fd, offset);
}

void *mmap(void *address, size_t bytes, int protection, int flags, int fd,
	   off_t offset)
{
	int fixed = flags & (MAP_FIXED | MAP_FIXED_NOREPLACE);

	if (offset & (off_t)(PRETENDED - 1) || (fixed && !aligned(address))) {
		errno = EINVAL;
		return MAP_FAILED;
	}
	bytes = whole(bytes);
	/* Huge pages are larger than ours, and lie where they can. */
	if (fixed || flags & MAP_HUGETLB)
		return map_at((uintptr_t)address, bytes, protection, flags, fd,
			      offset);
	if (address)
		return map_near((uintptr_t)address, bytes, protection, flags,
				fd, offset);
	return map_anywhere(bytes, protection, flags, fd, offset);
}

void *mmap64(void *address, size_t bytes, int protection, int flags, int fd,
	     off64_t offset)
{
	return mmap(address, bytes, protection, flags, fd, offset);
}

int munmap(void *address, size_t bytes)
{
	if (!aligned(address))
		return error(EINVAL);
	if (syscall(SYS_munmap, address, whole(bytes)))
		return -1;
	came_free(address);
	return 0;
}

static void *move(void *from, size_t old, size_t new, int flags, void *to)
{
	return (void *)syscall(SYS_mremap, from, old, new, flags, to);
}

static void *move_anywhere(void *from, size_t old, size_t new, int flags)
{
	void *to = map_anywhere(new, PROT_NONE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
				0);
	void *moved;
	int reason;

	if (to == MAP_FAILED)
		return to;
	moved = move(from, old, new, flags | MREMAP_FIXED, to);
	if (moved != MAP_FAILED) {
		came_free(from);
		return moved;
	}
	reason = errno;
	munmap(to, new);
	errno = reason;
	return moved;
}

void *mremap(void *from, size_t old, size_t new, int flags, ...)
{
	void *to = NULL, *moved;
	va_list rest;
	int before = errno;

	va_start(rest, flags);
	if (flags & MREMAP_FIXED)
		to = va_arg(rest, void *);
	va_end(rest);
	if (!aligned(from) || !aligned(to)) {
		errno = EINVAL;
		return MAP_FAILED;
	}
	old = whole(old);
	new = whole(new);
	if (flags & MREMAP_FIXED || !(flags & MREMAP_MAYMOVE))
		return move(from, old, new, flags, to);
	/* In place, if it can be. */
	moved = move(from, old, new, flags & ~MREMAP_MAYMOVE, NULL);
	if (moved != MAP_FAILED)
		return moved;
	errno = before;
	return move_anywhere(from, old, new, flags);
}

int mprotect(void *address, size_t bytes, int protection)
{
	if (!aligned(address))
		return error(EINVAL);
	return (int)syscall(SYS_mprotect, address, whole(bytes), protection);
}

int madvise(void *address, size_t bytes, int advice)
{
	if (!aligned(address))
		return error(EINVAL);
	return (int)syscall(SYS_madvise, address, whole(bytes), advice);
}

int msync(void *address, size_t bytes, int flags)
{
	if (!aligned(address))
		return error(EINVAL);
	return (int)syscall(SYS_msync, address, whole(bytes), flags);
}

/* A page is resident if any part of it is. */
int mincore(void *address, size_t bytes, unsigned char *resident)
{
	size_t parts = PRETENDED / getauxval(AT_PAGESZ);
	unsigned char part[PRETENDED / LEAST_REAL];
	char *pages = address;

	if (!aligned(address))
		return error(EINVAL);
	for (size_t i = 0; i < whole(bytes) / PRETENDED; i++) {
		if (syscall(SYS_mincore, pages + i * PRETENDED, PRETENDED, part))
			return -1;
		resident[i] = 0;
		for (size_t j = 0; j < parts; j++)
			resident[i] |= part[j];
	}
	return 0;
}

/* Of the lock calls only the address is rounded down. */
static uintptr_t begin_of(const void *address)
{
	return (uintptr_t)address & ~(PRETENDED - 1);
}

static size_t length_of(const void *address, size_t bytes)
{
	return whole(bytes + ((uintptr_t)address - begin_of(address)));
}

int mlock(const void *address, size_t bytes)
{
	return (int)syscall(SYS_mlock, begin_of(address),
			    length_of(address, bytes));
}

int munlock(const void *address, size_t bytes)
{
	return (int)syscall(SYS_munlock, begin_of(address),
			    length_of(address, bytes));
}

int shmget(key_t key, size_t bytes, int flags)
{
	return (int)syscall(SYS_shmget, key, whole(bytes), flags);
}

static void *attach(int segment, const void *address, int flags)
{
	return (void *)syscall(SYS_shmat, segment, address, flags);
}

static void *attach_anywhere(int segment, int flags)
{
	struct shmid_ds about;
	void *room, *memory;
	int reason;

	if (shmctl(segment, IPC_STAT, &about))
		return MAP_FAILED;
	room = map_anywhere(whole(about.shm_segsz), PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (room == MAP_FAILED)
		return room;
	memory = attach(segment, room, flags | SHM_REMAP);
	if (memory != MAP_FAILED)
		return memory;
	reason = errno;
	munmap(room, whole(about.shm_segsz));
	errno = reason;
	return memory;
}

void *shmat(int segment, const void *address, int flags)
{
	if (!address)
		return attach_anywhere(segment, flags);
	if (flags & SHM_RND)
		address = (const void *)begin_of(address);
	if (!aligned(address)) {
		errno = EINVAL;
		return MAP_FAILED;
	}
	return attach(segment, address, flags);
}

static int range_refused(const struct uffdio_range *range)
{
	return range->start & (PRETENDED - 1) || range->len & (PRETENDED - 1);
}

/* An empty range has no alignment: the library asks with one for what is new. */
static int userfaultfd_refuses(unsigned long request, const void *argument)
{
	const struct uffdio_writeprotect *protect = argument;
	const struct uffdio_register *registration = argument;

	switch (request) {
	case UFFDIO_REGISTER:
		return range_refused(&registration->range);
	case UFFDIO_UNREGISTER:
	case UFFDIO_WAKE:
		return range_refused(argument);
	case UFFDIO_WRITEPROTECT:
		return protect->range.len && range_refused(&protect->range);
	default:
		return 0;
	}
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list rest;
	void *argument;

	va_start(rest, request);
	argument = va_arg(rest, void *);
	va_end(rest);
	if (userfaultfd_refuses(request, argument))
		return error(EINVAL);
	return (int)syscall(SYS_ioctl, fd, request, argument);
}
