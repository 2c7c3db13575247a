/* SPDX-License-Identifier: MIT */
/*
 * allocator-purges.c - an allocator that gives memory back inside malloc() and
 * free() may do so in every call of the library, and in each thread's first.
 *
 * jemalloc and tcmalloc do.  If that memory is watched, madvise() waits until
 * its event is read, so nothing may be allocated where the reader could wait
 * for it.  The library is loaded with dlopen(): then its thread-local variables
 * are allocated too, at a thread's first use of them.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <ummunotify/rcache.h>

#include "run.h"

#define PATIENCE 20 /* seconds */

#define REQUIRE(truth)                                                          \
	do {                                                                    \
		if (!(truth)) {                                                 \
			printf("line %d: not so: %s (%m)\n", __LINE__, #truth); \
			fflush(stdout);                                         \
			_exit(1);                                               \
		}                                                               \
	} while (0)

/*
 * The allocator takes from an arena and never gives back: what it hands out
 * does not matter here.  A block is preceded by its length.
 */
#define ARENA (64UL << 20)
#define HEADER 16UL

static _Alignas(4096) char arena[ARENA];
static size_t used;

/* Memory that the allocator believes idle, and the thread that purges it. */
static char *idle;
static size_t idle_length;
static unsigned int purges;
static __thread bool armed __attribute__((tls_model("initial-exec")));

static void purge(void)
{
	int error = errno;

	if (!armed)
		return;
	armed = false; /* as allocators do: not within itself */
	__atomic_fetch_add(&purges, 1, __ATOMIC_RELAXED);
	madvise(idle, idle_length, MADV_DONTNEED);
	armed = true;
	errno = error;
}

static void *take(size_t alignment, size_t length)
{
	size_t room = length + alignment + HEADER;
	size_t at = __atomic_fetch_add(&used, room, __ATOMIC_RELAXED);
	uintptr_t block = ((uintptr_t)arena + at + HEADER + alignment - 1) &
			  ~(uintptr_t)(alignment - 1);

	purge();
	if (at + room > ARENA)
		return NULL;
	memcpy((char *)block - HEADER, &length, sizeof(length));
	return (void *)block;
}

void *malloc(size_t length)
{
	return take(16, length);
}

void *calloc(size_t count, size_t size)
{
	size_t length;

	if (__builtin_mul_overflow(count, size, &length))
		return NULL;
	return take(16, length); /* the arena is zeros */
}

void *aligned_alloc(size_t alignment, size_t length)
{
	return take(alignment < 16 ? 16 : alignment, length);
}

void *memalign(size_t alignment, size_t length);
void *memalign(size_t alignment, size_t length)
{
	return aligned_alloc(alignment, length);
}

int posix_memalign(void **block, size_t alignment, size_t length)
{
	*block = aligned_alloc(alignment, length);
	return *block ? 0 : ENOMEM;
}

void free(void *block)
{
	if (block)
		purge();
}

void *realloc(void *block, size_t length)
{
	void *larger = take(16, length);
	size_t old = 0;

	if (block)
		memcpy(&old, (char *)block - HEADER, sizeof(old));
	if (larger && old)
		memcpy(larger, block, old < length ? old : length);
	return larger;
}

/* The calls, as dlsym() finds them. */
#define CALLS(call)                                                                    \
	call(ummu_monitor_open) call(ummu_monitor_close) call(                         \
		ummu_monitor_explain) call(ummu_monitor_backend)                       \
		call(ummu_monitor_status) call(ummu_monitor_fd) call(                  \
			ummu_monitor_watch) call(ummu_monitor_unwatch)                 \
			call(ummu_monitor_release) call(ummu_monitor_settle) call(     \
				ummu_monitor_checkpoint) call(ummu_monitor_generation) \
				call(ummu_monitor_read) call(ummu_monitor_caps) call(  \
					ummu_monitor_stats) call(ummu_rcache_create)   \
					call(ummu_rcache_destroy) call(                \
						ummu_rcache_get) call(ummu_rcache_put) \
						call(ummu_rcache_flush) call(          \
							ummu_rcache_invalidate)        \
							call(ummu_rcache_stats)

#define DECLARE(name) static __typeof__(&(name)) p_##name;
CALLS(DECLARE)

static void load(const char *path)
{
	void *library = dlopen(path, RTLD_NOW);

	if (!library) {
		printf("%s\n", dlerror());
		exit(1);
	}
#define FIND(name)                                   \
	*(void **)&p_##name = dlsym(library, #name); \
	if (!p_##name)                               \
		printf("the library has no " #name "()\n");
	CALLS(FIND)
}

static int pin(void *ctx, struct ummu_region *region)
{
	(void)ctx, (void)region;
	return 0;
}

static void unpin(void *ctx, struct ummu_region *region)
{
	(void)ctx, (void)region;
}

static const struct ummu_rcache_ops pinner = {
	.size = sizeof(pinner),
	.reg = pin,
	.dereg = unpin,
};

/* What the calls work on. */
static size_t page;
static char *memory, *unmapped;
static struct ummu_monitor *keeper; /* watches the idle memory */
static struct ummu_monitor *monitor, *of_cache;
static struct ummu_rcache *rcache;
static struct ummu_watch *watch;
static struct ummu_region *region;

static void do_open(void)
{
	REQUIRE(!p_ummu_monitor_open(NULL, &monitor));
}

static void do_open_refused(void)
{
	const struct ummu_monitor_opts opts = { .size = sizeof(opts),
						.backend = "nonsense" };
	struct ummu_monitor *none;

	unsetenv("UMMU_MONITOR");
	REQUIRE(p_ummu_monitor_open(&opts, &none) == -EINVAL);
	setenv("UMMU_MONITOR", "uffd", 1);
}

static void do_watch(void)
{
	REQUIRE(!p_ummu_monitor_watch(monitor, memory, page, 1, &watch));
}

static void do_watch_refused(void)
{
	struct ummu_watch *none;

	REQUIRE(p_ummu_monitor_watch(monitor, unmapped, page, 1, &none) ==
		-EFAULT);
	REQUIRE(strlen(p_ummu_monitor_explain()) > 10);
}

static void do_unwatch(void)
{
	p_ummu_monitor_unwatch(monitor, watch);
}

static void do_release(void)
{
	if (p_ummu_monitor_release)
		p_ummu_monitor_release(monitor, memory, page);
}

static void do_settle(void)
{
	struct ummu_checkpoint checkpoint;

	p_ummu_monitor_settle(monitor);
	p_ummu_monitor_checkpoint(monitor, &checkpoint);
	p_ummu_monitor_generation(monitor);
}

static void do_fd(void)
{
	REQUIRE(p_ummu_monitor_fd(monitor) >= 0);
}

static void do_read(void)
{
	struct ummu_event event;

	REQUIRE(p_ummu_monitor_read(monitor, &event, 1) >= 0);
}

static void do_ask(void)
{
	struct ummu_monitor_stats stats = { .size = sizeof(stats) };
	struct ummu_caps caps = { .size = sizeof(caps) };

	REQUIRE(p_ummu_monitor_backend(monitor));
	REQUIRE(!p_ummu_monitor_status(monitor));
	REQUIRE(!p_ummu_monitor_caps(monitor, &caps));
	REQUIRE(!p_ummu_monitor_stats(monitor, &stats));
	REQUIRE(p_ummu_monitor_explain());
}

static void do_create(void)
{
	REQUIRE(!p_ummu_rcache_create(of_cache, &pinner, NULL, NULL, &rcache));
}

static void do_get(void)
{
	REQUIRE(!p_ummu_rcache_get(rcache, memory + 4 * page, page, 0, &region));
}

static void do_get_refused(void)
{
	struct ummu_region *none;

	p_ummu_rcache_get(rcache, unmapped, 0, 0, &none);
}

static void do_put(void)
{
	p_ummu_rcache_put(rcache, region);
}

static void do_flush(void)
{
	REQUIRE(p_ummu_rcache_flush(rcache, true) >= 0);
}

static void do_invalidate(void)
{
	REQUIRE(p_ummu_rcache_invalidate(rcache, memory + 4 * page, page) >= 0);
}

static void do_cache_ask(void)
{
	struct ummu_rcache_stats stats = { .size = sizeof(stats) };

	REQUIRE(!p_ummu_rcache_stats(rcache, &stats));
}

static void do_destroy(void)
{
	p_ummu_rcache_destroy(rcache);
}

static void do_close(void)
{
	p_ummu_monitor_close(monitor);
}

static const struct {
	const char *name;
	void (*call)(void);
} calls[] = {
	{ "open", do_open },
	{ "open, refused", do_open_refused },
	{ "watch", do_watch },
	{ "watch, refused", do_watch_refused },
	{ "settle", do_settle },
	{ "fd", do_fd },
	{ "read", do_read },
	{ "questions", do_ask },
	{ "unwatch", do_unwatch },
	{ "release", do_release },
	{ "create", do_create },
	{ "get, a miss", do_get },
	{ "put", do_put },
	{ "get, a hit", do_get },
	{ "put after a hit", do_put },
	{ "get, refused", do_get_refused },
	{ "questions to a cache", do_cache_ask },
	{ "invalidate", do_invalidate },
	{ "get after that", do_get },
	{ "put after that", do_put },
	{ "flush", do_flush },
	{ "destroy", do_destroy },
	{ "close", do_close },
};

#define CALL_COUNT (sizeof(calls) / sizeof(calls[0]))

/* A range that was given back is not watched again for some milliseconds. */
static struct ummu_watch *watch_idle(void)
{
	double end = run_seconds() + PATIENCE;
	struct ummu_watch *handle;

	while (p_ummu_monitor_watch(keeper, idle, idle_length, 9, &handle)) {
		REQUIRE(run_seconds() < end);
		usleep(5000);
	}
	return handle;
}

struct turn {
	size_t which;
	bool ends_armed; /* what runs at the end of the thread purges too */
};

static void *make_call(void *argument)
{
	const struct turn *turn = argument;

	armed = true;
	calls[turn->which].call();
	armed = turn->ends_armed;
	return NULL;
}

/* In a new thread, with the idle memory watched. */
static void play(size_t which, bool ends_armed)
{
	struct turn turn = { .which = which, .ends_armed = ends_armed };
	struct ummu_watch *handle = watch_idle();
	unsigned int before = purges;
	struct timespec end;
	pthread_t thread;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += PATIENCE;
	REQUIRE(!pthread_create(&thread, NULL, make_call, &turn));
	if (pthread_timedjoin_np(thread, NULL, &end)) {
		printf("%s: did not return, %u purges\n", calls[which].name,
		       purges - before);
		fflush(stdout);
		_exit(1);
	}
	printf("%s: %u purges\n", calls[which].name, purges - before);
	p_ummu_monitor_unwatch(keeper, handle);
}

static char *map(size_t length)
{
	char *addr = mmap(NULL, length, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	REQUIRE(addr != MAP_FAILED);
	memset(addr, 1, length);
	return addr;
}

int main(int argc, char **argv)
{
	REQUIRE(argc == 2);
	run_limit(150);
	setenv("UMMU_MONITOR", "uffd", 1);
	page = (size_t)sysconf(_SC_PAGESIZE);
	load(argv[1]);
	if (p_ummu_monitor_open(NULL, &keeper)) {
		printf("skipped: %s\n", p_ummu_monitor_explain());
		return 77;
	}
	REQUIRE(!p_ummu_monitor_open(NULL, &of_cache));
	idle_length = 4 * page;
	idle = map(idle_length);
	memory = map(16 * page);
	unmapped = map(page);
	REQUIRE(!munmap(unmapped, page));
	for (int round = 0; round < 2; round++)
		for (size_t i = 0; i < CALL_COUNT; i++)
			play(i, round);
	printf("%u purges\n", purges);
	REQUIRE(purges > 20);
	return 0;
}
