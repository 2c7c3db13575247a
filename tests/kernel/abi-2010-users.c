/* SPDX-License-Identifier: MIT */
/* abi-2010-users.c - several descriptors side by side, and programs of 2010. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "expect-2010.h"
#include "tests/child.h"

#define USERS 5

/* Users that do not know of each other: each gets what it asked for. */
static void each_gets_its_own(void **state)
{
	const volatile uint64_t *counters[USERS];
	char *memory = device_pages(4);
	int fds[USERS];

	(void)state;
	for (uint64_t i = 0; i < USERS; i++) {
		fds[i] = device_open(O_NONBLOCK);
		counters[i] = device_counter(fds[i]);
		expect_registered(fds[i], memory + page * (i % 2), page, 9);
	}
	munmap(memory, page);
	for (uint64_t i = 0; i < USERS; i++) {
		assert_int_equal(*counters[i], i % 2 ? 0 : 1);
		if (i % 2)
			expect_nothing(fds[i]);
		else
			expect_hit(fds[i], 9, memory, memory + page, 1);
	}
	/* What one closes or ends is no matter to another. */
	close(fds[1]);
	assert_int_equal(device_unregister(fds[0], 9), 0);
	assert_ptr_equal(device_pages_at(memory, 1), memory);
	munmap(memory, 2 * page);
	expect_nothing(fds[0]);
	expect_hit(fds[2], 9, memory, memory + page, 2);
	expect_hit(fds[3], 9, memory + page, memory + 2 * page, 1);
	expect_hit(fds[4], 9, memory, memory + page, 2);
	for (int i = 0; i < USERS; i++)
		if (i != 1)
			close(fds[i]);
	munmap(memory, 4 * page);
}

/* A duplicate is the same descriptor. */
static void duplicates(void **state)
{
	char *memory = device_pages(1);
	int fd = device_open(O_NONBLOCK), other = dup(fd);

	(void)state;
	expect_registered(fd, memory, page, 4);
	assert_int_equal(device_register(other, memory, page, 4), -EINVAL);
	close(fd);
	munmap(memory, page);
	expect_hit(other, 4, memory, memory + page, 1);
	close(other);
}

/* Reads of one descriptor by several threads: each event to one of them. */
struct sharer {
	pthread_t pthread;
	int fd;
	unsigned int events, lasts;
};

static void *share(void *argument)
{
	struct sharer *sharer = argument;
	struct ummunotify_event events[3];
	int count;

	while ((count = device_read(sharer->fd, events, 3)) > 0)
		for (int i = 0; i < count; i++)
			if (events[i].type == UMMUNOTIFY_EVENT_TYPE_LAST)
				sharer->lasts++;
			else
				sharer->events++;
	return NULL;
}

static void threads_share_the_events(void **state)
{
	enum { THREADS = 4, REGIONS = 2000 };
	struct sharer sharers[THREADS];
	char *memory = device_pages(REGIONS);
	int fd = device_open(O_NONBLOCK);
	unsigned int events = 0, lasts = 0;

	(void)state;
	for (uint64_t i = 0; i < REGIONS; i++)
		expect_registered(fd, memory + i * page, page, i);
	/* The addresses stay taken, or the threads' stacks come there. */
	madvise(memory, REGIONS * page, MADV_DONTNEED);
	for (int i = 0; i < THREADS; i++) {
		sharers[i] = (struct sharer){ .fd = fd };
		pthread_create(&sharers[i].pthread, NULL, share, &sharers[i]);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(sharers[i].pthread, NULL);
		events += sharers[i].events;
		lasts += sharers[i].lasts;
		print_message("thread %d: %u events\n", i, sharers[i].events);
	}
	assert_int_equal(events, REGIONS);
	assert_int_equal(lasts, 1);
	close(fd);
	munmap(memory, REGIONS * page);
}

/*
 * The order of calls of the test program that came with the driver of 2009:
 * an uninitialised mask, a counter of 8 bytes, one region whose middle and
 * then whose rest is unmapped, blocking reads.
 */
static void program_of_2010(void **state)
{
	struct ummunotify_event events[16];
	struct ummunotify_register_ioctl region;
	volatile uint64_t *counter;
	uint64_t cookie = 123;
	uint32_t mask;
	char *memory;
	int fd;

	(void)state;
	memset(&region, 0xaa, sizeof(region));
	memset(&mask, 0xcc, sizeof(mask));
	fd = open("/dev/ummunotify", O_RDONLY);
	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, UMMUNOTIFY_EXCHANGE_FEATURES, &mask), 0);
	assert_int_equal(mask, 0);
	counter = mmap(NULL, sizeof(*counter), PROT_READ, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(counter, MAP_FAILED);
	memory = mmap(NULL, 3 * page, PROT_READ,
		      MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	region.start = (uintptr_t)memory;
	region.end = (uintptr_t)memory + 3 * page;
	region.user_cookie = cookie;
	assert_int_equal(ioctl(fd, UMMUNOTIFY_REGISTER_REGION, &region), 0);
	assert_int_equal(*counter, 0);

	munmap(memory + page, page);
	assert_int_equal(*counter, 1);
	assert_int_equal(read(fd, events, sizeof(events)),
			 2 * sizeof(events[0]));
	expect_inval(&events[0], cookie, memory + page, memory + 2 * page, true);
	expect_last(&events[1], 1);

	munmap(memory + 2 * page, page);
	munmap(memory, page);
	assert_int_equal(*counter, 3);
	assert_int_equal(read(fd, events, sizeof(events)),
			 2 * sizeof(events[0]));
	expect_inval(&events[0], cookie, memory, memory + 3 * page, false);
	expect_last(&events[1], 3);
	assert_int_equal(ioctl(fd, UMMUNOTIFY_UNREGISTER_REGION, &cookie), 0);
	assert_int_equal(close(fd), 0);
}

/**
 * struct client - a program that looks at the counter before each use
 * @seen: the counter of the last LAST that it read
 * @reads: calls of read()
 */
struct client {
	int fd;
	const volatile uint64_t *counter;
	uint64_t seen;
	unsigned int reads, events;
};

static void client_check(struct client *client)
{
	struct ummunotify_event events[8];

	while (*client->counter != client->seen) {
		int count = device_read(client->fd, events, 8);

		/* It would look for ever. */
		assert_true(count > 0);
		client->reads++;
		for (int i = 0; i < count; i++)
			if (events[i].type == UMMUNOTIFY_EVENT_TYPE_LAST)
				client->seen = events[i].user_cookie_counter;
			else
				client->events++;
	}
}

/* It ends regions whose event it has not read, as caches do: some, or all. */
static void client_that_compares_counters(void **state)
{
	struct client client = { .fd = device_open(O_NONBLOCK) };
	char *memory = device_pages(16);

	(void)state;
	client.counter = device_counter(client.fd);
	for (uint64_t round = 0; round < 200; round++) {
		unsigned int before = client.reads;
		uint64_t kept = round % 2 ? 16 : round % 13 + 1;

		for (uint64_t i = 0; i < 16; i++)
			expect_registered(client.fd, memory + i * page, page, i);
		client_check(&client);
		assert_int_equal(client.reads, before);
		madvise(memory + round % 13 * page, 3 * page, MADV_DONTNEED);
		memset(memory, 1, 16 * page);
		for (uint64_t i = 0; i < 16; i++)
			if (i != kept)
				assert_int_equal(device_unregister(client.fd, i),
						 0);
		client_check(&client);
		assert_int_equal(client.reads, before + 1);
		if (kept < 16)
			assert_int_equal(device_unregister(client.fd, kept), 0);
	}
	assert_int_equal(client.events, 100);
	print_message("%u reads for %llu moves of the counter\n", client.reads,
		      (unsigned long long)*client.counter);
	close(client.fd);
	munmap(memory, 16 * page);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_gets_its_own),
		cmocka_unit_test(duplicates),
		cmocka_unit_test(threads_share_the_events),
		cmocka_unit_test(program_of_2010),
		cmocka_unit_test(client_that_compares_counters),
	};

	run_limit(600);
	device_need();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
