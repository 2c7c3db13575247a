/* SPDX-License-Identifier: MIT */
/*
 * verify-overclaim.c - preloaded, makes every backend claim every operation.
 */
#include <string.h>

#include <ummunotify/monitor.h>

int ummu_monitor_caps(const struct ummu_monitor *monitor, struct ummu_caps *caps)
{
	(void)monitor;
	memset(caps->claims, UMMU_CLAIM_CAUGHT, sizeof(caps->claims));
	return 0;
}
