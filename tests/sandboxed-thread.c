/* SPDX-License-Identifier: MIT */
/*
 * sandboxed-thread.c - a seccomp filter that comes later costs the cache, and
 * stops nobody's unmap.
 *
 * A filter of one thread is that thread's affair.  One over all threads reaches
 * the reader too, which then can do less than it could when it started.
 */
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "proc-self.h"
#include "run.h"
#include "scene.h"

#define MOST 8 /* system calls that one filter forbids */

static size_t page;
static struct ummu_monitor *monitor, *of_cache;
static struct ummu_rcache *rcache;
static struct ummu_watch *watch;
static char *memory;

static void set_up(void)
{
	page = scene_page();
	memory = scene_map(16 * page);
	monitor = scene_monitor();
	of_cache = scene_monitor();
	REQUIRE(!ummu_rcache_create(of_cache, &scene_pinner, NULL, NULL,
				    &rcache));
	watch = scene_watch(monitor, memory, 4 * page);
	REQUIRE(ummu_watch_valid(watch));
	REQUIRE(proc_reader_starts());
}

/* The calls that @numbers names, up to the first -1, fail with EPERM. */
static void forbid(const int *numbers, unsigned int flags)
{
	struct sock_filter filter[2 * MOST + 2];
	struct sock_fprog program = { .filter = filter };
	unsigned short at = 0;

	filter[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
						    offsetof(struct seccomp_data,
							     nr));
	for (; *numbers >= 0; numbers++) {
		filter[at++] = (struct sock_filter)
			BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
				 (unsigned int)*numbers, 0, 1);
		filter[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
							    SECCOMP_RET_ERRNO |
								    EPERM);
	}
	filter[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
						    SECCOMP_RET_ALLOW);
	program.len = at;
	REQUIRE(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program))
		scene_skip("no seccomp filter can be set here");
}

static const int no_ioctl[] = { SYS_ioctl, -1 };
static const int no_userfaultfd[] = { SYS_userfaultfd, -1 };
static const int no_threads[] = { SYS_clone, SYS_clone3, -1 };
static const int no_waiting[] = {
#ifdef SYS_epoll_wait
	SYS_epoll_wait,
#endif
#ifdef SYS_poll
	SYS_poll,
#endif
	SYS_epoll_pwait, SYS_ppoll, SYS_epoll_pwait2, -1,
};
static const int no_own_table[] = { SYS_close_range, SYS_unshare, -1 };

/* Returns true if the region was cached; it is usable either way. */
static bool get(char *addr)
{
	struct ummu_region *region = NULL;
	bool cached;
	int error = ummu_rcache_get(rcache, addr, page, 0, &region);

	printf("  a get: %s%s%s\n",
	       error	      ? strerror(-error) :
	       region->cached ? "cached" :
				"uncached",
	       error || !region->cached ? ", explained: " : "",
	       error || !region->cached ? ummu_monitor_explain() : "");
	REQUIRE(!error);
	cached = region->cached;
	ummu_rcache_put(rcache, region);
	return cached;
}

static void *in_sandboxed_thread(void *unused)
{
	struct ummu_watch *handle = NULL;
	int error;

	forbid(no_ioctl, 0);
	REQUIRE(!ummu_watch_valid(watch));
	REQUIRE(!ummu_watch_spent(watch)); /* it could not find out */
	error = ummu_monitor_watch(monitor, memory + 8 * page, page, 2, &handle);
	printf("  a watch: %d, explained: %s\n", error, ummu_monitor_explain());
	REQUIRE(error && !handle);
	REQUIRE(strlen(ummu_monitor_explain()) > 10);
	REQUIRE(error != -EBADF);
	REQUIRE(!get(memory + 9 * page));
	return unused;
}

static bool valid(void *handle)
{
	return ummu_watch_valid(handle);
}

static void one_thread_without_ioctl(void)
{
	pthread_t thread;

	set_up();
	REQUIRE(!pthread_create(&thread, NULL, in_sandboxed_thread, NULL));
	REQUIRE(!pthread_join(thread, NULL));
	REQUIRE(ummu_monitor_status(monitor) == 0);
	REQUIRE(scene_await(valid, watch));
	REQUIRE(get(memory + 10 * page));
	REQUIRE(get(memory + 10 * page));
	scene_unmap(memory, page);
	REQUIRE(!ummu_watch_valid(watch));
	scene_watch_works(monitor);
}

/* It lives on, and it is asked often. */
static void *asks_for_ever(void *unused)
{
	forbid(no_ioctl, 0);
	for (;;) {
		ummu_watch_valid(watch);
		usleep(1000);
	}
	return unused;
}

static void one_thread_asks_for_ever(void)
{
	pthread_t thread;
	double end;

	set_up();
	REQUIRE(!pthread_create(&thread, NULL, asks_for_ever, NULL));
	for (end = run_seconds() + 7; run_seconds() < end;) {
		scene_watch_works(monitor);
		usleep(100000);
	}
	REQUIRE(ummu_monitor_status(monitor) == 0);
	scene_unmap(memory, 4 * page);
	REQUIRE(!ummu_watch_valid(watch));
}

/* Whatever can be watched is watched exactly; the rest says why it is not. */
static void expect_honest(void)
{
	struct ummu_watch *handle = NULL;
	int error = ummu_monitor_watch(monitor, memory + 8 * page, 4 * page, 2,
				       &handle);

	if (error) {
		printf("  a watch: %s, explained: %s\n", strerror(-error),
		       ummu_monitor_explain());
		REQUIRE(strlen(ummu_monitor_explain()) > 10);
		REQUIRE(!handle);
	} else {
		printf("  a watch: granted, %s\n",
		       ummu_watch_valid(handle) ? "valid" : "not valid");
		scene_unmap(memory + 8 * page, page);
		REQUIRE(!ummu_watch_valid(handle));
	}
	get(memory + 12 * page);
	scene_unmap(memory + 12 * page, page);
	get(memory + 14 * page);
	scene_unmap(memory, 4 * page);
	REQUIRE(!ummu_watch_valid(watch));
	scene_unmap(memory, 16 * page);
}

static void all_forbidden(const int *numbers)
{
	set_up();
	forbid(numbers, SECCOMP_FILTER_FLAG_TSYNC);
	expect_honest();
}

static void all_without_ioctl(void)
{
	set_up();
	forbid(no_ioctl, SECCOMP_FILTER_FLAG_TSYNC);
	REQUIRE(!ummu_watch_valid(watch));
	REQUIRE(!get(memory + 12 * page));
	REQUIRE(strlen(ummu_monitor_explain()) > 10);
	expect_honest();
}

static void all_without_waiting(void)
{
	all_forbidden(no_waiting);
}

static void all_without_userfaultfd(void)
{
	all_forbidden(no_userfaultfd);
}

/* Then the reader has ended, and memory is watched anew. */
static void idle(void)
{
	ummu_monitor_unwatch(monitor, watch);
	watch = NULL;
	REQUIRE(ummu_rcache_flush(rcache, true) >= 0);
	REQUIRE(proc_reader_ends());
}

static void idle_without_userfaultfd(void)
{
	set_up();
	forbid(no_userfaultfd, SECCOMP_FILTER_FLAG_TSYNC);
	idle();
	scene_watch_works(monitor);
	scene_watch_works(scene_monitor());
	REQUIRE(get(memory + 12 * page));
	idle();
	scene_watch_works(monitor);
}

static void act_on_memory(void)
{
	munmap(memory, 4 * page);
	madvise(memory + 4 * page, page, MADV_DONTNEED);
}

/* The test's own threads are refused as well: it acts in this one. */
static void all_without_threads(void)
{
	set_up();
	forbid(no_threads, SECCOMP_FILTER_FLAG_TSYNC);
	act_on_memory(); /* the reader that there is goes on */
	REQUIRE(!ummu_watch_valid(watch));
	REQUIRE(get(memory + 12 * page));
	munmap(memory, 16 * page);
}

static void idle_without_threads(void)
{
	struct ummu_watch *handle = NULL;
	int error;

	set_up();
	forbid(no_threads, SECCOMP_FILTER_FLAG_TSYNC);
	idle();
	error = ummu_monitor_watch(monitor, memory, page, 1, &handle);
	printf("  a watch: %d, explained: %s\n", error, ummu_monitor_explain());
	REQUIRE(error && !handle);
	REQUIRE(strlen(ummu_monitor_explain()) > 10);
	REQUIRE(!get(memory + 12 * page));
	act_on_memory();
	munmap(memory, 16 * page);
}

/* The filter was there before the first open, as in a container. */
static void first_open_without_own_table(void)
{
	struct ummu_caps caps = { .size = sizeof(caps) };

	forbid(no_own_table, SECCOMP_FILTER_FLAG_TSYNC);
	set_up();
	REQUIRE(!ummu_monitor_caps(monitor, &caps));
	printf("  flags: %#llx\n", (unsigned long long)caps.flags);
	REQUIRE(caps.flags & UMMU_CAPS_SHARED_TABLE);
	scene_watch_works(monitor);
	idle();
	scene_watch_works(monitor);
	REQUIRE(!ummu_monitor_caps(monitor, &caps));
	REQUIRE(caps.flags & UMMU_CAPS_SHARED_TABLE);
}

static void own_table_otherwise(void)
{
	struct ummu_caps caps = { .size = sizeof(caps) };

	set_up();
	REQUIRE(!ummu_monitor_caps(monitor, &caps));
	REQUIRE(!(caps.flags & UMMU_CAPS_SHARED_TABLE));
}

int main(int argc, char **argv)
{
	static const struct scene scenes[] = {
		{ "one_thread_without_ioctl", one_thread_without_ioctl },
		{ "one_thread_asks_for_ever", one_thread_asks_for_ever },
		{ "all_without_ioctl", all_without_ioctl },
		{ "all_without_waiting", all_without_waiting },
		{ "all_without_userfaultfd", all_without_userfaultfd },
		{ "idle_without_userfaultfd", idle_without_userfaultfd },
		{ "all_without_threads", all_without_threads },
		{ "idle_without_threads", idle_without_threads },
		{ "first_open_without_own_table", first_open_without_own_table },
		{ "own_table_otherwise", own_table_otherwise },
	};

	return scenes_play(scenes, sizeof(scenes) / sizeof(scenes[0]), argc,
			   argv);
}
