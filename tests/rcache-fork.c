/* SPDX-License-Identifier: MIT */
/* rcache-fork.c - a cache in a child of fork, forked in every state of it. */
#define _GNU_SOURCE
#include "child.h"
#include "rcache-fixture.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Half of them by raw clone(). */
#define FORKS 30

/* Only where a leak sanitizer is linked in. */
int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

static unsigned int deregistered(const struct fixture *fixture)
{
	return __atomic_load_n(&fixture->pinner.deregistered, __ATOMIC_RELAXED);
}

/* Every call but destroy. */
static void calls_in_child(struct fixture *fixture, struct ummu_region *held)
{
	struct ummu_rcache_stats stats = { .size = sizeof(stats) };
	struct ummu_region *region = held;
	unsigned int before = deregistered(fixture);
	void *page = fixture_page(fixture, 0);

	alarm(100); /* instead of waiting for ever for a lock */
	CHILD_REQUIRE(!held || !ummu_region_valid(held));
	CHILD_REQUIRE(ummu_rcache_get(fixture->rcache, page, 1, 0, &region) ==
		      -ECHILD);
	CHILD_REQUIRE(region == held);
	CHILD_REQUIRE(ummu_rcache_flush(fixture->rcache, true) == -ECHILD);
	CHILD_REQUIRE(ummu_rcache_flush(fixture->rcache, false) == -ECHILD);
	CHILD_REQUIRE(ummu_rcache_invalidate(fixture->rcache, page, 1) ==
		      -ECHILD);
	if (held)
		ummu_rcache_put(fixture->rcache, held);
	CHILD_REQUIRE(!ummu_rcache_stats(fixture->rcache, &stats));
	CHILD_REQUIRE(deregistered(fixture) == before);
}

static void destroy_in_child(struct fixture *fixture)
{
	unsigned int before = deregistered(fixture);

	ummu_rcache_destroy(fixture->rcache);
	fixture->rcache = NULL;
	CHILD_REQUIRE(deregistered(fixture) == before);
	fake_close(fixture->fake);
	fixture->fake = NULL;
}

/* A child may have caches of its own. */
static void new_cache_in_child(struct fixture *fixture)
{
	struct fake_monitor *fake = fake_open(false);
	struct fake_pinner pinner;
	struct ummu_rcache *rcache;
	struct ummu_region *region;

	fake_pinner_init(&pinner);
	CHILD_REQUIRE(!ummu_rcache_create(&fake->base, &fake_pinner_ops,
					  &pinner, NULL, &rcache));
	CHILD_REQUIRE(!ummu_rcache_get(rcache, fixture_page(fixture, 0), 1, 0,
				       &region));
	CHILD_REQUIRE(region->cached && ummu_region_valid(region));
	ummu_rcache_put(rcache, region);
	ummu_rcache_destroy(rcache);
	CHILD_REQUIRE(!fake_pinner_live(&pinner));
	fake_close(fake);
}

/* Idle, in use, in use and invalidated, uncached. */
static void every_kind_of_region(struct fixture *fixture,
				 struct ummu_region *held[3])
{
	fixture_touch(fixture, 0, 1);
	held[0] = fixture_get(fixture, 1, 1, 0);
	held[1] = fixture_get(fixture, 2, 1, 0);
	fake_invalidate(fixture->fake, held[1]->addr, 1, UMMU_REASON_UNMAP);
	fixture_touch(fixture, 0, 1);
	fixture->fake->refuse = 1;
	fixture->fake->refuse_error = -EBUSY;
	held[2] = fixture_get(fixture, 3, 1, 0);
}

static void child_frees_and_deregisters_nothing(struct fixture *fixture,
						pid_t (*make_child)(void))
{
	struct ummu_region *held[3];
	pid_t child;

	every_kind_of_region(fixture, held);
	child = make_child();
	if (!child) {
		calls_in_child(fixture, held[0]);
		ummu_rcache_put(fixture->rcache, held[2]);
		destroy_in_child(fixture);
		held[0] = held[1] = held[2] = NULL;
		new_cache_in_child(fixture);
		if (__lsan_do_recoverable_leak_check)
			CHILD_REQUIRE(!__lsan_do_recoverable_leak_check());
		_exit(0);
	}
	expect_child(child);
	/* The parent did not notice. */
	assert_true(ummu_region_valid(held[0]));
	for (size_t i = 0; i < 3; i++)
		fixture_put(fixture, held[i]);
	fixture_touch(fixture, 1, 1);
	assert_int_equal(fixture->pinner.calls, 4);
	assert_int_equal(fake_pinner_live(&fixture->pinner), 2);
}

static void after_fork(void **state)
{
	child_frees_and_deregisters_nothing(*state, plain_fork);
}

static void after_raw_clone(void **state)
{
	child_frees_and_deregisters_nothing(*state, raw_clone);
}

/* The child forks in turn, with a cache of its own beside the inherited one. */
static void grandchild(struct fixture *fixture, pid_t (*make_child)(void))
{
	struct fixture own = { .page = fixture->page };
	int status = 0;
	pid_t child;

	own.fake = fake_open(false);
	fake_pinner_init(&own.pinner);
	CHILD_REQUIRE(!ummu_rcache_create(&own.fake->base, &fake_pinner_ops,
					  &own.pinner, NULL, &own.rcache));
	fixture_touch(&own, 0, 1);
	child = make_child();
	if (!child) {
		calls_in_child(fixture, NULL);
		calls_in_child(&own, NULL);
		destroy_in_child(&own);
		destroy_in_child(fixture);
		new_cache_in_child(fixture);
		_exit(0);
	}
	CHILD_REQUIRE(waitpid(child, &status, 0) == child && !status);
	fixture_touch(&own, 0, 1);
	ummu_rcache_destroy(own.rcache);
	fake_close(own.fake);
	calls_in_child(fixture, NULL);
	destroy_in_child(fixture);
	_exit(0);
}

static void generations(void **state)
{
	struct fixture *fixture = *state;
	pid_t (*const ways[])(void) = { plain_fork, raw_clone };
	pid_t child;

	fixture_touch(fixture, 0, 1);
	for (size_t i = 0; i < 4; i++) {
		child = ways[i & 1]();
		if (!child)
			grandchild(fixture, ways[i >> 1]);
		expect_child(child);
	}
	fixture_touch(fixture, 0, 1);
	assert_int_equal(fixture->pinner.calls, 1);
}

/* One thread registers, one waits for it, a third one forks. */
struct scene {
	struct fixture *fixture;
	pthread_barrier_t in_reg;
	pthread_barrier_t forked;
};

static void stay_in_reg(void *arg, struct ummu_region *region)
{
	struct scene *scene = arg;

	(void)region;
	pthread_barrier_wait(&scene->in_reg);
	pthread_barrier_wait(&scene->forked);
}

static void *touch_thread(void *arg)
{
	fixture_touch(arg, 0, 1);
	return NULL;
}

static void fork_while_pending(void **state)
{
	struct fixture *fixture = *state;
	struct scene scene = { .fixture = fixture };
	pthread_t owner, waiter;
	pid_t children[2];

	pthread_barrier_init(&scene.in_reg, NULL, 2);
	pthread_barrier_init(&scene.forked, NULL, 2);
	fixture->pinner.arg = &scene;
	fixture->pinner.on_reg = stay_in_reg;
	pthread_create(&owner, NULL, touch_thread, fixture);
	pthread_barrier_wait(&scene.in_reg);
	pthread_create(&waiter, NULL, touch_thread, fixture);
	/* Two watches: the waiter is at most a few instructions from waiting. */
	while (__atomic_load_n(&fixture->fake->base.watched, __ATOMIC_RELAXED) <
	       2)
		sched_yield();
	usleep(20000);

	for (size_t i = 0; i < 2; i++) {
		children[i] = plain_fork();
		if (!children[i]) {
			calls_in_child(fixture, NULL);
			destroy_in_child(fixture);
			new_cache_in_child(fixture);
			_exit(0);
		}
	}
	expect_child(children[0]);
	expect_child(children[1]);
	pthread_barrier_wait(&scene.forked);
	pthread_join(owner, NULL);
	pthread_join(waiter, NULL);
	assert_int_equal(fixture->pinner.calls, 1);
	pthread_barrier_destroy(&scene.in_reg);
	pthread_barrier_destroy(&scene.forked);
}

static bool stop;

/* Keeps every lock of the cache busy. */
static void *busy_thread(void *arg)
{
	struct fixture *fixture = arg;
	size_t i = 0;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		fixture_touch(fixture, i++ % 7, 2);
		if (i % 3 == 0)
			ummu_rcache_invalidate(fixture->rcache,
					       fixture_page(fixture, i % 7), 1);
	}
	return NULL;
}

static void fork_at_any_moment(void **state)
{
	struct fixture *fixture = *state;
	pthread_t threads[2];
	pid_t child;

	__atomic_store_n(&stop, false, __ATOMIC_RELAXED);
	for (size_t i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, busy_thread, fixture);
	for (int i = 0; i < FORKS; i++) {
		bool raw = i & 1;

		child = raw ? raw_clone() : plain_fork();
		if (!child) {
			calls_in_child(fixture, NULL);
			/* After a raw clone() malloc's locks may be held. */
			if (!raw)
				destroy_in_child(fixture);
			_exit(0);
		}
		expect_child(child);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (size_t i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}

#define WITH_FIXTURE(test) \
	cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FIXTURE(after_fork),
		WITH_FIXTURE(after_raw_clone),
		WITH_FIXTURE(generations),
		WITH_FIXTURE(fork_while_pending),
		WITH_FIXTURE(fork_at_any_moment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
