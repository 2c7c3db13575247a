/* SPDX-License-Identifier: MIT */
/*
 * calls.h - memory calls in two ways: libc's function, or the bare system call.
 *
 * All of them answer as the libc function does: -1 or MAP_FAILED, and errno.
 */
#ifndef UMMU_MATRIX_CALLS_H
#define UMMU_MATRIX_CALLS_H

#include <sys/types.h>

#include "matrix.h"

#ifndef MADV_COLD
#define MADV_COLD 20
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

int ummu_call_munmap(enum matrix_via via, void *addr, size_t length);
void *ummu_call_mmap(enum matrix_via via, void *addr, size_t length, int prot,
		     int flags, int fd, off_t offset);
void *ummu_call_mremap(enum matrix_via via, void *addr, size_t length,
		       size_t new_length, int flags, void *new_addr);
int ummu_call_madvise(enum matrix_via via, void *addr, size_t length,
		      int advice);
int ummu_call_mprotect(enum matrix_via via, void *addr, size_t length, int prot);
int ummu_call_mlock(enum matrix_via via, void *addr, size_t length);
int ummu_call_munlock(enum matrix_via via, void *addr, size_t length);
int ummu_call_fallocate(enum matrix_via via, int fd, int mode, off_t offset,
			off_t length);
int ummu_call_ftruncate(enum matrix_via via, int fd, off_t length);
int ummu_call_shmdt(enum matrix_via via, const void *addr);
void *ummu_call_shmat(enum matrix_via via, int shmid, void *addr, int flags);
int ummu_call_brk(enum matrix_via via, void *addr);
int ummu_call_remap_file_pages(enum matrix_via via, void *addr, size_t length,
			       size_t page_offset);
ssize_t ummu_call_process_madvise(enum matrix_via via, int pidfd, void *addr,
				  size_t length, int advice);

#endif
