/* SPDX-License-Identifier: MIT */
/*
 * scene.h - the scenes of a test, a process each, which is killed if it hangs.
 *
 * For tests in which a hang is the failure, and which leave a process behind
 * that cannot be used for anything else.
 */
#ifndef SCENE_H
#define SCENE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include <ummunotify/rcache.h>

/** How long nothing may take on a busy machine, in seconds. */
#define SCENE_PATIENCE 20

/** A scene ends here, and says why, if this is not true. */
#define REQUIRE(truth)                                                \
	do {                                                          \
		if (!(truth))                                         \
			scene_fail(__FILE__, __LINE__, #truth, errno, \
				   ummu_monitor_explain());           \
	} while (0)

/** struct scene - what a process does; it passes if it returns. */
struct scene {
	const char *name;
	void (*play)(void);
};

/**
 * scenes_play - play all of them, or those named by arguments
 *
 * Returns an exit status, 0 or 1; exits with 77 where there is no userfaultfd.
 */
int scenes_play(const struct scene *scenes, size_t count, int argc, char **argv);

/** scene_fail - for REQUIRE(). */
_Noreturn void scene_fail(const char *file, int line, const char *truth,
			  int error, const char *explained);

/** scene_skip - the rest of the scene cannot be played here. */
_Noreturn void scene_skip(const char *why);

/** scene_await - is it true before SCENE_PATIENCE seconds are over? */
bool scene_await(bool (*truth)(void *ctx), void *ctx);

/** scene_returns - another thread does this, and comes back. */
void scene_returns(const char *what, void (*act)(void *ctx), void *ctx);

/** scene_unmap - munmap() in another thread, which has to return. */
void scene_unmap(void *addr, size_t length);

/** scene_child - fork; the child has a time limit of its own. */
pid_t scene_child(void);

/** scene_child_ends - the child ended, and said that all was well. */
void scene_child_ends(pid_t child);

/** A page, and private memory that is present. */
size_t scene_page(void);
char *scene_map(size_t length);

/** A monitor on userfaultfd, and a watch that has to be granted. */
struct ummu_monitor *scene_monitor(void);
struct ummu_watch *scene_watch(struct ummu_monitor *monitor, const void *addr,
			       size_t length);

/** scene_watch_works - a watch is granted, and an unmap invalidates it. */
void scene_watch_works(struct ummu_monitor *monitor);

/** A pinner that does nothing, for caches. */
extern const struct ummu_rcache_ops scene_pinner;

#endif
