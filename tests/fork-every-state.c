/* SPDX-License-Identifier: MIT */
/* fork-every-state.c - children of a process that watches, in every state. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "child.h"
#include "run.h"
#include "witness.h"

#define FORKS 200

static size_t page;

/* Everything there is to inherit. */
struct state {
	struct witness witness;
	struct ummu_monitor *monitor;
	char *memory; /* watched, hit but not read, idle, in use */
	struct ummu_watch *live, *pending;
	struct ummu_region *held;
	struct ummu_checkpoint checkpoint;
};

static char *map_pages(size_t count)
{
	char *memory = mmap(NULL, count * page, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	memset(memory, 1, count * page);
	return memory;
}

static int set_up(void **state_p)
{
	struct state *state = calloc(1, sizeof(*state));
	uint64_t number;

	assert_non_null(state);
	assert_int_equal(witness_open(&state->witness), 0);
	assert_int_equal(ummu_monitor_open(NULL, &state->monitor), 0);
	/* Apart, or the cache may make one region of two. */
	state->memory = map_pages(5);
	assert_int_equal(ummu_monitor_watch(state->monitor, state->memory, page,
					    1, &state->live),
			 0);
	assert_int_equal(ummu_monitor_watch(state->monitor, state->memory + page,
					    page, 2, &state->pending),
			 0);
	munmap(state->memory + page, page);
	assert_false(ummu_watch_valid(state->pending));
	assert_int_equal(witness_get(&state->witness, state->memory + 2 * page,
				     page, &number),
			 0);
	assert_int_equal(ummu_rcache_get(state->witness.rcache,
					 state->memory + 4 * page, page, 0,
					 &state->held),
			 0);
	ummu_monitor_checkpoint(state->monitor, &state->checkpoint);
	*state_p = state;
	return 0;
}

/* What the children did, nobody here noticed. */
static void check_undisturbed(struct state *state)
{
	struct ummu_event event;
	uint64_t number;

	assert_true(ummu_watch_valid(state->live));
	assert_true(ummu_watch_spent(state->pending));
	assert_false(ummu_changed(&state->checkpoint));
	assert_true(ummu_region_valid(state->held));
	assert_int_equal(state->witness.deregistered, 0);
	assert_int_equal(witness_get(&state->witness, state->memory + 2 * page,
				     page, &number),
			 1);
	assert_int_equal(ummu_monitor_read(state->monitor, &event, 1), 1);
	assert_int_equal(event.cookie, 2);
	munmap(state->memory, page);
	assert_false(ummu_watch_valid(state->live));
}

static int tear_down(void **state_p)
{
	struct state *state = *state_p;

	check_undisturbed(state);
	ummu_rcache_put(state->witness.rcache, state->held);
	witness_close(&state->witness);
	assert_int_equal(state->witness.registered, state->witness.deregistered);
	ummu_monitor_unwatch(state->monitor, state->live);
	ummu_monitor_unwatch(state->monitor, state->pending);
	ummu_monitor_close(state->monitor);
	munmap(state->memory, 5 * page);
	free(state);
	return 0;
}

/* Nothing here allocates, as a raw clone may have copied malloc's locks. */
static void everything_is_dead(struct state *state)
{
	struct ummu_watch *handle = NULL;
	struct ummu_region *region = NULL;
	struct ummu_event event;

	CHILD_REQUIRE(!ummu_watch_valid(state->live));
	CHILD_REQUIRE(ummu_watch_spent(state->live));
	CHILD_REQUIRE(!ummu_watch_valid(state->pending));
	CHILD_REQUIRE(!ummu_region_valid(state->held));
	CHILD_REQUIRE(ummu_changed(&state->checkpoint));
	CHILD_REQUIRE(ummu_monitor_generation(state->monitor) == 0);
	CHILD_REQUIRE(ummu_monitor_status(state->monitor) == -ECHILD);
	CHILD_REQUIRE(*ummu_monitor_explain());
	CHILD_REQUIRE(ummu_monitor_read(state->monitor, &event, 1) == -ECHILD);
	CHILD_REQUIRE(ummu_monitor_watch(state->monitor, state->memory, page, 0,
					 &handle) == -ECHILD);
	CHILD_REQUIRE(ummu_rcache_get(state->witness.rcache, state->memory,
				      page, 0, &region) == -ECHILD);
	CHILD_REQUIRE(ummu_rcache_flush(state->witness.rcache, true) == -ECHILD);
	CHILD_REQUIRE(!handle && !region);
}

static void free_everything(struct state *state)
{
	unsigned int before = state->witness.deregistered;

	ummu_monitor_unwatch(state->monitor, state->live);
	ummu_rcache_put(state->witness.rcache, state->held);
	witness_close(&state->witness);
	ummu_monitor_close(state->monitor);
	CHILD_REQUIRE(state->witness.deregistered == before);
	/* What the parent registered is ordinary memory here. */
	munmap(state->memory, 5 * page);
}

static void use_own(void)
{
	struct witness own;
	char *memory = map_pages(1);
	uint64_t number;

	CHILD_REQUIRE(!witness_open(&own));
	CHILD_REQUIRE(witness_get(&own, memory, page, &number) == 0);
	CHILD_REQUIRE(witness_get(&own, memory, page, &number) == 1);
	munmap(memory, page);
	/* The address again; a hit would be stale. */
	CHILD_REQUIRE(mmap(memory, page, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
			   0) == memory);
	*(uint64_t *)memory = 5;
	CHILD_REQUIRE(witness_get(&own, memory, page, &number) == 0);
	CHILD_REQUIRE(number == 5);
	witness_close(&own);
	CHILD_REQUIRE(own.registered == 2 && own.deregistered == 2);
	munmap(memory, page);
}

static void a_child_frees_and_starts_anew(struct state *state,
					  pid_t (*make_child)(void))
{
	pid_t child = make_child();

	if (!child) {
		run_limit(100);
		everything_is_dead(state);
		free_everything(state);
		use_own();
		_exit(0);
	}
	expect_child(child);
}

static void after_fork(void **state)
{
	a_child_frees_and_starts_anew(*state, plain_fork);
}

static void after_raw_clone(void **state)
{
	if (RUN_TSAN)
		skip(); /* takes the parent's threads for the child's */
	a_child_frees_and_starts_anew(*state, raw_clone);
}

/* A child that goes on without freeing, and a child of that child. */
static void grandchildren(void **state)
{
	pid_t child = fork();

	if (!child) {
		pid_t grandchild;

		run_limit(100);
		use_own();
		everything_is_dead(*state);
		grandchild = fork();
		if (!grandchild) {
			run_limit(100);
			everything_is_dead(*state);
			use_own();
			_exit(0);
		}
		CHILD_REQUIRE(waitpid(grandchild, &(int){ 0 }, 0) == grandchild);
		use_own();
		_exit(0);
	}
	expect_child(child);
}

/* Threads of one memory: nothing changes for the parent or the child. */
static void after_vfork(void **state_p)
{
	struct state *state = *state_p;
	volatile bool valid = false;
	pid_t child;

	if (RUN_TSAN)
		skip(); /* makes each vfork() a fork() */
	child = vfork();
	if (!child) {
		valid = ummu_watch_valid(state->live);
		_exit(0);
	}
	expect_child(child);
	assert_true(valid);
}

/* What a vfork child unmaps is gone from the parent, and it does not hang. */
static void vfork_child_unmaps(void **state_p)
{
	struct state *state = *state_p;
	struct ummu_watch *handle;
	char *memory;
	pid_t child;

	if (RUN_TSAN)
		skip();
	memory = map_pages(1);
	assert_int_equal(ummu_monitor_watch(state->monitor, memory, page, 3,
					    &handle),
			 0);
	child = vfork();
	if (!child) {
		syscall(SYS_munmap, memory, page);
		_exit(0);
	}
	expect_child(child);
	assert_false(ummu_watch_valid(handle));
	ummu_monitor_unwatch(state->monitor, handle);
	/* check_undisturbed() compares from here on. */
	ummu_monitor_checkpoint(state->monitor, &state->checkpoint);
}

static void after_spawn(void **state)
{
	char *const arguments[] = { "true", NULL };
	char *const environment[] = { NULL };
	pid_t child;

	(void)state;
	assert_int_equal(posix_spawnp(&child, "true", NULL, NULL, arguments,
				      environment),
			 0);
	expect_child(child);
}

/* Threads that register, look up, unmap and drain while others fork. */
struct crowd {
	struct state *state;
	bool stop;
	uint64_t turns, stale;
	int error;
};

static void *keep_using(void *argument)
{
	struct crowd *crowd = argument;
	struct witness *witness = &crowd->state->witness;
	uint64_t number, found = 0;
	char *memory;
	int result;

	while (!__atomic_load_n(&crowd->stop, __ATOMIC_RELAXED)) {
		number = __atomic_add_fetch(&crowd->turns, 1, __ATOMIC_RELAXED);
		memory = map_pages(2);
		*(uint64_t *)memory = number;
		result = witness_get(witness, memory, 2 * page, &found);
		if (result < 0 && result != -EAGAIN)
			__atomic_store_n(&crowd->error, result,
					 __ATOMIC_RELAXED);
		if (result >= 0 && found != number)
			__atomic_fetch_add(&crowd->stale, 1, __ATOMIC_RELAXED);
		munmap(memory, 2 * page);
	}
	return NULL;
}

static void fork_at_any_moment(void **state_p)
{
	struct state *state = *state_p;
	struct crowd crowd = { .state = state };
	unsigned int forks = run_scaled(FORKS);
	pthread_t threads[2];

	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, keep_using,
						&crowd),
				 0);
	for (unsigned int i = 0; i < forks; i++) {
		bool raw = i % 4 == 3;
		pid_t child = raw ? raw_clone() : fork();

		if (!child) {
			run_limit(100);
			everything_is_dead(state);
			/*
			 * Threads held malloc's locks, and lists half made;
			 * AddressSanitizer's locks in any child: before LLVM 17
			 * it does not take them around a fork.
			 */
			if (raw || RUN_ASAN)
				_exit(0);
			free_everything(state);
			if (i % 8 == 0)
				use_own();
			_exit(0);
		}
		expect_child(child);
	}
	__atomic_store_n(&crowd.stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	print_message("%u children in %llu turns of two threads\n", forks,
		      (unsigned long long)crowd.turns);
	assert_int_equal(crowd.error, 0);
	assert_int_equal(crowd.stale, 0);
	assert_true(crowd.turns > forks);
	/* Theirs are gone: what is left was there before. */
	ummu_rcache_flush(state->witness.rcache, false);
	assert_int_equal(state->witness.registered - state->witness.deregistered,
			 2);
	state->witness.deregistered = 0;
	state->witness.registered = 2;
}

/*
 * A child holds the descriptors open while the parent closes everything it can
 * and unmaps: the kernel would have it wait for a reader that is gone.
 */
static void child_outlives_the_monitors(void **state)
{
	struct witness witness;
	char *memory = map_pages(2);
	uint64_t number;
	int hold[2];
	pid_t child;

	(void)state;
	assert_int_equal(pipe(hold), 0);
	assert_int_equal(witness_open(&witness), 0);
	assert_int_equal(witness_get(&witness, memory, 2 * page, &number), 0);
	child = fork();
	if (!child) {
		run_limit(100);
		close(hold[1]);
		CHILD_REQUIRE(read(hold[0], &number, 1) == 0);
		_exit(0);
	}
	close(hold[0]);
	munmap(memory, page);
	witness_close(&witness);
	munmap(memory + page, page);
	close(hold[1]);
	expect_child(child);
}

#define WITH_STATE(test) \
	cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_STATE(after_fork),
		WITH_STATE(after_raw_clone),
		WITH_STATE(grandchildren),
		WITH_STATE(after_vfork),
		WITH_STATE(vfork_child_unmaps),
		WITH_STATE(after_spawn),
		WITH_STATE(fork_at_any_moment),
		cmocka_unit_test(child_outlives_the_monitors),
	};

	run_limit(250);
	witness_need_monitor();
	page = (size_t)sysconf(_SC_PAGESIZE);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
