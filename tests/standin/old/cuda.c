/* SPDX-License-Identifier: MIT */
/* cuda.c - a libcuda.so.1 that lacks the calls of today. */
int cuInit(unsigned int flags);

int cuInit(unsigned int flags)
{
	(void)flags;
	return 0;
}
