/* SPDX-License-Identifier: MIT */
/* monitor-unit.c - what the monitor grants and refuses, call by call. */
#define _GNU_SOURCE
#include "monitor-fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <time.h>
#include <unistd.h>

#include "run.h"
#include "witness.h"

static void open_refuses(void **state)
{
	struct ummu_monitor_opts opts = { .size = sizeof(opts),
					  .backend = "no such thing" };
	struct ummu_monitor *monitor = *state;

	assert_int_equal(ummu_monitor_open(&opts, &monitor), -EINVAL);
	assert_non_null(strstr(ummu_monitor_explain(), "no such thing"));
	opts.backend = NULL;
	opts.size = 0;
	assert_int_equal(ummu_monitor_open(&opts, &monitor), -EINVAL);
	assert_true(strlen(ummu_monitor_explain()) > 10);
	assert_ptr_equal(monitor, *state);
	ummu_monitor_close(NULL);
	ummu_monitor_unwatch(monitor, NULL);
}

static void environment_names_the_backend(void **state)
{
	struct ummu_monitor *monitor;

	(void)state;
	setenv("UMMU_MONITOR", "none", 1);
	monitor = monitor_open("uffd");
	assert_string_equal(ummu_monitor_backend(monitor), "none");
	ummu_monitor_close(monitor);

	setenv("UMMU_MONITOR", "bogus", 1);
	assert_int_equal(ummu_monitor_open(NULL, &monitor), -EINVAL);

	setenv("UMMU_MONITOR", "", 1);
	assert_int_equal(ummu_monitor_open(NULL, &monitor), 0);
	assert_string_equal(ummu_monitor_backend(monitor),
			    access("/dev/ummunotify", F_OK) ? "uffd" : "kmod");
	ummu_monitor_close(monitor);
	unsetenv("UMMU_MONITOR");
}

/* The best backend is not here, the next best is: nothing was refused. */
static void only_refusals_are_explained(void **state)
{
	struct ummu_monitor_opts opts = { .size = sizeof(opts),
					  .backend = "kmod" };
	struct ummu_monitor *monitor = NULL;
	char before[400];
	int error;

	(void)state;
	error = ummu_monitor_open(&opts, &monitor);
	if (access("/dev/ummunotify", F_OK)) {
		assert_int_equal(error, -ENOENT);
		assert_null(monitor);
		assert_non_null(strstr(ummu_monitor_explain(), "modprobe"));
	}
	ummu_monitor_close(monitor);

	opts.backend = "no such thing";
	assert_int_equal(ummu_monitor_open(&opts, &monitor), -EINVAL);
	snprintf(before, sizeof(before), "%s", ummu_monitor_explain());
	monitor = monitor_open(NULL);
	assert_string_equal(ummu_monitor_explain(), before);
	ummu_monitor_close(monitor);
}

static void none_watches_nothing(void **state)
{
	struct ummu_monitor *monitor = monitor_open("none");
	struct ummu_checkpoint checkpoint;
	struct ummu_caps caps = { .size = sizeof(caps) };
	char *memory = monitor_map(1);

	(void)state;
	monitor_refuses(monitor, memory, page, -EOPNOTSUPP);
	assert_int_equal(ummu_monitor_status(monitor), 0);
	assert_int_equal(ummu_monitor_generation(monitor), 1);
	ummu_monitor_checkpoint(monitor, &checkpoint);
	munmap(memory, page);
	assert_false(ummu_changed(&checkpoint));
	monitor_expect_silence(monitor);
	assert_int_equal(ummu_monitor_caps(monitor, &caps), 0);
	for (size_t i = 0; i < sizeof(caps.claims); i++)
		assert_int_equal(caps.claims[i], UMMU_CLAIM_NONE);
	assert_int_equal(monitor_stats(monitor).refused, 1);
	ummu_monitor_close(monitor);
}

static void watch_refuses(void **state)
{
	struct ummu_monitor *monitor = *state;
	char *memory = monitor_map(4);

	monitor_refuses(monitor, memory, 0, -EINVAL);
	monitor_refuses(monitor, memory, SIZE_MAX, -EINVAL);
	monitor_refuses(monitor, (void *)(UINTPTR_MAX - 10), 12, -EINVAL);
	/* The last page of the number line; nothing is mapped there. */
	monitor_refuses(monitor, (void *)(UINTPTR_MAX - 10), 11, -EFAULT);
	monitor_refuses(monitor, NULL, 1, -EFAULT);

	munmap(memory + page, page);
	monitor_refuses(monitor, memory, 4 * page, -EFAULT);
	monitor_refuses(monitor, memory + page, 1, -EFAULT);
	monitor_refuses(monitor, memory, page + 1, -EFAULT);
	assert_int_equal(monitor_stats(monitor).refused, 8);
	assert_int_equal(monitor_stats(monitor).watches, 0);
	munmap(memory, page);
	munmap(memory + 2 * page, 2 * page);
	monitor_expect_silence(monitor);
}

static void sizes_are_checked(void **state)
{
	struct ummu_monitor *monitor = *state;
	struct ummu_monitor_stats stats = { .size = 0 };
	struct ummu_caps caps = { .size = 0 };

	assert_int_equal(ummu_monitor_caps(monitor, &caps), -EINVAL);
	assert_int_equal(ummu_monitor_stats(monitor, &stats), -EINVAL);
	assert_true(strlen(ummu_monitor_explain()) > 10);

	caps.size = sizeof(caps);
	assert_int_equal(ummu_monitor_caps(monitor, &caps), 0);
	assert_int_equal(caps.size, sizeof(caps));
	assert_int_equal(caps.claims[UMMU_OP_MUNMAP], UMMU_CLAIM_CAUGHT);
	assert_int_equal(caps.claims[UMMU_OP_MADV_DONTNEED], UMMU_CLAIM_EARLY);
	assert_int_equal(caps.claims[UMMU_OP_PUNCH_HOLE], UMMU_CLAIM_NONE);
	assert_false(caps.flags & UMMU_CAPS_EXACT);
	assert_true(caps.grace_ns > 0);
}

static void one_reader_at_a_time(void **state)
{
	struct ummu_monitor *monitor = *state;

	struct ummu_reader *reader, *other = NULL;
	char *memory = monitor_map(1);
	struct ummu_watch *handle;
	struct ummu_event event;

	assert_int_equal(ummu_monitor_claim(monitor, &reader), 0);
	assert_int_equal(ummu_monitor_claim(monitor, &other), -EBUSY);
	assert_null(other);
	assert_non_null(strstr(ummu_monitor_explain(), "reader already"));
	monitor_refuses(monitor, memory, page, -EBUSY);
	assert_non_null(strstr(ummu_monitor_explain(), "claimed"));
	assert_int_equal(ummu_monitor_read(monitor, &event, 1), -EBUSY);

	assert_int_equal(ummu_reader_watch(reader, memory, page, 5, &handle), 0);
	munmap(memory, page);
	assert_false(ummu_watch_valid(handle));
	assert_int_equal(ummu_reader_read(reader, &event, 1), 1);
	assert_int_equal(event.cookie, 5);
	ummu_monitor_unwatch(monitor, handle);
	ummu_reader_drop(reader);
	assert_int_equal(ummu_monitor_claim(monitor, &reader), 0);
	ummu_reader_drop(reader);
	monitor_expect_silence(monitor);
}

/* The library keeps its locks in memory that a fork fills with zeros. */
static void zeros_are_a_free_mutex(void **state)
{
	static const pthread_mutex_t initializer = PTHREAD_MUTEX_INITIALIZER;
	pthread_mutex_t zeros;

	(void)state;
	memset(&zeros, 0, sizeof(zeros));
	assert_memory_equal(&zeros, &initializer, sizeof(zeros));
	assert_int_equal(pthread_mutex_trylock(&zeros), 0);
	assert_int_equal(pthread_mutex_trylock(&zeros), EBUSY);
	pthread_mutex_unlock(&zeros);
}

static void sleep_ns(uint64_t ns)
{
	struct timespec time = { .tv_sec = (time_t)(ns / 1000000000),
				 .tv_nsec = (long)(ns % 1000000000) };

	nanosleep(&time, NULL);
}

/* Until the grace is over, over which a busy machine may sleep. */
static void refuses_during_grace(struct ummu_monitor *monitor,
				 const char *memory, size_t length,
				 double since)
{
	struct ummu_caps caps = { .size = sizeof(caps) };
	struct ummu_watch *handle;
	int error = ummu_monitor_watch(monitor, memory, length, 0, &handle);

	assert_int_equal(ummu_monitor_caps(monitor, &caps), 0);
	if (error) {
		assert_int_equal(error, -EAGAIN);
		assert_true(strlen(ummu_monitor_explain()) > 10);
		return;
	}
	assert_true(run_seconds() - since > (double)caps.grace_ns * 1e-9);
	ummu_monitor_unwatch(monitor, handle);
}

static void grace_after_madvise(void **state)
{
	struct ummu_monitor *monitor = *state;
	struct ummu_caps caps = { .size = sizeof(caps) };
	char *memory = monitor_map(3);
	struct ummu_watch *handle, *neighbour;
	double before;

	assert_int_equal(ummu_monitor_caps(monitor, &caps), 0);
	handle = monitor_watch(monitor, memory, 2 * page, 0);
	before = run_seconds();
	madvise(memory, page, MADV_DONTNEED);
	assert_false(ummu_watch_valid(handle));
	ummu_monitor_unwatch(monitor, handle);

	refuses_during_grace(monitor, memory, 2 * page, before);
	refuses_during_grace(monitor, memory, page, before);
	/* Other ranges are none the worse for it. */
	neighbour = monitor_watch(monitor, memory + page, page, 0);
	ummu_monitor_unwatch(monitor, neighbour);
	sleep_ns(caps.grace_ns + 1000000);
	handle = monitor_watch(monitor, memory, 2 * page, 0);
	ummu_monitor_unwatch(monitor, handle);
	munmap(memory, 3 * page);
}

/* More ranges than are remembered one by one: then all have to wait. */
static void grace_of_many_ranges(void **state)
{
	struct ummu_monitor *monitor = *state;
	struct ummu_caps caps = { .size = sizeof(caps) };
	struct ummu_watch *watches[64];
	char *memory = monitor_map(128);
	double before = run_seconds();
	int allowed = 0;

	assert_int_equal(ummu_monitor_caps(monitor, &caps), 0);
	for (size_t i = 0; i < 64; i++)
		watches[i] = monitor_watch(monitor, memory + 2 * i * page, page,
					   i);
	for (size_t i = 0; i < 64; i++)
		madvise(memory + 2 * i * page, page, MADV_DONTNEED);
	for (size_t i = 0; i < 64; i++) {
		struct ummu_watch *again;

		assert_false(ummu_watch_valid(watches[i]));
		ummu_monitor_unwatch(monitor, watches[i]);
		if (ummu_monitor_watch(monitor, memory + 2 * i * page, page, i,
				       &again))
			continue;
		ummu_monitor_unwatch(monitor, again);
		allowed++;
	}
	assert_true(!allowed ||
		    run_seconds() - before > (double)caps.grace_ns * 1e-9);
	sleep_ns(caps.grace_ns + 1000000);
	watches[0] = monitor_watch(monitor, memory, 128 * page, 0);
	ummu_monitor_unwatch(monitor, watches[0]);
	munmap(memory, 128 * page);
}

static bool any_file(const struct ummu_monitor *monitor)
{
	struct ummu_caps caps = { .size = sizeof(caps) };

	assert_int_equal(ummu_monitor_caps(monitor, &caps), 0);
	return caps.flags & UMMU_CAPS_ANY_FILE;
}

static void sysv_shared_memory(void **state)
{
	struct ummu_monitor *monitor = *state;
	int segment = shmget(IPC_PRIVATE, 2 * page, IPC_CREAT | 0600);
	struct ummu_watch *handle;
	char *memory;

	if (segment < 0)
		skip();
	memory = shmat(segment, NULL, 0);
	shmctl(segment, IPC_RMID, NULL);
	assert_ptr_not_equal(memory, (char *)-1);
	memset(memory, 1, 2 * page);
	if (any_file(monitor)) {
		handle = monitor_watch(monitor, memory, 2 * page, 4);
		munmap(memory, 2 * page);
		assert_false(ummu_watch_valid(handle));
		ummu_monitor_unwatch(monitor, handle);
	} else {
		monitor_refuses(monitor, memory, 2 * page, -EOPNOTSUPP);
		shmdt(memory);
	}
}

static void read_only_shared_file(void **state)
{
	struct ummu_monitor *monitor = *state;
	int writer = memfd_create("read-only", MFD_CLOEXEC);
	char path[64];
	char *memory;
	int fd;

	assert_true(writer >= 0);
	assert_int_equal(ftruncate(writer, (off_t)page), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", writer);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	memory = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(memory, MAP_FAILED);
	monitor_refuses(monitor, memory, page, -EPERM);
	munmap(memory, page);
	close(fd);
	close(writer);
}

static long huge_pages(const char *what)
{
	char path[80], text[32] = "";
	int fd;

	snprintf(path, sizeof(path),
		 "/sys/kernel/mm/hugepages/hugepages-2048kB/%s", what);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close(fd);
	return strtol(text, NULL, 10);
}

static void set_huge_pages(long count)
{
	int fd = open("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
		      O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	dprintf(fd, "%ld", count);
	close(fd);
}

static void huge_page_watched_in_part(void **state)
{
	const size_t huge = (size_t)2 << 20;
	struct ummu_monitor *monitor = *state;
	struct ummu_watch *handle;
	long raised = 0;
	char *memory;

	if (huge_pages("free_hugepages") < 2) {
		raised = 2;
		set_huge_pages(huge_pages("nr_hugepages") + raised);
	}
	memory = mmap(NULL, 2 * huge, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB |
			      (21 << MAP_HUGE_SHIFT),
		      -1, 0);
	if (memory == MAP_FAILED) {
		print_message("no huge pages of 2 MiB, and not root\n");
		skip();
	}
	memory[0] = memory[huge] = 1;
	/* The kernel registers whole huge pages; the watch is what was said. */
	handle = monitor_watch(monitor, memory + huge + 3 * page, page, 6);
	munmap(memory, huge);
	assert_true(ummu_watch_valid(handle));
	munmap(memory + huge, huge);
	assert_false(ummu_watch_valid(handle));
	monitor_expect_event(monitor, 6, memory + huge + 3 * page,
			     memory + huge + 4 * page, UMMU_REASON_UNMAP);
	ummu_monitor_unwatch(monitor, handle);
	if (raised)
		set_huge_pages(huge_pages("nr_hugepages") - raised);
}

/* An old handle must not come to life when its word serves another watch. */
static void words_are_used_again(void **state)
{
	struct ummu_monitor *monitor = *state;
	char *memory = monitor_map(1);
	struct ummu_watch old, *handle;
	uint64_t words = 0;

	handle = monitor_watch(monitor, memory, page, 0);
	old = *handle;
	ummu_monitor_unwatch(monitor, handle);
	assert_false(ummu_watch_valid(&old));
	for (int i = 0; i < 10000; i++) {
		handle = monitor_watch(monitor, memory, page, 0);
		words += handle->state == old.state;
		assert_false(ummu_watch_valid(&old));
		ummu_monitor_unwatch(monitor, handle);
	}
	assert_int_equal(words, 10000);
	munmap(memory, page);
}

#define ON_UFFD(test)                                              \
	cmocka_unit_test_setup_teardown(test, monitor_set_up_uffd, \
					monitor_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_UFFD(open_refuses),
		ON_UFFD(environment_names_the_backend),
		ON_UFFD(only_refusals_are_explained),
		ON_UFFD(none_watches_nothing),
		ON_UFFD(watch_refuses),
		ON_UFFD(sizes_are_checked),
		ON_UFFD(one_reader_at_a_time),
		ON_UFFD(zeros_are_a_free_mutex),
		ON_UFFD(grace_after_madvise),
		ON_UFFD(grace_of_many_ranges),
		ON_UFFD(sysv_shared_memory),
		ON_UFFD(read_only_shared_file),
		ON_UFFD(huge_page_watched_in_part),
		ON_UFFD(words_are_used_again),
	};

	run_limit(250);
	witness_need_uffd();
	unsetenv("UMMU_MONITOR");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
