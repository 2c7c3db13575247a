/* SPDX-License-Identifier: MIT */
/*
 * lifecycle-exit.c - a process ends, and its descriptor is somebody else's: who
 * waits is told, and none of its memory is kept.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "expect-2010.h"
#include "expect-today.h"
#include "handover.h"
#include "tests/child.h"

#define BIG (192UL << 20)
#define WATCHES 1000

/**
 * struct owner - a process that watches, and hands its descriptor over
 * @fd: its descriptor, here
 * @socket: to it: a byte ends it
 */
struct owner {
	pid_t child;
	int fd, socket;
};

/* Watches with the calls of today, or those of 2010; some is pending. */
static int owner_watch(bool today)
{
	char *memory = device_pages(WATCHES);
	struct ummunotify_watch watch;
	struct today watcher;
	int fd;

	if (!today) {
		fd = device_open(O_NONBLOCK);
		CHILD_REQUIRE(device_counter(fd));
		for (uint64_t i = 0; i < WATCHES; i++)
			CHILD_REQUIRE(!device_register(fd, memory + i * page,
						       page, i));
	} else {
		CHILD_REQUIRE(!today_open(&watcher, 0, 0));
		fd = watcher.fd;
		for (size_t i = 0; i < WATCHES; i++)
			CHILD_REQUIRE(!today_watch(&watcher, memory + i * page,
						   page, &watch));
	}
	munmap(memory, WATCHES / 2 * page);
	return fd;
}

static void owner_start(struct owner *owner, bool today, size_t touched)
{
	int sockets[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0,
				    sockets),
			 0);
	owner->child = fork();
	if (!owner->child) {
		char byte, *big = malloc(touched);

		close(sockets[0]);
		memset(big, 1, touched);
		CHILD_REQUIRE(handover_send(sockets[1], owner_watch(today)));
		CHILD_REQUIRE(read(sockets[1], &byte, 1) == 1);
		CHILD_REQUIRE(byte != big[0]);
		_exit(0);
	}
	close(sockets[1]);
	owner->socket = sockets[0];
	owner->fd = handover_receive(owner->socket);
	assert_true(owner->fd >= 0);
}

static void owner_end(const struct owner *owner)
{
	assert_int_equal(write(owner->socket, "", 1), 1);
	expect_child(owner->child);
	close(owner->socket);
}

/* Handed over it is as good as nothing, alive or dead. */
static void of_no_use_to_others(void **state)
{
	struct ummunotify_event event;
	uint64_t none = 0;
	struct owner owner;

	(void)state;
	for (int today = 0; today < 2; today++) {
		owner_start(&owner, today, 1);
		for (int dead = 0; dead < 2; dead++) {
			assert_int_equal(device_register(owner.fd, &none, 8, 5),
					 -EIO);
			assert_int_equal(device_read(owner.fd, &event, 1), -EIO);
			assert_null((void *)(uintptr_t)device_counter(owner.fd));
			assert_int_equal(errno, EIO);
			assert_int_equal(device_hung_up(owner.fd), dead);
			if (!dead)
				owner_end(&owner);
		}
		/* It was pending; now there is nobody to read it. */
		print_message("readable after the end: %d\n",
			      device_readable(owner.fd));
		assert_int_equal(device_statistic("watches"), 0);
		close(owner.fd);
		assert_true(device_await_statistic("files", 0));
	}
}

/* In poll(), before it happens. */
static void poller_is_told(void **state)
{
	(void)state;
	for (int today = 0; today < 2; today++) {
		struct epoll_event event = { .events = EPOLLET };
		struct owner owner;
		struct pollfd poller = { .events = 0 };
		int epoll = epoll_create1(EPOLL_CLOEXEC);
		pid_t child;

		owner_start(&owner, today, 1);
		assert_int_equal(epoll_ctl(epoll, EPOLL_CTL_ADD, owner.fd,
					   &event),
				 0);
		assert_int_equal(epoll_wait(epoll, &event, 1, 0), 0);
		poller.fd = owner.fd;
		child = fork();
		if (!child) {
			/* Asleep in all likelihood when it happens. */
			CHILD_REQUIRE(poll(&poller, 1, -1) == 1);
			CHILD_REQUIRE(poller.revents == POLLHUP);
			_exit(0);
		}
		usleep(20000);
		owner_end(&owner);
		expect_child(child);
		assert_int_equal(epoll_wait(epoll, &event, 1, 0), 1);
		assert_true(event.events & EPOLLHUP);
		close(epoll);
		close(owner.fd);
	}
}

static long free_bytes(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	char line[128];
	long kib = -1;

	assert_non_null(file);
	while (kib < 0 && fgets(line, sizeof(line), file))
		sscanf(line, "MemFree: %ld", &kib);
	fclose(file);
	return kib * 1024;
}

/* The descriptor keeps no memory of a process that is dead. */
static void memory_is_freed(void **state)
{
	(void)state;
	for (int today = 0; today < 2; today++) {
		long before, with, after;
		struct owner owner;

		before = free_bytes();
		owner_start(&owner, today, BIG);
		with = free_bytes();
		assert_int_equal(device_statistic("watches"), WATCHES);
		owner_end(&owner);
		after = free_bytes();
		print_message("free: %ld MiB, with it %ld, after it %ld\n",
			      before >> 20, with >> 20, after >> 20);
		/* Others take and give some meanwhile. */
		assert_true(before - with > (long)BIG / 4 * 3);
		assert_true(after - with > (long)BIG / 4 * 3);
		assert_int_equal(device_statistic("watches"), 0);
		assert_int_equal(device_statistic("files"), 1);
		close(owner.fd);
		assert_true(device_await_statistic("files", 0));
		assert_true(device_await_statistic("spaces", 0));
	}
}

/* A child that has the mappings, too, and looks at them after the death. */
static void child_looks_after_the_death(void **state)
{
	pid_t parent = fork();
	int status;

	(void)state;
	if (!parent) {
		const volatile uint64_t *counter;
		struct ummunotify_watch watch;
		struct today today;
		char *memory = device_pages(2);
		int fd = device_open(O_NONBLOCK), alive[2];
		char byte;

		counter = device_counter(fd);
		CHILD_REQUIRE(!device_register(fd, memory, page, 1));
		CHILD_REQUIRE(!today_open(&today, 0, 0));
		CHILD_REQUIRE(!today_watch(&today, memory + page, page, &watch));
		madvise(memory, page, MADV_DONTNEED);
		CHILD_REQUIRE(*counter == 1 && !pipe(alive));
		if (fork())
			_exit(0);

		close(alive[1]);
		CHILD_REQUIRE(read(alive[0], &byte, 1) == 0);
		CHILD_REQUIRE(device_await_statistic("watches", 0));
		CHILD_REQUIRE(device_hung_up(fd) && device_hung_up(today.fd));
		CHILD_REQUIRE(*counter >= 1);
		for (uint64_t at = 0; at < today.setup.map_length; at += 8)
			CHILD_REQUIRE(
				!*(const volatile uint64_t *)(today.map + at));
		_exit(0);
	}
	expect_child(parent);
	assert_true(wait(&status) > 0); /* the child is ours now */
	assert_int_equal(status, 0);
}

/* Killed wherever it is: reading, watching, unmapping, faulting. */
static void killed_when_busy(void **state)
{
	(void)state;
	for (int i = 0; i < 40; i++) {
		pid_t child = fork();
		int status;

		if (!child) {
			struct ummunotify_event events[16];
			struct today today;
			struct ummunotify_watch watch;
			int fd = device_open(0);

			today_open(&today, 0, 0);
			for (uint64_t turn = 0;; turn++) {
				char *memory = device_pages(4);

				device_register(fd, memory, 4 * page, turn);
				today_watch(&today, memory, page, &watch);
				munmap(memory, 4 * page);
				device_read(fd, events, 16);
				device_unregister(fd, turn);
				today_unwatch(&today, &watch);
				today.read = today_logged(&today);
			}
		}
		usleep((unsigned int)i * 700);
		kill(child, SIGKILL);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status));
	}
	/* While it sleeps in read(). */
	for (int i = 0; i < 5; i++) {
		pid_t child = fork();

		if (!child) {
			struct ummunotify_event event;

			device_read(device_open(0), &event, 1);
			_exit(0);
		}
		usleep(30000);
		kill(child, SIGKILL);
		assert_int_equal(waitpid(child, NULL, 0), child);
	}
	assert_int_equal(device_statistic("watches"), 0);
	assert_int_equal(device_statistic("files"), 0);
	assert_true(device_await_statistic("spaces", 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(of_no_use_to_others),
		cmocka_unit_test(poller_is_told),
		cmocka_unit_test(memory_is_freed),
		cmocka_unit_test(child_looks_after_the_death),
		cmocka_unit_test(killed_when_busy),
	};

	run_limit(900);
	device_need();
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
