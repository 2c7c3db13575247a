/* SPDX-License-Identifier: MIT */
/* fuzz-rcache.c - libFuzzer writes the programs that rcache-ops.h runs. */
#include "rcache-ops.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	rcache_ops_run(data, size, NULL);
	return 0;
}
