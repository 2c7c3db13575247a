/* SPDX-License-Identifier: MIT */
/* ours.h - what is behind the subjects of ours.c. */
#ifndef BENCH_OURS_H
#define BENCH_OURS_H

struct ours {
	struct ummu_monitor *monitor;
	struct ummu_rcache *rcache;
};

#endif
