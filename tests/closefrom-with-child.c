/* SPDX-License-Identifier: MIT */
/*
 * closefrom-with-child.c - the program closes all descriptors while a forked
 * child holds copies: no unmap waits for ever, and whatever gets the numbers
 * is left alone.
 *
 * A userfaultfd lives as long as somebody has it, and an unmap waits until
 * somebody reads it.  So it is not enough to notice that the number is gone.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "lib/uffd-abi.h"
#include "proc-self.h"
#include "run.h"
#include "scene.h"

#define MOST 64	 /* descriptors */
#define COUNT 16 /* pages that are watched */

static size_t page;

/* What the library has, and what it watches. */
static struct ummu_monitor *monitor, *other;
static struct ummu_watch *watch, *other_watch;
static char *memory;
static int numbers[MOST];
static size_t count;
static int before[MOST];
static size_t count_before;

static bool was_there(int number)
{
	for (size_t i = 0; i < count_before; i++)
		if (before[i] == number)
			return true;
	return false;
}

/* Which descriptors are new since @before was filled. */
static void find_numbers(void)
{
	int now[MOST];
	size_t all = proc_fds(now, MOST);

	count = 0;
	for (size_t i = 0; i < all; i++)
		if (!was_there(now[i]))
			numbers[count++] = now[i];
	REQUIRE(count > 0);
	printf("  %zu descriptors are the library's\n", count);
}

static void watch_memory(void)
{
	page = scene_page();
	if (!count_before) /* the library keeps some when all is closed */
		count_before = proc_fds(before, MOST);
	memory = scene_map(COUNT * page);
	monitor = scene_monitor();
	other = scene_monitor();
	watch = scene_watch(monitor, memory, COUNT * page);
	other_watch = scene_watch(other, memory + (COUNT - 2) * page, page);
	REQUIRE(ummu_monitor_fd(monitor) >= 0);
	REQUIRE(ummu_monitor_fd(other) >= 0);
	find_numbers();
}

/* It holds copies of all descriptors, and of the memory. */
static pid_t holder(void)
{
	pid_t child = scene_child();

	if (child)
		return child;
	for (;;)
		pause();
}

static void end_holder(pid_t child)
{
	int status;

	REQUIRE(!kill(child, SIGKILL));
	REQUIRE(waitpid(child, &status, 0) == child);
}

static void close_all(void)
{
	for (size_t i = 0; i < count; i++)
		REQUIRE(!close(numbers[i]));
}

static bool old_one_failed(void *unused)
{
	(void)unused;
	return !ummu_watch_valid(watch) &&
	       ummu_monitor_status(monitor) == -EBADF;
}

static bool other_invalid(void *unused)
{
	(void)unused;
	return !ummu_watch_valid(other_watch);
}

static bool numbers_answer; /* they are another userfaultfd now */

static void expect_failed(void)
{
	struct ummu_watch *handle = NULL;

	REQUIRE(!ummu_watch_valid(watch)); /* it was unmapped, or is lost */
	/*
	 * Another userfaultfd answers as ours does, so it is not found by the
	 * first look; its memory is still mapped.
	 */
	if (numbers_answer)
		REQUIRE(scene_await(other_invalid, NULL));
	REQUIRE(!ummu_watch_valid(other_watch));
	REQUIRE(scene_await(old_one_failed, NULL));
	REQUIRE(ummu_monitor_status(other) == -EBADF);
	REQUIRE(strlen(ummu_monitor_explain()) > 10);
	REQUIRE(ummu_monitor_watch(monitor, memory + page, page, 1, &handle) ==
		-EBADF);
	REQUIRE(!handle);
}

/* Both, for what was watched before the descriptors were gone. */
static void expect_events(void)
{
	struct ummu_event events[2];

	REQUIRE(ummu_monitor_read(monitor, events, 2) == 1);
	REQUIRE(events[0].cookie == 7);
	REQUIRE(ummu_monitor_read(other, events, 2) == 1);
	REQUIRE(events[0].reason == UMMU_REASON_FAILED);
}

static struct ummu_monitor *anew;

static bool opens_anew(void *unused)
{
	struct ummu_monitor_opts opts = { .size = sizeof(opts),
					  .backend = "uffd" };

	(void)unused;
	return !ummu_monitor_open(&opts, &anew);
}

static bool watches_anew(void *unused)
{
	struct ummu_watch *handle;

	(void)unused;
	if (ummu_monitor_watch(anew, memory + 8 * page, page, 2, &handle))
		return false;
	ummu_monitor_unwatch(anew, handle);
	return true;
}

static void expect_new_monitor_works(void)
{
	double start = run_seconds();
	bool opened = scene_await(opens_anew, NULL);

	printf("  a new monitor: %s after %.1f s\n",
	       opened ? "opened" : "refused", run_seconds() - start);
	REQUIRE(opened);
	/* The same memory too, which the old descriptor had. */
	REQUIRE(scene_await(watches_anew, NULL));
	scene_watch_works(anew);
	REQUIRE(ummu_monitor_status(monitor) == -EBADF); /* for good */
}

static void close_monitors(void)
{
	ummu_monitor_unwatch(monitor, watch);
	ummu_monitor_unwatch(other, other_watch);
	ummu_monitor_close(monitor);
	monitor = NULL;
	ummu_monitor_close(other);
	if (anew)
		ummu_monitor_close(anew);
}

static void unmap_half(void)
{
	scene_unmap(memory, COUNT / 2 * page);
}

static void unmap_rest(void)
{
	scene_unmap(memory + COUNT / 2 * page, COUNT / 2 * page);
}

static void closed_without_child(void)
{
	watch_memory();
	close_all();
	unmap_half();
	expect_failed();
	expect_events();
	expect_new_monitor_works();
	unmap_rest();
	close_monitors();
}

static void closed_with_child(void)
{
	pid_t child;

	watch_memory();
	child = holder();
	close_all();
	unmap_half();
	expect_failed();
	expect_events();
	expect_new_monitor_works();
	unmap_rest();
	close_monitors();
	end_holder(child);
}

/* Nobody looks before the unmap; and as a daemon does it. */
static void close_range_with_child(void)
{
	pid_t child;

	watch_memory();
	child = holder();
	REQUIRE(!syscall(SYS_close_range, 3, ~0U, 0));
	scene_unmap(memory, COUNT * page);
	expect_failed();
	end_holder(child);
}

/* The check comes first, then the unmap. */
static void found_by_check_with_child(void)
{
	pid_t child;

	watch_memory();
	child = holder();
	close_all();
	expect_failed();
	unmap_half();
	end_holder(child);
	unmap_rest();
	expect_new_monitor_works();
}

/* The child goes first, or last, and unmaps its own copy. */
static void child_unmaps(void)
{
	int go[2];
	pid_t child;
	char byte;

	watch_memory();
	REQUIRE(!pipe(go));
	child = scene_child();
	if (!child) {
		close(go[1]);
		REQUIRE(read(go[0], &byte, 1) == 0);
		scene_unmap(memory, COUNT * page);
		_exit(0);
	}
	close_all();
	unmap_half();
	close(go[1]);
	scene_child_ends(child);
	unmap_rest();
	expect_failed();
}

/* What gets the library's numbers, and how it is seen that it was let alone. */
struct impostor {
	int (*make)(void);
	void (*expect_untouched)(void);
};

static struct stat identities[MOST];

static void use_numbers(const struct impostor *impostor)
{
	int made = impostor->make();

	for (size_t i = 0; i < count; i++) {
		REQUIRE(dup2(made, numbers[i]) == numbers[i]);
		REQUIRE(!fstat(numbers[i], &identities[i]));
	}
}

/* Each number still is what the program has made it. */
static void expect_open(void)
{
	struct stat now;

	for (size_t i = 0; i < count; i++) {
		REQUIRE(!fstat(numbers[i], &now));
		REQUIRE(now.st_ino == identities[i].st_ino &&
			now.st_dev == identities[i].st_dev);
	}
}

static void numbers_used_again(const struct impostor *impostor, bool with_child)
{
	pid_t child = 0;

	watch_memory();
	if (with_child)
		child = holder();
	use_numbers(impostor);
	unmap_half();
	expect_failed();
	expect_open();
	impostor->expect_untouched();
	expect_new_monitor_works();
	unmap_rest();
	close_monitors();
	expect_open();
	impostor->expect_untouched();
	if (with_child)
		end_holder(child);
}

static int theirs; /* descriptor of the impostor */
static int peer;

static int make_eventfd(void)
{
	theirs = eventfd(5, EFD_NONBLOCK);
	REQUIRE(theirs >= 0);
	return theirs;
}

/* Reading it empties it, so it is filled again. */
static void expect_eventfd_untouched(void)
{
	uint64_t value = 0;

	REQUIRE(read(theirs, &value, sizeof(value)) == sizeof(value));
	if (value != 5)
		printf("  the program's eventfd holds %llu, not 5\n",
		       (unsigned long long)value);
	REQUIRE(value == 5);
	REQUIRE(write(theirs, &value, sizeof(value)) == sizeof(value));
}

static const char message[] = "this is not for you";

static void send_message(int fd)
{
	REQUIRE(send(fd, message, sizeof(message), 0) == sizeof(message));
}

static int make_socket(void)
{
	int pair[2];

	REQUIRE(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair));
	theirs = pair[0];
	peer = pair[1];
	send_message(theirs);
	send_message(peer);
	return theirs;
}

static void expect_message(int fd)
{
	char buffer[2 * sizeof(message)];

	REQUIRE(recv(fd, buffer, sizeof(buffer), MSG_PEEK) == sizeof(message));
	REQUIRE(!memcmp(buffer, message, sizeof(message)));
}

static void expect_socket_untouched(void)
{
	expect_message(theirs);
	expect_message(peer);
}

static int make_file(void)
{
	char name[] = "/tmp/ummu-closefrom-XXXXXX";

	theirs = mkstemp(name);
	REQUIRE(theirs >= 0);
	unlink(name);
	REQUIRE(write(theirs, message, sizeof(message)) == sizeof(message));
	REQUIRE(lseek(theirs, 4, SEEK_SET) == 4);
	return theirs;
}

static void expect_file_untouched(void)
{
	char buffer[2 * sizeof(message)];

	REQUIRE(lseek(theirs, 0, SEEK_CUR) == 4);
	REQUIRE(pread(theirs, buffer, sizeof(buffer), 0) == sizeof(message));
	REQUIRE(!memcmp(buffer, message, sizeof(message)));
}

static int make_uffd(void)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_EVENT_UNMAP };

	theirs = (int)syscall(SYS_userfaultfd,
			      O_NONBLOCK | O_CLOEXEC | UFFD_USER_MODE_ONLY);
	REQUIRE(theirs >= 0);
	if (ioctl(theirs, UFFDIO_API, &api)) { /* CAP_SYS_PTRACE is needed */
		close(theirs);
		theirs = (int)syscall(SYS_userfaultfd, O_NONBLOCK | O_CLOEXEC);
		REQUIRE(theirs >= 0);
		REQUIRE(!ioctl(theirs, UFFDIO_API, &api));
	}
	numbers_answer = true;
	return theirs;
}

static void *unmap_page(void *addr)
{
	REQUIRE(!munmap(addr, page));
	return NULL;
}

/*
 * The program's own event waits until the program reads it, and a range of
 * its own stays registered.
 */
static void expect_uffd_untouched(void)
{
	char *addr = scene_map(page);
	struct uffdio_register range = {
		.range = { .start = (uintptr_t)addr, .len = page },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	struct pollfd poller = { .fd = theirs, .events = POLLIN };
	struct uffd_msg event;
	pthread_t thread;

	REQUIRE(!ioctl(theirs, UFFDIO_REGISTER, &range));
	REQUIRE(!pthread_create(&thread, NULL, unmap_page, addr));
	REQUIRE(poll(&poller, 1, SCENE_PATIENCE * 1000) == 1);
	if (monitor) /* as a lookup does */
		ummu_monitor_settle(monitor);
	usleep(200000);
	REQUIRE(poll(&poller, 1, 0) == 1); /* nobody has read it */
	REQUIRE(read(theirs, &event, sizeof(event)) == sizeof(event));
	REQUIRE(event.event == UFFD_EVENT_UNMAP);
	REQUIRE(event.arg.remove.start == (uintptr_t)addr);
	REQUIRE(!pthread_join(thread, NULL));
}

static const struct impostor impostors[] = {
	{ make_eventfd, expect_eventfd_untouched },
	{ make_socket, expect_socket_untouched },
	{ make_file, expect_file_untouched },
	{ make_uffd, expect_uffd_untouched },
};

#define NUMBERS_USED_AGAIN(name, which)                       \
	static void by_##name(void)                           \
	{                                                     \
		numbers_used_again(&impostors[which], false); \
	}                                                     \
	static void by_##name##_with_child(void)              \
	{                                                     \
		numbers_used_again(&impostors[which], true);  \
	}

NUMBERS_USED_AGAIN(eventfd, 0)
NUMBERS_USED_AGAIN(socket, 1)
NUMBERS_USED_AGAIN(file, 2)
NUMBERS_USED_AGAIN(userfaultfd, 3)

/* Only what ummu_monitor_fd() has made or handed out is closed. */
static void pollable_used_again(const struct impostor *impostor)
{
	page = scene_page();
	memory = scene_map(COUNT * page);
	monitor = scene_monitor();
	watch = scene_watch(monitor, memory, COUNT * page);
	numbers[0] = ummu_monitor_fd(monitor);
	REQUIRE(numbers[0] >= 0);
	count = 1;
	use_numbers(impostor);
	unmap_half();
	REQUIRE(!ummu_watch_valid(watch));
	usleep(200000); /* would the reader write to it? */
	expect_open();
	impostor->expect_untouched();
	ummu_monitor_close(monitor);
	monitor = NULL;
	expect_open();
	impostor->expect_untouched();
	unmap_rest();
}

static void pollable_is_eventfd(void)
{
	pollable_used_again(&impostors[0]);
}

static void pollable_is_socket(void)
{
	pollable_used_again(&impostors[1]);
}

static void pollable_is_file(void)
{
	pollable_used_again(&impostors[2]);
}

/* Again and again, each time with what the last one left behind. */
static void many_times_with_child(void)
{
	pid_t children[4];

	for (int i = 0; i < 4; i++) {
		watch_memory();
		children[i] = holder();
		close_all();
		unmap_half();
		expect_failed();
		expect_new_monitor_works();
		unmap_rest();
		close_monitors();
		anew = NULL;
	}
	for (int i = 0; i < 4; i++)
		end_holder(children[i]);
}

int main(int argc, char **argv)
{
	static const struct scene scenes[] = {
		{ "closed_without_child", closed_without_child },
		{ "closed_with_child", closed_with_child },
		{ "close_range_with_child", close_range_with_child },
		{ "found_by_check_with_child", found_by_check_with_child },
		{ "child_unmaps", child_unmaps },
		{ "by_eventfd", by_eventfd },
		{ "by_eventfd_with_child", by_eventfd_with_child },
		{ "by_socket", by_socket },
		{ "by_socket_with_child", by_socket_with_child },
		{ "by_file", by_file },
		{ "by_file_with_child", by_file_with_child },
		{ "by_userfaultfd", by_userfaultfd },
		{ "by_userfaultfd_with_child", by_userfaultfd_with_child },
		{ "pollable_is_eventfd", pollable_is_eventfd },
		{ "pollable_is_socket", pollable_is_socket },
		{ "pollable_is_file", pollable_is_file },
		{ "many_times_with_child", many_times_with_child },
	};

	return scenes_play(scenes, sizeof(scenes) / sizeof(scenes[0]), argc,
			   argv);
}
