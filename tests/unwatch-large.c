/* SPDX-License-Identifier: MIT */
/*
 * unwatch-large.c - the end of a large watch costs its caller nothing, and
 * others no more than the kernel's own walk.
 *
 * The kernel walks the range to unregister it, for some milliseconds a GiB.
 * How long it takes here is measured beside it, as a machine may be slow.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#include "lib/uffd-abi.h"
#include "proc-self.h"
#include "run.h"
#include "scene.h"

#define LARGE (1UL << 30)
#define TRIES 3
#define LINGER 4 /* seconds; what is unregistered late, is by then */

/* Of this thread alone, so that other load does not count. */
static double cpu_seconds(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* In base pages, all of them present. */
static char *map_large(void)
{
	char *addr = mmap(NULL, LARGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	REQUIRE(addr != MAP_FAILED);
	madvise(addr, LARGE, MADV_NOHUGEPAGE);
	if (madvise(addr, LARGE, MADV_POPULATE_WRITE)) /* before 5.14 */
		memset(addr, 1, LARGE);
	return addr;
}

static int open_uffd(void)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP };
	int fd = (int)syscall(SYS_userfaultfd,
			      O_NONBLOCK | O_CLOEXEC | UFFD_USER_MODE_ONLY);

	REQUIRE(fd >= 0);
	REQUIRE(!ioctl(fd, UFFDIO_API, &api));
	return fd;
}

static int try_register(int fd, char *addr, size_t length)
{
	struct uffdio_register range = {
		.range = { .start = (uintptr_t)addr, .len = length },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	return ioctl(fd, UFFDIO_REGISTER, &range) ? -errno : 0;
}

static void unregister(int fd, char *addr, size_t length)
{
	struct uffdio_range range = { .start = (uintptr_t)addr, .len = length };

	REQUIRE(!ioctl(fd, UFFDIO_UNREGISTER, &range));
}

/* What the kernel takes for it, by a descriptor of the test's own. */
static void measure_kernel(char *addr, double *cpu, double *wall)
{
	int fd = open_uffd();
	double start;

	REQUIRE(!try_register(fd, addr, LARGE));
	start = run_seconds();
	*cpu = -cpu_seconds();
	unregister(fd, addr, LARGE);
	*cpu += cpu_seconds();
	*wall = run_seconds() - start;
	close(fd);
}

static void unwatch_takes_no_time(void)
{
	char *addr = map_large();
	struct ummu_monitor *monitor = scene_monitor();
	double kernel, wall, took, best = 1e9;

	measure_kernel(addr, &kernel, &wall);
	for (int i = 0; i < TRIES; i++) {
		struct ummu_watch *watch = scene_watch(monitor, addr, LARGE);

		took = -cpu_seconds();
		ummu_monitor_unwatch(monitor, watch);
		took += cpu_seconds();
		best = took < best ? took : best;
	}
	printf("  unwatch of 1 GiB: %.3f ms; the kernel's unregistering: %.3f ms\n",
	       best * 1e3, kernel * 1e3);
	REQUIRE(best < 0.005);
	REQUIRE(best < kernel / 4);
}

#define SMALL 4000

/*
 * Unmaps one page that is watched after the other, and notes the slowest.  All
 * of them are there before: mapping one would wait where an unmap has to.
 */
struct unmapper {
	char *addrs[SMALL];
	double worst;
	unsigned int count;
	int stop;
};

static void map_small(struct unmapper *unmapper, struct ummu_monitor *monitor)
{
	size_t page = scene_page();

	for (int i = 0; i < SMALL; i++) {
		char *addr = scene_map(2 * page);

		/* A mapping of its own each. */
		REQUIRE(!mprotect(addr + page, page, PROT_NONE));
		scene_watch(monitor, addr, page);
		unmapper->addrs[i] = addr;
	}
}

static void *unmap_small(void *argument)
{
	struct unmapper *unmapper = argument;
	size_t page = scene_page();
	double took;

	for (; unmapper->count < SMALL; unmapper->count++) {
		if (__atomic_load_n(&unmapper->stop, __ATOMIC_RELAXED))
			break;
		took = -run_seconds();
		munmap(unmapper->addrs[unmapper->count], page);
		took += run_seconds();
		if (took > unmapper->worst)
			unmapper->worst = took;
		usleep(1000);
	}
	return NULL;
}

static bool is_unregistered(void *addr)
{
	return !proc_registered(addr);
}

/* From the unwatch until the large one is unregistered. */
static double worst_meanwhile(struct ummu_monitor *monitor, char *addr,
			      bool unwatched)
{
	struct ummu_watch *watch = scene_watch(monitor, addr, LARGE);
	struct ummu_monitor *of_small = scene_monitor();
	struct unmapper unmapper = { .worst = 0 };
	pthread_t thread;

	map_small(&unmapper, of_small);
	REQUIRE(!pthread_create(&thread, NULL, unmap_small, &unmapper));
	usleep(50000);
	if (unwatched)
		ummu_monitor_unwatch(monitor, watch);
	/* No look at /proc meanwhile: others' unmaps would wait for that. */
	sleep(LINGER);
	__atomic_store_n(&unmapper.stop, 1, __ATOMIC_RELAXED);
	REQUIRE(!pthread_join(thread, NULL));
	if (!unwatched)
		ummu_monitor_unwatch(monitor, watch);
	REQUIRE(scene_await(is_unregistered, addr));
	ummu_monitor_close(of_small);
	printf("  slowest of %u unmaps%s: %.3f ms\n", unmapper.count,
	       unwatched ? " meanwhile" : ", nothing else happens",
	       unmapper.worst * 1e3);
	return unmapper.worst;
}

/*
 * The kernel walks the range with the address space locked, once, when it has
 * been idle for a second: to do it by pieces would split the mapping meanwhile.
 * So others may wait for that walk, and for nothing more.  Load makes an unmap
 * slow by chance, so the best of some tries counts.
 */
static void others_wait_for_the_walk_alone(void)
{
	char *addr = map_large();
	struct ummu_monitor *monitor = scene_monitor();
	double kernel, wall, worst, quiet = 1e9, best = 1e9;

	measure_kernel(addr, &kernel, &wall);
	printf("  the kernel's unregistering: %.3f ms\n", kernel * 1e3);
	for (int i = 0; i < TRIES; i++) {
		worst = worst_meanwhile(monitor, addr, false);
		quiet = worst < quiet ? worst : quiet;
		worst = worst_meanwhile(monitor, addr, true);
		best = worst < best ? worst : best;
	}
	printf("  %.3f ms at best meanwhile, %.3f ms else\n", best * 1e3,
	       quiet * 1e3);
	REQUIRE(best < quiet + 3 * wall + 0.050);
}

/* The program's own userfaultfd gets memory that was the cache's. */
static void handed_over(void)
{
	const size_t length = 64 * scene_page();
	struct ummu_monitor *monitor = scene_monitor();
	struct ummu_region *region;
	struct ummu_rcache *rcache;
	char *addr = scene_map(length);
	int fd = open_uffd();

	REQUIRE(!ummu_rcache_create(monitor, &scene_pinner, NULL, NULL,
				    &rcache));
	REQUIRE(!ummu_rcache_get(rcache, addr, length, 0, &region));
	REQUIRE(region->cached);
	ummu_rcache_put(rcache, region);
	REQUIRE(try_register(fd, addr, length) == -EBUSY);
	REQUIRE(ummu_rcache_invalidate(rcache, addr, length) == 1);
	REQUIRE(!try_register(fd, addr, length));
	unregister(fd, addr, length);
	REQUIRE(!ummu_rcache_get(rcache, addr, length, 0, &region));
	REQUIRE(region->cached);
	ummu_rcache_put(rcache, region);
}

/* A part is asked for, and the whole mapping is what was registered. */
static void released(void)
{
	const size_t page = scene_page(), length = 64 * page;
	struct ummu_monitor *monitor = scene_monitor();
	char *addr = scene_map(length);
	struct ummu_watch *watch = scene_watch(monitor, addr, page);
	struct ummu_watch *stays = scene_watch(monitor, addr + 8 * page, page);
	int fd = open_uffd();

	ummu_monitor_unwatch(monitor, watch);
	REQUIRE(!ummu_monitor_release(monitor, addr, page));
	printf("  a live watch elsewhere in the mapping: registered %d\n",
	       proc_registered(addr + 8 * page));
	REQUIRE(ummu_watch_valid(stays));
	REQUIRE(proc_registered(addr + 8 * page));
	ummu_monitor_unwatch(monitor, stays);
	REQUIRE(!ummu_monitor_release(monitor, addr, length));
	REQUIRE(!proc_registered(addr));
	REQUIRE(!try_register(fd, addr, length));
	unregister(fd, addr, length);
	scene_watch_works(monitor);
}

int main(int argc, char **argv)
{
	static const struct scene scenes[] = {
		{ "unwatch_takes_no_time", unwatch_takes_no_time },
		{ "others_wait_for_the_walk_alone",
		  others_wait_for_the_walk_alone },
		{ "handed_over", handed_over },
		{ "released", released },
	};

	return scenes_play(scenes, sizeof(scenes) / sizeof(scenes[0]), argc,
			   argv);
}
