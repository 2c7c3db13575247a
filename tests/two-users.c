/* SPDX-License-Identifier: MIT */
/*
 * two-users.c - users of one process who do not know of each other (G5).
 *
 * Two monitors and caches; two private copies of the library, each with a
 * userfaultfd of its own on that backend; a userfaultfd that the program uses
 * for itself.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/uffd-abi.h"
#include "pages.h"
#include "run.h"
#include "witness.h"

#define TURNS 3000

static size_t page;
static const char *library; /* path of the shared library */
static bool kmod;	    /* the backend */

static char *map_pages(size_t count)
{
	char *memory = pages_map(NULL, count * page);

	memset(memory, 1, count * page);
	return memory;
}

/* The same addresses, other pages. */
static void map_again(char *memory, size_t count, uint64_t number)
{
	assert_ptr_equal(pages_map(memory, count * page), memory);
	*(volatile uint64_t *)memory = number;
}

static void two_monitors_are_both_told(void **state)
{
	struct witness first, second;
	char *memory = map_pages(2);
	uint64_t number;

	(void)state;
	assert_int_equal(witness_open(&first), 0);
	assert_int_equal(witness_open(&second), 0);
	*(uint64_t *)memory = 1;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(witness_get(&first, memory, page, &number), i);
		assert_int_equal(witness_get(&second, memory, page, &number), i);
	}
	munmap(memory, page);
	map_again(memory, 1, 2);
	assert_int_equal(witness_get(&first, memory, page, &number), 0);
	assert_int_equal(number, 2);
	assert_int_equal(witness_get(&second, memory, page, &number), 0);
	assert_int_equal(number, 2);

	/* One goes; the other is still told. */
	witness_close(&first);
	assert_int_equal(witness_get(&second, memory, page, &number), 1);
	munmap(memory, page);
	map_again(memory, 1, 3);
	assert_int_equal(witness_get(&second, memory, page, &number), 0);
	assert_int_equal(number, 3);
	witness_close(&second);
	munmap(memory, 2 * page);
}

/* The calls of a private copy of the library. */
struct copy {
	__typeof__(ummu_monitor_open) *open;
	__typeof__(ummu_monitor_close) *close;
	__typeof__(ummu_monitor_watch) *watch;
	__typeof__(ummu_monitor_unwatch) *unwatch;
	__typeof__(ummu_monitor_release) *release;
	__typeof__(ummu_monitor_settle) *settle;
	__typeof__(ummu_monitor_explain) *explain;
	__typeof__(ummu_rcache_create) *create;
	__typeof__(ummu_rcache_destroy) *destroy;
	__typeof__(ummu_rcache_get) *get;
	__typeof__(ummu_rcache_put) *put;
};

static void copy_file(const char *from, const char *to)
{
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
	char buffer[65536];
	ssize_t bytes;

	assert_true(in >= 0 && out >= 0);
	while ((bytes = read(in, buffer, sizeof(buffer))) > 0)
		assert_int_equal(write(out, buffer, (size_t)bytes), bytes);
	assert_int_equal(bytes, 0);
	close(in);
	close(out);
}

static void *call(void *handle, const char *name)
{
	void *address = dlsym(handle, name);

	assert_non_null(address);
	return address;
}

/* From another file, as the loader knows a library by its inode. */
static void load_copy(struct copy *copy)
{
	char folder[] = "/tmp/two-users-XXXXXX";
	char path[64];
	void *handle;

	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/libprivate.so", folder);
	copy_file(library, path);
	handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!handle)
		print_message("%s\n", dlerror());
	unlink(path);
	rmdir(folder);
	assert_non_null(handle);
	copy->open = call(handle, "ummu_monitor_open");
	copy->close = call(handle, "ummu_monitor_close");
	copy->watch = call(handle, "ummu_monitor_watch");
	copy->unwatch = call(handle, "ummu_monitor_unwatch");
	copy->release = call(handle, "ummu_monitor_release");
	copy->settle = call(handle, "ummu_monitor_settle");
	copy->explain = call(handle, "ummu_monitor_explain");
	copy->create = call(handle, "ummu_rcache_create");
	copy->destroy = call(handle, "ummu_rcache_destroy");
	copy->get = call(handle, "ummu_rcache_get");
	copy->put = call(handle, "ummu_rcache_put");
}

static bool valid_in(const struct copy *copy, const struct ummu_watch *watch)
{
	return (!watch->settle || copy->settle(watch->settle)) &&
	       !ummu_watch_spent(watch);
}

static int read_number(void *ctx, struct ummu_region *region)
{
	(void)ctx;
	region->handle.number = *(volatile uint64_t *)region->addr;
	return 0;
}

static void forget(void *ctx, struct ummu_region *region)
{
	(void)ctx, (void)region;
}

static const struct ummu_rcache_ops number_ops = {
	.size = sizeof(number_ops),
	.reg = read_number,
	.dereg = forget,
};

struct user {
	struct copy copy;
	struct ummu_monitor *monitor;
	struct ummu_rcache *rcache;
	uint64_t gets, cached, again, stale;
};

static void user_open(struct user *user)
{
	memset(user, 0, sizeof(*user));
	load_copy(&user->copy);
	if (user->copy.open(NULL, &user->monitor))
		fail_msg("%s", user->copy.explain());
	assert_int_equal(user->copy.create(user->monitor, &number_ops, NULL,
					   NULL, &user->rcache),
			 0);
}

static void user_close(struct user *user)
{
	user->copy.destroy(user->rcache);
	user->copy.close(user->monitor);
}

static void user_get(struct user *user, char *memory, size_t count,
		     uint64_t number)
{
	struct ummu_region *region;
	int error = user->copy.get(user->rcache, memory, count * page, 0,
				   &region);

	user->gets++;
	if (error == -EAGAIN) {
		user->again++;
		return;
	}
	assert_int_equal(error, 0);
	user->cached += region->cached;
	user->stale += region->handle.number != number;
	user->copy.put(user->rcache, region);
}

static void second_copy_is_refused(void **state)
{
	struct copy copies[2];
	struct ummu_monitor *monitors[2];
	struct ummu_watch *first, *second, *untouched = NULL;
	char *memory = map_pages(4), *beside;

	(void)state;
	for (int i = 0; i < 2; i++) {
		load_copy(&copies[i]);
		assert_int_equal(copies[i].open(NULL, &monitors[i]), 0);
	}
	assert_ptr_not_equal(copies[0].open, copies[1].open);
	assert_int_equal(copies[0].watch(monitors[0], memory, 2 * page, 1,
					 &first),
			 0);
	assert_int_equal(copies[1].watch(monitors[1], memory + page, 2 * page,
					 2, &untouched),
			 -EBUSY);
	assert_non_null(strstr(copies[1].explain(), "userfaultfd"));
	assert_null(untouched);
	/* In a mapping beside it there is no quarrel. */
	beside = map_pages(2);
	assert_int_equal(mprotect(beside + page, page, PROT_NONE), 0);
	assert_int_equal(copies[1].watch(monitors[1], beside, page, 3, &second),
			 0);
	munmap(memory + page, page);
	assert_false(valid_in(&copies[0], first));
	assert_true(valid_in(&copies[1], second));
	munmap(beside, 2 * page);
	assert_false(valid_in(&copies[1], second));
	copies[0].unwatch(monitors[0], first);
	copies[1].unwatch(monitors[1], second);

	/* What the first one gave up, the second may have. */
	munmap(memory + 2 * page, page);
	map_again(memory + page, 2, 0);
	assert_int_equal(copies[0].watch(monitors[0], memory + page, 2 * page,
					 4, &first),
			 0);
	copies[0].unwatch(monitors[0], first);
	assert_int_equal(copies[0].release(monitors[0], memory, 4 * page), 0);
	assert_int_equal(copies[1].watch(monitors[1], memory + page, 2 * page,
					 5, &second),
			 0);
	munmap(memory, 4 * page);
	assert_false(valid_in(&copies[1], second));
	copies[1].close(monitors[1]);
	copies[0].close(monitors[0]);
}

/* Parts of a mapping change hands while others stay. */
static void what_the_other_took_stays_his(void **state)
{
	struct copy copies[2];
	struct ummu_monitor *monitors[2];
	struct ummu_watch *wide, *narrow, *other;
	char *memory = map_pages(4);

	(void)state;
	for (int i = 0; i < 2; i++) {
		load_copy(&copies[i]);
		assert_int_equal(copies[i].open(NULL, &monitors[i]), 0);
	}
	/* The narrow watch is left with all that the wide one covered. */
	assert_int_equal(copies[0].watch(monitors[0], memory, 4 * page, 1,
					 &wide),
			 0);
	assert_int_equal(copies[0].watch(monitors[0], memory, page, 2, &narrow),
			 0);
	copies[0].unwatch(monitors[0], wide);
	munmap(memory + 2 * page, 2 * page);
	map_again(memory + 2 * page, 2, 0);
	assert_int_equal(copies[1].watch(monitors[1], memory + 2 * page,
					 2 * page, 3, &other),
			 0);
	assert_true(valid_in(&copies[0], narrow));
	copies[0].unwatch(monitors[0], narrow);
	assert_true(valid_in(&copies[1], other));
	munmap(memory + 2 * page, page);
	assert_false(valid_in(&copies[1], other));
	munmap(memory, 2 * page);
	munmap(memory + 3 * page, page);
	copies[1].close(monitors[1]);
	copies[0].close(monitors[0]);
}

/*
 * Both on the same memory, which keeps changing; now one is first, now other.
 * On uffd the one that comes second has to do without.
 */
static void caches_of_two_copies(void **state)
{
	unsigned int turns = run_scaled(TURNS);
	uint64_t random = run_seed();
	char *memory = map_pages(2);
	struct user users[2];

	(void)state;
	user_open(&users[0]);
	user_open(&users[1]);
	for (unsigned int i = 1; i <= turns; i++) {
		unsigned int first = run_random(&random) & 1;

		munmap(memory, 2 * page);
		map_again(memory, 2, i);
		for (int j = 0; j < 3; j++) {
			user_get(&users[first], memory, 2, i);
			user_get(&users[!first], memory, 2, i);
		}
	}
	for (int i = 0; i < 2; i++) {
		print_message("copy %d: %llu gets, %llu cached, %llu EAGAIN, %llu stale\n",
			      i, (unsigned long long)users[i].gets,
			      (unsigned long long)users[i].cached,
			      (unsigned long long)users[i].again,
			      (unsigned long long)users[i].stale);
		assert_int_equal(users[i].stale, 0);
		assert_true(users[i].cached > users[i].gets / 10);
		assert_true(kmod || users[i].cached < users[i].gets);
		user_close(&users[i]);
	}
	munmap(memory, 2 * page);
}

static int foreign_uffd(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd = (int)syscall(SYS_userfaultfd,
			      O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, UFFDIO_API, &api), 0);
	return fd;
}

/* 0 or what errno says. */
static int foreign_register(int fd, const char *memory, size_t count)
{
	struct uffdio_register request = {
		.range = { .start = (uintptr_t)memory, .len = count * page },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	return ioctl(fd, UFFDIO_REGISTER, &request) ? errno : 0;
}

static void the_program_has_its_own(void **state)
{
	int fd = foreign_uffd();
	char *memory = map_pages(2);
	struct ummu_monitor *monitor;
	struct ummu_watch *handle = NULL;
	struct witness witness;
	uint64_t number;

	(void)state;
	assert_int_equal(witness_open(&witness), 0);
	assert_int_equal(ummu_monitor_open(NULL, &monitor), 0);

	/* It was first: we stand back, and the cache does without. */
	assert_int_equal(foreign_register(fd, memory, 1), 0);
	assert_int_equal(ummu_monitor_watch(monitor, memory, 2 * page, 0,
					    &handle),
			 -EBUSY);
	assert_null(handle);
	for (int i = 0; i < 2; i++)
		assert_int_equal(witness_get(&witness, memory, 2 * page,
					     &number),
				 0);
	assert_int_equal(witness_stats(&witness).uncached, 2);
	/* And have taken nothing from it. */
	assert_int_equal(foreign_register(fd, memory, 1), 0);

	/* We were first. */
	assert_int_equal(ummu_monitor_watch(monitor, memory + page, page, 0,
					    &handle),
			 0);
	assert_int_equal(foreign_register(fd, memory + page, 1), EBUSY);
	assert_true(ummu_watch_valid(handle));
	ummu_monitor_unwatch(monitor, handle);
	assert_int_equal(ummu_monitor_release(monitor, memory + page, page), 0);
	assert_int_equal(foreign_register(fd, memory + page, 1), 0);

	ummu_monitor_close(monitor);
	witness_close(&witness);
	close(fd);
	munmap(memory, 2 * page);
}

/* On the kernel module nobody is in anybody's way. */
static void copies_watch_the_same(void **state)
{
	struct copy copies[2];
	struct ummu_monitor *monitors[2];
	struct ummu_watch *watches[2];
	char *memory = map_pages(4);

	(void)state;
	for (int i = 0; i < 2; i++) {
		load_copy(&copies[i]);
		assert_int_equal(copies[i].open(NULL, &monitors[i]), 0);
		assert_int_equal(copies[i].watch(monitors[i], memory, 2 * page,
						 1, &watches[i]),
				 0);
	}
	munmap(memory + page, page);
	assert_false(valid_in(&copies[0], watches[0]));
	assert_false(valid_in(&copies[1], watches[1]));

	/* What one ends, the other keeps. */
	for (int i = 0; i < 2; i++) {
		copies[i].unwatch(monitors[i], watches[i]);
		assert_int_equal(copies[i].watch(monitors[i], memory + 2 * page,
						 2 * page, 2, &watches[i]),
				 0);
	}
	copies[0].unwatch(monitors[0], watches[0]);
	assert_true(valid_in(&copies[1], watches[1]));
	copies[0].close(monitors[0]);
	assert_true(valid_in(&copies[1], watches[1]));
	munmap(memory, page);
	munmap(memory + 2 * page, 2 * page);
	assert_false(valid_in(&copies[1], watches[1]));
	copies[1].close(monitors[1]);
}

static void the_program_keeps_its_own(void **state)
{
	int fd = foreign_uffd();
	char *memory = map_pages(2);
	struct ummu_monitor *monitor;
	struct ummu_watch *handle = NULL;

	(void)state;
	assert_int_equal(ummu_monitor_open(NULL, &monitor), 0);
	assert_int_equal(foreign_register(fd, memory, 1), 0);
	assert_int_equal(ummu_monitor_watch(monitor, memory, 2 * page, 0,
					    &handle),
			 0);
	assert_int_equal(foreign_register(fd, memory + page, 1), 0);
	assert_true(ummu_watch_valid(handle));
	munmap(memory + page, page);
	assert_false(ummu_watch_valid(handle));
	ummu_monitor_close(monitor);
	close(fd);
	munmap(memory, page);
}

static void find_backend(void)
{
	struct ummu_monitor *monitor;

	if (ummu_monitor_open(NULL, &monitor)) {
		fprintf(stderr, "%s\n", ummu_monitor_explain());
		exit(1);
	}
	kmod = witness_on(monitor, "kmod");
	ummu_monitor_close(monitor);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest uffd_tests[] = {
		cmocka_unit_test(two_monitors_are_both_told),
		cmocka_unit_test(second_copy_is_refused),
		cmocka_unit_test(what_the_other_took_stays_his),
		cmocka_unit_test(caches_of_two_copies),
		cmocka_unit_test(the_program_has_its_own),
	};
	const struct CMUnitTest kmod_tests[] = {
		cmocka_unit_test(two_monitors_are_both_told),
		cmocka_unit_test(copies_watch_the_same),
		cmocka_unit_test(caches_of_two_copies),
		cmocka_unit_test(the_program_keeps_its_own),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: two-users LIBRARY\n");
		return 2;
	}
	library = argv[1];
	run_limit(250);
	witness_need_monitor();
	page = (size_t)sysconf(_SC_PAGESIZE);
	find_backend();
	return kmod ? cmocka_run_group_tests(kmod_tests, NULL, NULL) :
		      cmocka_run_group_tests(uffd_tests, NULL, NULL);
}
