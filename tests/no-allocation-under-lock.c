/* SPDX-License-Identifier: MIT */
/*
 * no-allocation-under-lock.c - ends a test that allocates, changes mappings or
 * formats text while it holds a lock of this project.
 *
 * Linked into a test whose code was built with UMMU_COUNT_LOCKS (base/lock.h).
 * The functions below replace the C library's in the whole program, so that what
 * the C library itself allocates, to open a stream say, is noticed too.
 *
 * What it does not see: a lock that was taken without base/lock.h
 * (locks-are-counted.sh looks for those), a mapping that the C library or a raw
 * system call makes, and __tls_get_addr(), which only the loader has.  In a copy
 * of the library that was opened with dlopen() that call allocates a thread's
 * variables at their first use; here they are part of the program, and do not.
 * So code that uses such variables says ummu_no_lock_held() itself.
 */
#undef _FORTIFY_SOURCE	 /* it makes functions of these names inline */
#undef _FILE_OFFSET_BITS /* mmap() and mmap64() both, by their own names */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/lock.h"

#define FRAMES 64

__thread unsigned int ummu_locks_held
	__attribute__((tls_model("initial-exec")));

/* What the C library calls its own, for those who replace the others. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *memory, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);
void __libc_free(void *memory);

static void say(const char *text)
{
	ssize_t written = write(STDERR_FILENO, text, strlen(text));

	(void)written;
}

static __attribute__((noreturn)) void fail(const char *function)
{
	void *frames[FRAMES];

	/* From here on it may allocate: a backtrace does. */
	ummu_locks_held = 0;
	say("\n");
	say(function);
	say("() was called while this thread held a lock of ummunotify:\n");
	backtrace_symbols_fd(frames, backtrace(frames, FRAMES), STDERR_FILENO);
	abort();
}

void ummu_no_lock_held(const char *function)
{
	if (__builtin_expect(ummu_locks_held != 0, 0))
		fail(function);
}

/* Allocation. */

void *malloc(size_t bytes)
{
	ummu_no_lock_held("malloc");
	return __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
	ummu_no_lock_held("calloc");
	return __libc_calloc(count, bytes);
}

void *realloc(void *memory, size_t bytes)
{
	ummu_no_lock_held("realloc");
	return __libc_realloc(memory, bytes);
}

void *memalign(size_t alignment, size_t bytes)
{
	ummu_no_lock_held("memalign");
	return __libc_memalign(alignment, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
	ummu_no_lock_held("aligned_alloc");
	return __libc_memalign(alignment, bytes);
}

int posix_memalign(void **memory_p, size_t alignment, size_t bytes)
{
	void *memory;

	ummu_no_lock_held("posix_memalign");
	if (alignment % sizeof(void *) || !alignment ||
	    alignment & (alignment - 1))
		return EINVAL;
	memory = __libc_memalign(alignment, bytes);
	if (!memory)
		return ENOMEM;
	*memory_p = memory;
	return 0;
}

void free(void *memory)
{
	/* Also free(NULL): who calls it frees something the next time. */
	ummu_no_lock_held("free");
	__libc_free(memory);
}

/* Mappings. */

void *mmap(void *addr, size_t length, int protection, int flags, int fd,
	   off_t offset)
{
	ummu_no_lock_held("mmap");
	return (void *)syscall(SYS_mmap, addr, length, protection, flags, fd,
			       offset);
}

void *mmap64(void *addr, size_t length, int protection, int flags, int fd,
	     off64_t offset)
{
	ummu_no_lock_held("mmap");
	return (void *)syscall(SYS_mmap, addr, length, protection, flags, fd,
			       offset);
}

int munmap(void *addr, size_t length)
{
	ummu_no_lock_held("munmap");
	return (int)syscall(SYS_munmap, addr, length);
}

int madvise(void *addr, size_t length, int advice)
{
	ummu_no_lock_held("madvise");
	return (int)syscall(SYS_madvise, addr, length, advice);
}

void *mremap(void *addr, size_t before, size_t after, int flags, ...)
{
	va_list arguments;
	void *target;

	ummu_no_lock_held("mremap");
	va_start(arguments, flags);
	target = flags & MREMAP_FIXED ? va_arg(arguments, void *) : NULL;
	va_end(arguments);
	return (void *)syscall(SYS_mremap, addr, before, after, flags, target);
}

/* Text, which may allocate and may load a catalogue of messages. */

/* The C library's own functions. */
static struct {
	int (*vsnprintf)(char *, size_t, const char *, va_list);
	int (*vfprintf)(FILE *, const char *, va_list);
	char *(*strerror)(int);
	char *(*strerror_r)(int, char *, size_t);
} library;

static void find(void *function_p, const char *name)
{
	void *function = dlsym(RTLD_NEXT, name);

	if (!function) {
		say(name);
		say(": not in the C library\n");
		abort();
	}
	memcpy(function_p, &function, sizeof(function));
}

/* Before main(), where no fork can have left the loader's lock held. */
static __attribute__((constructor)) void find_all(void)
{
	find(&library.vsnprintf, "vsnprintf");
	find(&library.vfprintf, "vfprintf");
	find(&library.strerror, "strerror");
	find(&library.strerror_r, "strerror_r");
}

/* Constructors of libraries run before this program's. */
static void enter(const char *function)
{
	ummu_no_lock_held(function);
	if (!library.strerror_r)
		find_all();
}

int vsnprintf(char *text, size_t size, const char *format, va_list arguments)
{
	enter("vsnprintf");
	return library.vsnprintf(text, size, format, arguments);
}

int vfprintf(FILE *file, const char *format, va_list arguments)
{
	enter("vfprintf");
	return library.vfprintf(file, format, arguments);
}

int snprintf(char *text, size_t size, const char *format, ...)
{
	va_list arguments;
	int length;

	ummu_no_lock_held("snprintf");
	va_start(arguments, format);
	length = vsnprintf(text, size, format, arguments);
	va_end(arguments);
	return length;
}

int fprintf(FILE *file, const char *format, ...)
{
	va_list arguments;
	int length;

	ummu_no_lock_held("fprintf");
	va_start(arguments, format);
	length = vfprintf(file, format, arguments);
	va_end(arguments);
	return length;
}

int printf(const char *format, ...)
{
	va_list arguments;
	int length;

	ummu_no_lock_held("printf");
	va_start(arguments, format);
	length = vfprintf(stdout, format, arguments);
	va_end(arguments);
	return length;
}

/* By its own name sscanf() is, for this standard, __isoc99_sscanf(). */
int sscanf(const char *text, const char *format, ...)
{
	va_list arguments;
	int count;

	ummu_no_lock_held("sscanf");
	va_start(arguments, format);
	count = vsscanf(text, format, arguments);
	va_end(arguments);
	return count;
}

char *strerror(int error)
{
	enter("strerror");
	return library.strerror(error);
}

char *strerror_r(int error, char *text, size_t size)
{
	enter("strerror_r");
	return library.strerror_r(error, text, size);
}
