/* SPDX-License-Identifier: MIT */
/*
 * calls.c - makes memory calls through libc or as bare system calls.
 *
 * Only the second is seen by a monitor that does not patch libc.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "calls.h"

static void *pointer(long result)
{
	return (void *)(uintptr_t)result;
}

int ummu_call_munmap(enum matrix_via via, void *addr, size_t length)
{
	if (via == VIA_LIBC)
		return munmap(addr, length);
	return (int)syscall(SYS_munmap, addr, length);
}

void *ummu_call_mmap(enum matrix_via via, void *addr, size_t length, int prot,
		     int flags, int fd, off_t offset)
{
	if (via == VIA_LIBC)
		return mmap(addr, length, prot, flags, fd, offset);
	return pointer(syscall(SYS_mmap, addr, length, prot, flags, fd, offset));
}

void *ummu_call_mremap(enum matrix_via via, void *addr, size_t length,
		       size_t new_length, int flags, void *new_addr)
{
	if (via == VIA_LIBC)
		return mremap(addr, length, new_length, flags, new_addr);
	return pointer(
		syscall(SYS_mremap, addr, length, new_length, flags, new_addr));
}

int ummu_call_madvise(enum matrix_via via, void *addr, size_t length, int advice)
{
	if (via == VIA_LIBC)
		return madvise(addr, length, advice);
	return (int)syscall(SYS_madvise, addr, length, advice);
}

int ummu_call_mprotect(enum matrix_via via, void *addr, size_t length, int prot)
{
	if (via == VIA_LIBC)
		return mprotect(addr, length, prot);
	return (int)syscall(SYS_mprotect, addr, length, prot);
}

int ummu_call_mlock(enum matrix_via via, void *addr, size_t length)
{
	if (via == VIA_LIBC)
		return mlock(addr, length);
	return (int)syscall(SYS_mlock, addr, length);
}

int ummu_call_munlock(enum matrix_via via, void *addr, size_t length)
{
	if (via == VIA_LIBC)
		return munlock(addr, length);
	return (int)syscall(SYS_munlock, addr, length);
}

int ummu_call_fallocate(enum matrix_via via, int fd, int mode, off_t offset,
			off_t length)
{
	if (via == VIA_LIBC)
		return fallocate(fd, mode, offset, length);
	return (int)syscall(SYS_fallocate, fd, mode, offset, length);
}

int ummu_call_ftruncate(enum matrix_via via, int fd, off_t length)
{
	if (via == VIA_LIBC)
		return ftruncate(fd, length);
	return (int)syscall(SYS_ftruncate, fd, length);
}

int ummu_call_shmdt(enum matrix_via via, const void *addr)
{
	if (via == VIA_LIBC)
		return shmdt(addr);
	return (int)syscall(SYS_shmdt, addr);
}

void *ummu_call_shmat(enum matrix_via via, int shmid, void *addr, int flags)
{
	if (via == VIA_LIBC)
		return shmat(shmid, addr, flags);
	return pointer(syscall(SYS_shmat, shmid, addr, flags));
}

int ummu_call_brk(enum matrix_via via, void *addr)
{
	if (via == VIA_LIBC)
		return brk(addr);
	/* the kernel answers with where the break is, not with an error */
	return pointer(syscall(SYS_brk, addr)) == addr ? 0 : -1;
}

int ummu_call_remap_file_pages(enum matrix_via via, void *addr, size_t length,
			       size_t page_offset)
{
	if (via == VIA_LIBC)
		return remap_file_pages(addr, length, 0, page_offset, 0);
	return (int)syscall(SYS_remap_file_pages, addr, length, 0, page_offset,
			    0);
}

ssize_t ummu_call_process_madvise(enum matrix_via via, int pidfd, void *addr,
				  size_t length, int advice)
{
	struct iovec range = { .iov_base = addr, .iov_len = length };

	if (via == VIA_LIBC)
		return process_madvise(pidfd, &range, 1, advice, 0);
	return syscall(SYS_process_madvise, pidfd, &range, 1, advice, 0);
}
