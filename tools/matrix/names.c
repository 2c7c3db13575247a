/* SPDX-License-Identifier: MIT */
/*
 * names.c - the words by which the matrix calls things.
 */
#include "matrix.h"

const char *ummu_kind_name(enum matrix_kind kind)
{
	static const char *const names[KIND_COUNT] = {
		[KIND_ANONYMOUS] = "anonymous",
		[KIND_THP] = "thp",
		[KIND_MEMFD] = "memfd",
		[KIND_HUGETLB_SHARED] = "hugetlb-shared",
		[KIND_HUGETLB_PRIVATE] = "hugetlb-private",
		[KIND_SYSV_SHM] = "sysv-shm",
		[KIND_FILE_PRIVATE] = "file-private",
		[KIND_FILE_SHARED] = "file-shared",
		[KIND_BRK] = "brk",
		[KIND_MALLOC] = "malloc",
		[KIND_MALLOC_LARGE] = "malloc-large",
		[KIND_STACK_CACHED] = "stack-cached",
		[KIND_STACK_FREED] = "stack-freed",
		[KIND_STACK_OWN] = "stack-own",
		[KIND_LIBRARY] = "library",
	};

	return names[kind];
}

const char *ummu_via_name(enum matrix_via via)
{
	return via == VIA_LIBC ? "libc" : "syscall";
}

const char *ummu_verdict_name(enum matrix_verdict verdict)
{
	static const char *const names[VERDICT_COUNT] = {
		[VERDICT_CAUGHT] = "caught",
		[VERDICT_MISSED] = "missed",
		[VERDICT_EARLY] = "early",
		[VERDICT_QUIET] = "quiet",
		[VERDICT_SPURIOUS] = "spurious",
		[VERDICT_UNKNOWN] = "unknown",
		[VERDICT_SKIPPED] = "skipped",
		[VERDICT_MAY_FIRE] = "may-fire",
	};

	return names[verdict];
}
