/* SPDX-License-Identifier: MIT */
/* bench.h - what the files of bench-cache share. */
#ifndef BENCH_CACHE_H
#define BENCH_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_PAGE ((size_t)4096)
#define BENCH_STRIDE ((size_t)8192)  /* from one region to the next */
#define BENCH_LENGTH ((size_t)64)    /* of a request */
#define BENCH_GAP ((size_t)64 << 10) /* around all of them */
#define BENCH_THREADS 2

/**
 * struct subject - one kind of cache, with a pinner that does nothing
 * @name:    for the report
 * @open:    a cache for @regions; NULL and a message if it cannot be had
 * @hit:     get and put of a request; it must be there
 * @missed:  how many gets were not hits, or failed; since it was opened
 * @cycle:   map a page, get, put, unmap: the get registers, the unmapping
 *           invalidates, and the next turn deregisters
 * @plain_cycle: map and unmap in the same way, without a cache
 */
struct subject {
	const char *name;
	void *(*open)(size_t regions);
	void (*close)(void *cache);
	void (*hit)(void *cache, char *addr);
	uint64_t (*missed)(void *cache);
	void (*cycle)(void *cache);
	void (*plain_cycle)(void *cache);
};

extern const struct subject subject_page;   /* ours.c, on page-backend.h */
extern const struct subject subject_uffd;   /* ours.c, on userfaultfd */
extern const struct subject subject_ucx;    /* ucx.c */
extern const struct subject subject_atomic; /* losers.c */
extern const struct subject subject_epoch;

/** say - to stderr. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* sample.c */

/** now - nanoseconds. */
double now(void);

/**
 * struct work - what one thread does in a burst
 * @run: so many operations, going on from where it stopped
 */
struct work {
	void (*run)(struct work *work, unsigned int ops);
	const struct subject *subject;
	void *cache;
	char *base;
	const uint32_t *order;
	size_t regions, at;
};

/**
 * sample - nanoseconds an operation takes, of @threads works at one time
 *
 * Bursts of about two milliseconds; the shortest of several counts, as what
 * else the machine does only makes them longer.  With two threads: nanoseconds
 * from one operation of either to the next, of the slower one.
 */
double sample(struct work *works, unsigned int threads);

/* rows.c and the others: each prints rows, "name subject threads regions ns..." */
#define SAMPLES 9

void row_begin(const char *name, const char *subject, unsigned int threads,
	       size_t regions);
void row_value(double value);
void row_end(void);

/** reserve, give_back - memory for regions at that stride. */
char *reserve(size_t regions);
void give_back(char *base, size_t regions);

void rows_hits(size_t regions);
void rows_cycle(void);
void rows_memory(void);
void rows_storm(void);
void rows_probe(void);
void rows_uring(void);

#endif
