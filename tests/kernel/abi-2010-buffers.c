/* SPDX-License-Identifier: MIT */
/*
 * abi-2010-buffers.c - reads into buffers that are to be faulted in, and into
 * bad ones: no event is lost, none is told twice.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "expect-2010.h"
#include "tests/run.h"

#define EVENT sizeof(struct ummunotify_event)
#define REGIONS 10

/* Regions of a page each, with cookies from 0; all of them hit. */
static char *hit_regions(int fd, size_t count)
{
	char *memory = device_pages(count);

	for (size_t i = 0; i < count; i++)
		expect_registered(fd, memory + i * page, page, i);
	munmap(memory, count * page);
	return memory;
}

/* The cookies of what was read, as bits; @last: a LAST ended it. */
static unsigned int cookies_of(const struct ummunotify_event *events, int count,
			       bool *last)
{
	unsigned int seen = 0;

	*last = false;
	for (int i = 0; i < count; i++) {
		unsigned int bit = 1U << events[i].user_cookie_counter;

		assert_false(*last);
		*last = events[i].type == UMMUNOTIFY_EVENT_TYPE_LAST;
		if (*last)
			break;
		assert_false(seen & bit);
		seen |= bit;
	}
	return seen;
}

/* What was not told in @seen is told now. */
static void expect_rest(int fd, unsigned int seen)
{
	struct ummunotify_event events[REGIONS + 1];
	unsigned int rest;
	bool last;
	int count = device_read(fd, events, REGIONS + 1);

	assert_true(count > 0);
	rest = cookies_of(events, count, &last);
	assert_true(last);
	assert_int_equal(seen & rest, 0);
	assert_int_equal(seen | rest, (1U << REGIONS) - 1);
	expect_nothing(fd);
}

static void no_access(void **state)
{
	void *none = mmap(NULL, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);
	void *read_only = mmap(NULL, page, PROT_READ,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = expect_fd(state);
	struct ummunotify_event *const bad[] = {
		none, read_only, NULL, (void *)32, (void *)0xffff888000000000,
	};

	hit_regions(fd, REGIONS);
	for (int i = 0; i < 5; i++)
		for (size_t count = 1; count <= REGIONS + 1; count += REGIONS)
			assert_int_equal(device_read(fd, bad[i], count),
					 -EFAULT);
	/* LAST is not lost in it either. */
	expect_rest(fd, 0);
	munmap(none, page);
	munmap(read_only, page);
}

static void last_into_nowhere(void **state)
{
	int fd = expect_fd(state);

	hit_regions(fd, 1);
	assert_int_equal(device_unregister(fd, 0), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(device_read(fd, NULL, 1), -EFAULT);
	expect_only_last(fd, 1);
}

/* The end of the buffer is not there: what fits before it; else EFAULT. */
static void second_page_missing(void **state)
{
	for (size_t room = 0; room <= REGIONS; room++) {
		char *memory = device_pages(2);
		/* And not even aligned: one event lies across. */
		char *buffer = memory + page - room * EVENT - (room % 3) * 8;
		struct ummunotify_event events[REGIONS + 1];
		unsigned int seen = 0;
		int fd = expect_fd(state), count;
		bool last = false;

		munmap(memory + page, page);
		hit_regions(fd, REGIONS);
		count = device_read(fd, (void *)buffer, REGIONS + 1);
		if (count == -EFAULT) {
			assert_int_equal(room, 0);
			count = 0;
		} else {
			assert_int_equal(count, room);
			memcpy(events, buffer, (size_t)count * EVENT);
			seen = cookies_of(events, count, &last);
			assert_false(last);
		}
		print_message("room for %zu: %d read\n", room, count);
		expect_rest(fd, seen);
		for (uint64_t i = 0; i < REGIONS; i++)
			assert_int_equal(device_unregister(fd, i), 0);
		munmap(memory, page);
	}
}

/* Of several pages: each is faulted in, and the read goes on. */
static void fresh_memory(void **state)
{
	enum { COUNT = 1000 };
	const size_t size = (COUNT + 1) * EVENT;
	void *buffer = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const struct ummunotify_event *events = buffer;
	bool seen[COUNT] = { false };
	int fd = expect_fd(state);
	const volatile uint64_t *counter = device_counter(fd);

	hit_regions(fd, COUNT);
	assert_int_equal(device_read(fd, buffer, COUNT + 1), COUNT + 1);
	for (int i = 0; i < COUNT; i++) {
		uint64_t cookie = events[i].user_cookie_counter;

		assert_int_equal(events[i].type, UMMUNOTIFY_EVENT_TYPE_INVAL);
		assert_true(cookie < COUNT && !seen[cookie]);
		seen[cookie] = true;
	}
	expect_last(&events[COUNT], *counter);
	expect_nothing(fd);
	munmap(buffer, size);
}

static void shared_file_memory(void **state)
{
	int file = memfd_create("buffer", MFD_CLOEXEC);
	struct ummunotify_event *events;
	int fd = expect_fd(state);
	bool last;

	assert_int_equal(ftruncate(file, (off_t)page), 0);
	events = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_SHARED, file,
		      0);
	hit_regions(fd, REGIONS);
	assert_int_equal(device_read(fd, events, REGIONS + 1), REGIONS + 1);
	assert_int_equal(cookies_of(events, REGIONS + 1, &last),
			 (1U << REGIONS) - 1);
	assert_true(last);
	for (uint64_t i = 0; i < REGIONS; i++)
		assert_int_equal(device_unregister(fd, i), 0);
	/* Behind the end of the file: SIGBUS to us, EFAULT to the kernel. */
	hit_regions(fd, REGIONS);
	assert_int_equal(device_read(fd, (void *)((char *)events + page), 4),
			 -EFAULT);
	expect_rest(fd, 0);
	munmap(events, 2 * page);
	close(file);
}

/* 1: there was some; 0: now there is; -1: there can be none. */
static int make_swap(void)
{
	if (!system("tail -n +2 /proc/swaps | grep -q ."))
		return 1;
	return system("modprobe -q zram num_devices=1 && "
		      "echo 32M >/sys/block/zram0/disksize && "
		      "mkswap /dev/zram0 >/dev/null && swapon /dev/zram0") ?
		       -1 :
		       0;
}

static void swapped_out(void **state)
{
	struct ummunotify_event *events = (void *)device_pages(1);
	unsigned char resident = 1;
	int fd = expect_fd(state), swap = make_swap();
	bool last;

	hit_regions(fd, REGIONS);
	for (int i = 0; swap >= 0 && resident & 1 && i < 10000; i++) {
		/* It goes when it is written. */
		madvise(events, page, MADV_PAGEOUT);
		mincore(events, page, &resident);
		usleep(10000);
	}
	print_message("the buffer is %s\n",
		      resident & 1 ? "in memory" : "swapped out");
	assert_int_equal(resident & 1, swap < 0);
	assert_int_equal(device_read(fd, events, REGIONS + 1), REGIONS + 1);
	assert_int_equal(cookies_of(events, REGIONS + 1, &last),
			 (1U << REGIONS) - 1);
	munmap(events, page);
	if (!swap)
		assert_int_equal(system("swapoff /dev/zram0 && "
					"modprobe -r zram"),
				 0);
}

/**
 * struct provider - a thread that provides missing pages, one fault at a time
 * @faults: how many
 */
struct provider {
	pthread_t pthread;
	int uffd;
	int faults;
};

static void *provider_run(void *argument)
{
	struct provider *provider = argument;
	struct pollfd poller = { .fd = provider->uffd, .events = POLLIN };
	char *zeros = aligned_alloc(page, page);
	struct uffd_msg message;

	memset(zeros, 0, page);
	while (poll(&poller, 1, -1) == 1 &&
	       read(provider->uffd, &message, sizeof(message)) ==
		       sizeof(message)) {
		struct uffdio_copy copy = {
			.dst = message.arg.pagefault.address & -page,
			.src = (uintptr_t)zeros,
			.len = page,
		};

		provider->faults++;
		usleep(20000); /* the reader waits, and must hold no lock */
		ioctl(provider->uffd, UFFDIO_COPY, &copy);
	}
	return zeros;
}

static void provided_by_a_thread(void **state)
{
	struct provider provider = { 0 };
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	char *memory = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct ummunotify_event *events = (void *)(memory + page -
						   REGIONS / 2 * EVENT);
	int fd = expect_fd(state), count;
	void *zeros;
	bool last;

	provider.uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (provider.uffd < 0) {
		print_message("no userfaultfd\n");
		skip();
	}
	range.range.start = (uintptr_t)memory;
	range.range.len = 2 * page;
	assert_int_equal(ioctl(provider.uffd, UFFDIO_API, &api), 0);
	assert_int_equal(ioctl(provider.uffd, UFFDIO_REGISTER, &range), 0);
	hit_regions(fd, REGIONS);
	pthread_create(&provider.pthread, NULL, provider_run, &provider);

	/* The buffer lies across two pages, neither of which is there. */
	count = device_read(fd, events, REGIONS + 1);
	print_message("%d read, %d faults provided for\n", count,
		      provider.faults);
	assert_int_equal(count, REGIONS + 1);
	assert_int_equal(cookies_of(events, count, &last), (1U << REGIONS) - 1);
	assert_true(last);
	assert_int_equal(provider.faults, 2);
	expect_nothing(fd);

	pthread_cancel(provider.pthread);
	pthread_join(provider.pthread, &zeros);
	close(provider.uffd);
	munmap(memory, 2 * page);
}

/* The memory that the event is about is where the event is written to. */
static void within_the_region(void **state)
{
	struct ummunotify_event *events = (void *)device_pages(1);
	int fd = expect_fd(state);

	expect_registered(fd, events, page, 3);
	for (uint64_t i = 1; i <= 10; i++) {
		/* Nothing there: read() faults a page in, which is no event. */
		assert_int_equal(madvise(events, page, MADV_DONTNEED), 0);
		assert_int_equal(device_read(fd, events, 3), 2);
		expect_inval(&events[0], 3, events, (char *)events + page, true);
		expect_last(&events[1], i);
		expect_nothing(fd);
	}
	munmap(events, page);
}

/*
 * The zero page is there: the write replaces it, which is an event of its own.
 * Told in this read or in the next, but told.
 */
static void within_the_region_copied(void **state)
{
	const volatile uint64_t *counter = device_counter(expect_fd(state));
	struct ummunotify_event *events = (void *)device_pages(1);
	struct ummunotify_event after[3];
	int fd = expect_fd(state), count;
	uint64_t last = 0;

	assert_non_null(counter);
	expect_registered(fd, events, page, 3);
	madvise(events, page, MADV_DONTNEED);
	assert_int_equal(*(const volatile char *)events, 0);
	count = device_read(fd, events, 3);
	print_message("%d read, counter %llu\n", count,
		      (unsigned long long)*counter);
	assert_true(count >= 1);
	assert_int_equal(events[0].user_cookie_counter, 3);
	assert_true(*counter >= 2);
	if (events[count - 1].type == UMMUNOTIFY_EVENT_TYPE_LAST)
		last = events[count - 1].user_cookie_counter;
	if (last != *counter) {
		count = device_read(fd, after, 3);
		assert_true(count >= 1);
		expect_last(&after[count - 1], *counter);
	}
	expect_nothing(fd);
	munmap(events, page);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, expect_opened, expect_closed)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(no_access),
		TEST(last_into_nowhere),
		TEST(second_page_missing),
		TEST(fresh_memory),
		TEST(shared_file_memory),
		TEST(swapped_out),
		TEST(provided_by_a_thread),
		TEST(within_the_region),
		TEST(within_the_region_copied),
	};

	run_limit(600);
	device_need();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
