/* SPDX-License-Identifier: MIT */
/* rows.c - the rows of bench-cache: hits, cycles, memory, the probe. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../lib/uffd-abi.h"
#include "bench.h"

#ifdef HAVE_UCX
static const struct subject *const ucx = &subject_ucx;
#else
static const struct subject *const ucx;
#endif

void say(const char *format, ...)
{
	va_list list;

	fputs("bench-cache: ", stderr);
	va_start(list, format);
	vfprintf(stderr, format, list);
	va_end(list);
	fputc('\n', stderr);
}

void row_begin(const char *name, const char *subject, unsigned int threads,
	       size_t regions)
{
	printf("%s %s %u %zu", name, subject, threads, regions);
}

void row_value(double value)
{
	printf(" %.3f", value);
}

void row_end(void)
{
	putchar('\n');
	fflush(stdout);
}

/* Fisher and Yates; the same order each time. */
static uint32_t *shuffled(size_t count)
{
	uint32_t *order = malloc(count * sizeof(*order));
	uint64_t random = 88172645463325252ULL;

	if (!order)
		abort();
	for (size_t i = 0; i < count; i++)
		order[i] = (uint32_t)i;
	for (size_t i = count - 1; i > 0; i--) {
		uint32_t other = order[i];
		size_t j;

		/* xorshift64, Marsaglia 2003. */
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		j = random % (i + 1);
		order[i] = order[j];
		order[j] = other;
	}
	return order;
}

static void run_random(struct work *work, unsigned int ops)
{
	const struct subject *subject = work->subject;
	size_t at = work->at;

	while (ops--) {
		subject->hit(work->cache,
			     work->base + work->order[at] * BENCH_STRIDE);
		if (++at == work->regions)
			at = 0;
	}
	work->at = at;
}

static void run_hot(struct work *work, unsigned int ops)
{
	while (ops--)
		work->subject->hit(work->cache,
				   work->base + work->at * BENCH_STRIDE);
}

/*
 * Never touched, and nothing adjoins it: a page that a cycle maps next to a
 * region would be registered together with it, and take it along when it goes.
 */
char *reserve(size_t regions)
{
	char *base = mmap(NULL, regions * BENCH_STRIDE + 2 * BENCH_GAP,
			  PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (base == MAP_FAILED)
		abort();
	return base + BENCH_GAP;
}

void give_back(char *base, size_t regions)
{
	munmap(base - BENCH_GAP, regions * BENCH_STRIDE + 2 * BENCH_GAP);
}

/* Register them all, and use each once. */
static void fill(const struct subject *subject, void *cache, char *base,
		 size_t regions)
{
	for (int round = 0; round < 2; round++)
		for (size_t i = 0; i < regions; i++)
			subject->hit(cache, base + i * BENCH_STRIDE);
}

/* What is measured of one subject, in turn with the others. */
struct series {
	const char *name;
	const struct subject *subject;
	void (*run)(struct work *work, unsigned int ops);
	void *caches[BENCH_THREADS]; /* two: each thread its own */
	unsigned int threads;
	double value[SAMPLES];
};

static void measure(struct series *series, char *base, const uint32_t *order,
		    size_t regions, unsigned int round)
{
	struct work works[BENCH_THREADS];

	for (unsigned int i = 0; i < series->threads; i++)
		works[i] = (struct work){
			.run = series->run,
			.subject = series->subject,
			.cache = series->caches[i],
			.base = base,
			.order = order,
			.regions = regions,
			/* Far apart, and another part each time. */
			.at = (regions * i / BENCH_THREADS +
			       regions / 3 * round) %
			      regions,
		};
	series->value[round] = sample(works, series->threads);
}

#define SERIES 16

void rows_hits(size_t regions)
{
	const struct subject *subjects[] = { &subject_page, ucx, &subject_uffd,
					     &subject_atomic, &subject_epoch };
	const size_t kinds = sizeof(subjects) / sizeof(subjects[0]);
	struct series series[SERIES] = { { 0 } };
	void *caches[8] = { NULL }, *own = NULL;
	uint32_t *order = shuffled(regions);
	char *base = reserve(regions);
	uint64_t before[8];
	unsigned int count = 0;

	for (size_t i = 0; i < kinds; i++) {
		const struct subject *subject = subjects[i];

		/* A million mappings of their own are more than there may be. */
		if (!subject || (subject == &subject_uffd && regions > 1000))
			continue;
		caches[i] = subject->open(regions);
		if (!caches[i])
			continue;
		fill(subject, caches[i], base, regions);
		if (subject->missed)
			before[i] = subject->missed(caches[i]);
		if (subject == &subject_page) {
			own = subject->open(regions);
			fill(subject, own, base, regions);
			series[count++] = (struct series){
				"control",	    subject,	   run_random,
				{ caches[i], own }, BENCH_THREADS, { 0 },
			};
		}
		for (unsigned int threads = 1; threads <= 2; threads++)
			series[count++] = (struct series){
				"random",   subject,
				run_random, { caches[i], caches[i] },
				threads,    { 0 },
			};
		if (subject == &subject_page || subject == ucx)
			series[count++] = (struct series){
				"hot",	 subject,
				run_hot, { caches[i], caches[i] },
				1,	 { 0 },
			};
	}
	for (unsigned int round = 0; round < SAMPLES; round++)
		for (unsigned int i = 0; i < count; i++)
			measure(&series[i], base, order, regions, round);
	for (unsigned int i = 0; i < count; i++) {
		row_begin(series[i].name, series[i].subject->name,
			  series[i].threads, regions);
		for (unsigned int round = 0; round < SAMPLES; round++)
			row_value(series[i].value[round]);
		row_end();
	}
	for (size_t i = 0; i < kinds; i++) {
		if (!caches[i])
			continue;
		if (subjects[i]->missed &&
		    subjects[i]->missed(caches[i]) != before[i]) {
			say("%s: gets that should be hits were none",
			    subjects[i]->name);
			exit(2);
		}
		subjects[i]->close(caches[i]);
	}
	if (own)
		subject_page.close(own);
	give_back(base, regions);
	free(order);
}

static void run_cycle(struct work *work, unsigned int ops)
{
	while (ops--)
		work->subject->cycle(work->cache);
}

static void run_plain_cycle(struct work *work, unsigned int ops)
{
	while (ops--)
		work->subject->plain_cycle(work->cache);
}

/* Register, use, invalidate, deregister; beside a full cache, and an empty one. */
void rows_cycle(void)
{
	const struct subject *subjects[] = { &subject_page, ucx, &subject_uffd };
	static const size_t fillings[] = { 0, 1000, 100000 };

	for (size_t f = 0; f < 3; f++) {
		struct series series[6] = { { 0 } };
		size_t regions = fillings[f];
		char *base = reserve(regions + 1);
		unsigned int count = 0;

		for (size_t i = 0; i < 3; i++) {
			const struct subject *subject = subjects[i];
			void *cache;

			if (!subject || (subject == &subject_uffd && regions))
				continue;
			cache = subject->open(regions);
			if (!cache)
				continue;
			fill(subject, cache, base, regions);
			series[count++] = (struct series){
				"cycle",   subject, run_cycle,
				{ cache }, 1,	    { 0 },
			};
			series[count++] = (struct series){
				"plain-cycle", subject, run_plain_cycle,
				{ cache },     1,	{ 0 },
			};
		}
		for (unsigned int round = 0; round < SAMPLES; round++)
			for (unsigned int i = 0; i < count; i++)
				measure(&series[i], base, NULL, 1, round);
		for (unsigned int i = 0; i < count; i++) {
			row_begin(series[i].name, series[i].subject->name, 1,
				  regions);
			for (unsigned int round = 0; round < SAMPLES; round++)
				row_value(series[i].value[round]);
			row_end();
		}
		for (unsigned int i = 0; i < count; i += 2)
			series[i].subject->close(series[i].caches[0]);
		give_back(base, regions + 1);
	}
}

/*
 * Bytes of this process's own that are in memory.  Counted by a walk over its
 * pages: /proc/self/statm may be off by dozens of them.
 */
static double resident(void)
{
	FILE *file = fopen("/proc/self/smaps_rollup", "r");
	unsigned long kilobytes;
	bool found = false;
	char line[128];

	if (!file)
		abort();
	while (!found && fgets(line, sizeof(line), file))
		found = sscanf(line, "Anonymous: %lu kB", &kilobytes) == 1;
	fclose(file);
	if (!found)
		abort();
	return (double)kilobytes * 1024;
}

/* In a process of its own, where no memory lies about to be used again. */
static void print_memory(const struct subject *subject, size_t regions)
{
	char *base = reserve(regions);
	void *cache = subject->open(regions);
	double before;

	if (!cache)
		return;
	before = resident();
	for (size_t i = 0; i < regions; i++)
		subject->hit(cache, base + i * BENCH_STRIDE);
	row_begin("memory", subject->name, 1, regions);
	row_value((resident() - before) / (double)regions);
	row_end();
}

void rows_memory(void)
{
	const struct subject *subjects[] = { &subject_page, ucx };
	static const size_t counts[] = { 1000, 10000, 100000, 1000000 };

	for (size_t c = 0; c < 4; c++)
		for (size_t i = 0; i < 2; i++) {
			pid_t child;

			if (!subjects[i])
				continue;
			child = fork();
			if (!child) {
				print_memory(subjects[i], counts[c]);
				_exit(0);
			}
			if (child < 0 || waitpid(child, NULL, 0) != child)
				abort();
		}
}

/* The bare probe: what ummu_watch_valid() does on userfaultfd, and no more. */
static int probe_fd = -1;

static void run_probe(struct work *work, unsigned int ops)
{
	struct uffdio_writeprotect nothing = { .range = { 0, 0 } };

	(void)work;
	while (ops--)
		ioctl(probe_fd, UFFDIO_WRITEPROTECT, &nothing);
}

void rows_probe(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	char *base = reserve(1);
	void *cache = subject_uffd.open(1);
	struct series series[2] = {
		{ "probe", &subject_uffd, run_probe, { NULL }, 1, { 0 } },
		{ "probed-hit", &subject_uffd, run_hot, { cache }, 1, { 0 } },
	};

	probe_fd = (int)syscall(SYS_userfaultfd,
				O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	if (!cache || probe_fd < 0 || ioctl(probe_fd, UFFDIO_API, &api)) {
		say("userfaultfd cannot be had: no rows of it");
		return;
	}
	fill(&subject_uffd, cache, base, 1);
	for (unsigned int round = 0; round < SAMPLES; round++)
		for (unsigned int i = 0; i < 2; i++)
			measure(&series[i], base, NULL, 1, round);
	for (unsigned int i = 0; i < 2; i++) {
		row_begin(series[i].name, "uffd", 1, 1);
		for (unsigned int round = 0; round < SAMPLES; round++)
			row_value(series[i].value[round]);
		row_end();
	}
	subject_uffd.close(cache);
	give_back(base, 1);
}
