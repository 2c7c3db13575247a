/* SPDX-License-Identifier: MIT */
/*
 * descriptor-closed.c - somebody closes descriptors that are not his own.
 *
 * As daemons do, and programs before they start another one.  The numbers may
 * be used again at once, and what they stand for then must be left alone.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "child.h"
#include "run.h"
#include "witness.h"

#define MOST 4096 /* descriptors that the process has */

static size_t page;

/* A monitor, a cache, and what they hold. */
struct scene {
	struct witness witness;
	struct ummu_monitor *monitor;
	struct ummu_watch *watch;
	struct ummu_region *held;
	struct ummu_checkpoint checkpoint;
	char *memory;
	int uffd, event_fd, cache_event_fd;
};

static int find_uffd(void)
{
	char path[64], name[64];

	for (int fd = 3; fd < MOST; fd++) {
		ssize_t length;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		length = readlink(path, name, sizeof(name) - 1);
		if (length <= 0)
			continue;
		name[length] = '\0';
		if (strstr(name, "userfaultfd"))
			return fd;
	}
	return -1;
}

static void set_up(struct scene *scene)
{
	uint64_t number;

	CHILD_REQUIRE(!witness_open(&scene->witness));
	CHILD_REQUIRE(!ummu_monitor_open(NULL, &scene->monitor));
	scene->memory = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHILD_REQUIRE(scene->memory != MAP_FAILED);
	memset(scene->memory, 1, 4 * page);
	CHILD_REQUIRE(!ummu_monitor_watch(scene->monitor, scene->memory, page,
					  7, &scene->watch));
	CHILD_REQUIRE(!witness_get(&scene->witness, scene->memory + page, page,
				   &number));
	CHILD_REQUIRE(!ummu_rcache_get(scene->witness.rcache,
				       scene->memory + 2 * page, page, 0,
				       &scene->held));
	ummu_monitor_checkpoint(scene->monitor, &scene->checkpoint);
	scene->event_fd = ummu_monitor_fd(scene->monitor);
	scene->cache_event_fd = ummu_monitor_fd(scene->witness.monitor);
	scene->uffd = find_uffd();
	CHILD_REQUIRE(scene->uffd > 2);
}

static void close_all(void)
{
	CHILD_REQUIRE(!syscall(SYS_close_range, 3, ~0U, 0));
}

/* Nothing is trusted any more, and every call says why. */
static void expect_failed(struct scene *scene)
{
	struct ummu_monitor *another = NULL;
	struct ummu_watch *handle = NULL;
	struct ummu_region *region = NULL;

	CHILD_REQUIRE(!ummu_watch_valid(scene->watch));
	CHILD_REQUIRE(ummu_watch_spent(scene->watch));
	CHILD_REQUIRE(ummu_changed(&scene->checkpoint));
	CHILD_REQUIRE(!ummu_region_valid(scene->held));
	CHILD_REQUIRE(ummu_monitor_status(scene->monitor) == -EBADF);
	CHILD_REQUIRE(strlen(ummu_monitor_explain()) > 10);
	CHILD_REQUIRE(ummu_monitor_watch(scene->monitor, scene->memory, page, 0,
					 &handle) == -EBADF);
	CHILD_REQUIRE(ummu_rcache_get(scene->witness.rcache,
				      scene->memory + page, page, 0,
				      &region) == -EBADF);
	CHILD_REQUIRE(!handle && !region);
	/* One that is opened now has a descriptor of its own. */
	CHILD_REQUIRE(!ummu_monitor_open(NULL, &another));
	CHILD_REQUIRE(!ummu_monitor_status(another));
	ummu_monitor_close(another);
}

/* The reader has a table of its own, and has read what was unmapped. */
static void expect_events(struct scene *scene, uint32_t reason)
{
	struct ummu_event events[2];

	CHILD_REQUIRE(ummu_monitor_read(scene->monitor, events, 2) == 1);
	CHILD_REQUIRE(events[0].cookie == 7);
	CHILD_REQUIRE(events[0].reason == reason);
	CHILD_REQUIRE(ummu_monitor_read(scene->monitor, events, 2) == 0);
}

static void tear_down(struct scene *scene)
{
	ummu_monitor_unwatch(scene->monitor, scene->watch);
	ummu_rcache_put(scene->witness.rcache, scene->held);
	witness_close(&scene->witness);
	CHILD_REQUIRE(scene->witness.registered == 2 &&
		      scene->witness.deregistered == 2);
	ummu_monitor_close(scene->monitor);
}

static void found_by_a_check(void)
{
	struct scene scene;

	set_up(&scene);
	close_all();
	expect_failed(&scene);
	expect_events(&scene, UMMU_REASON_FAILED);
	tear_down(&scene);
	munmap(scene.memory, 4 * page);
}

/* The kernel has an event for a descriptor that is going away. */
static void found_by_an_unmap(void)
{
	struct scene scene;

	set_up(&scene);
	close_all();
	munmap(scene.memory, page);
	madvise(scene.memory + page, page, MADV_DONTNEED);
	CHILD_REQUIRE(mremap(scene.memory + 2 * page, page, 2 * page,
			     MREMAP_MAYMOVE) != MAP_FAILED);
	expect_failed(&scene);
	expect_events(&scene, UMMU_REASON_UNMAP);
	tear_down(&scene);
}

/* Only the one; the poller of the other is woken. */
static void one_closed(void)
{
	struct pollfd poller;
	struct scene scene;

	set_up(&scene);
	poller = (struct pollfd){ .fd = scene.event_fd, .events = POLLIN };
	close(scene.uffd);
	munmap(scene.memory, page);
	CHILD_REQUIRE(poll(&poller, 1, 60000) == 1);
	expect_events(&scene, UMMU_REASON_UNMAP);
	CHILD_REQUIRE(poll(&poller, 1, 0) == 0);
	expect_failed(&scene);
	tear_down(&scene);
}

/* What got the numbers of the library: the ends of pipes or sockets. */
struct reused {
	int numbers[3];
	int pairs[3][2];
	int end; /* which end got the number */
	bool sockets;
};

static const char message[] = "this is not for you";

static void send_message(int fd)
{
	CHILD_REQUIRE(write(fd, message, sizeof(message)) == sizeof(message));
}

static void use_numbers_again(const struct scene *scene, struct reused *reused)
{
	reused->numbers[0] = scene->uffd;
	reused->numbers[1] = scene->event_fd;
	reused->numbers[2] = scene->cache_event_fd;
	for (int i = 0; i < 3; i++) {
		int *pair = reused->pairs[i];

		/* Out of the way first. */
		CHILD_REQUIRE(
			!(reused->sockets ?
				  socketpair(AF_UNIX, SOCK_STREAM, 0, pair) :
				  pipe(pair)));
		for (int j = 0; j < 2; j++) {
			int low = pair[j];

			pair[j] = fcntl(low, F_DUPFD, 100);
			CHILD_REQUIRE(pair[j] >= 100);
			close(low);
			fcntl(pair[j], F_SETFL, O_NONBLOCK);
		}
		send_message(pair[1]);
		if (reused->sockets)
			send_message(pair[0]);
	}
	for (int i = 0; i < 3; i++)
		CHILD_REQUIRE(dup2(reused->pairs[i][reused->end],
				   reused->numbers[i]) == reused->numbers[i]);
}

static void expect_message(int fd)
{
	char buffer[2 * sizeof(message)];

	CHILD_REQUIRE(read(fd, buffer, sizeof(buffer)) == sizeof(message));
	CHILD_REQUIRE(!memcmp(buffer, message, sizeof(message)));
}

/* Nothing was read, nothing written, nothing closed. */
static void expect_untouched(const struct reused *reused)
{
	for (int i = 0; i < 3; i++) {
		CHILD_REQUIRE(fcntl(reused->numbers[i], F_GETFD) >= 0);
		expect_message(reused->pairs[i][0]);
		if (reused->sockets)
			expect_message(reused->pairs[i][1]);
	}
}

static void numbers_used_again(struct reused reused)
{
	struct scene scene;

	set_up(&scene);
	close_all();
	use_numbers_again(&scene, &reused);
	munmap(scene.memory, page);
	expect_failed(&scene);
	expect_events(&scene, UMMU_REASON_UNMAP);
	tear_down(&scene);
	expect_untouched(&reused);
	munmap(scene.memory, 4 * page);
}

static void by_pipes_to_read(void)
{
	numbers_used_again((struct reused){ .end = 0 });
}

static void by_pipes_to_write(void)
{
	numbers_used_again((struct reused){ .end = 1 });
}

static void by_sockets(void)
{
	numbers_used_again((struct reused){ .sockets = true });
}

/* A process each: what is lost is lost for ever. */
static void in_a_child(void (*scenario)(void))
{
	pid_t child = fork();

	if (!child) {
		run_limit(100);
		scenario();
		_exit(0);
	}
	expect_child(child);
}

#define IN_A_CHILD(scenario)                      \
	static void test_##scenario(void **state) \
	{                                         \
		(void)state;                      \
		in_a_child(scenario);             \
	}

IN_A_CHILD(found_by_a_check)
IN_A_CHILD(found_by_an_unmap)
IN_A_CHILD(one_closed)
IN_A_CHILD(by_pipes_to_read)
IN_A_CHILD(by_pipes_to_write)
IN_A_CHILD(by_sockets)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_found_by_a_check),
		cmocka_unit_test(test_found_by_an_unmap),
		cmocka_unit_test(test_one_closed),
		cmocka_unit_test(test_by_pipes_to_read),
		cmocka_unit_test(test_by_pipes_to_write),
		cmocka_unit_test(test_by_sockets),
	};

	run_limit(250);
	witness_need_uffd();
	page = (size_t)sysconf(_SC_PAGESIZE);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
