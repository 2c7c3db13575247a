/* SPDX-License-Identifier: MIT */
/*
 * bench.h - what the files of `ummunotify bench` share.
 */
#ifndef UMMU_BENCH_H
#define UMMU_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ummunotify/rcache.h>

#define BENCH_RANGES 64		      /* mappings that a case works on */
#define BENCH_RANGE_BYTES (64 * 1024) /* each */

void bench_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* bench-sample.c */

/**
 * struct bench_case - one thing to measure
 * @name:     of the operation; bench_name_cases() has the last word
 * @against:  the name of the bare operation in the same group, or NULL
 * @threads:  that run it at the same time
 * @ops:      operations of each thread in one sample
 * @prepare:  before each sample, not timed; may be NULL.  0 or -errno
 * @run:      does @ops operations; timed, in each thread
 * @finish:   after each sample, not timed; may be NULL
 * @context:  for the three
 * @median, @p10, @p90: nanoseconds an operation, over the samples
 */
struct bench_case {
	const char *name;
	const char *against;
	unsigned int threads;
	unsigned int ops;
	int (*prepare)(void *context);
	void (*run)(void *context, unsigned int thread, unsigned int ops);
	void (*finish)(void *context);
	void *context;
	double median;
	double p10;
	double p90;
};

/**
 * bench_run - measure the cases of a group, taking turns
 *
 * A round takes one sample of each case, so that whatever else the machine
 * does meets them all alike.
 */
int bench_run(struct bench_case *cases, size_t count, unsigned int rounds);

/* What the tables call the operations of struct bench_bare. */
#define BENCH_PROBE "bare probe"
#define BENCH_ADD "bare watch"
#define BENCH_DROP "bare unwatch"

struct bench_bare;

/** bench_name_cases - put the names of @bare for these. */
void bench_name_cases(struct bench_case *cases, size_t count,
		      const struct bench_bare *bare);

/* bench-ranges.c */

/**
 * struct bench_ranges - mappings that touch no other mapping
 * @addr: BENCH_RANGES times BENCH_RANGE_BYTES of touched anonymous memory
 */
struct bench_ranges {
	void *arena;
	void *addr[BENCH_RANGES];
};

int bench_ranges_map(struct bench_ranges *ranges);
void bench_ranges_unmap(struct bench_ranges *ranges);

/**
 * struct bench_bare - what a backend is built on, with no library around it
 * @backend:    its name
 * @probe_name, @add_name, @drop_name: of the operations below, for the tables
 * @open:       0, or -errno and a message; one at a time
 * @probe:      what a check does, so many times
 * @add, @drop: start and end to watch a range of BENCH_RANGE_BYTES, which is
 *              number @i of BENCH_RANGES; @add returns 0 or -errno
 */
struct bench_bare {
	const char *backend;
	const char *probe_name;
	const char *add_name;
	const char *drop_name;
	int (*open)(void);
	void (*close)(void);
	void (*probe)(unsigned int ops);
	int (*add)(void *addr, unsigned int i);
	void (*drop)(void *addr, unsigned int i);
};

extern const struct bench_bare bench_bare_uffd; /* bench-uffd.c */
extern const struct bench_bare bench_bare_kmod; /* bench-kmod.c */

/** bench_bare_of - of the monitor's backend. */
const struct bench_bare *bench_bare_of(const struct ummu_monitor *monitor);

/* The groups; each fills in and measures its cases. */

struct bench_group {
	const char *name;
	const char *counts; /* what one operation is */
	struct bench_case *cases;
	size_t count;
	int (*measure)(struct bench_group *group, unsigned int rounds);
};

extern struct bench_group bench_check; /* bench-monitor.c */
extern struct bench_group bench_watch;
extern struct bench_group bench_cache;	/* bench-cache.c */
extern struct bench_group bench_munmap; /* bench-unmap.c */
extern struct bench_group bench_madvise;

#endif
