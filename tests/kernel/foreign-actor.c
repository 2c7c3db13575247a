/* SPDX-License-Identifier: MIT */
/* foreign-actor.c - has somebody else act: another process, or a borrower. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "foreign.h"

#define STACK_BYTES ((size_t)256 << 10)

/**
 * struct foreign_cast - an actor that waits for the word
 * @word:   a pipe: it may begin
 * @thread: waits for it
 * @child:  it; a borrower is the thread's
 * @ended:  it is done (atomic); then @status says how
 */
struct foreign_cast {
	struct foreign_scene *scene;
	int word[2];
	pthread_t thread;
	pid_t child;
	char *stack;
	bool ended;
	int status;
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static bool await_word(const struct foreign_cast *cast)
{
	char byte;

	return read(cast->word[0], &byte, 1) == 1;
}

/* The exit status is the errno. */
static int act(void *argument)
{
	struct foreign_cast *cast = argument;

	return -cast->scene->act->run(cast->scene);
}

static void *reap(void *argument)
{
	struct foreign_cast *cast = argument;

	if (waitpid(cast->child, &cast->status, 0) != cast->child)
		die("waitpid");
	__atomic_store_n(&cast->ended, true, __ATOMIC_RELEASE);
	return NULL;
}

/*
 * A borrower has this thread's errno too, so this thread only waits.  It has
 * its own table of descriptors, as another process would.
 */
static void *lend(void *argument)
{
	struct foreign_cast *cast = argument;
	int flags = CLONE_VM | SIGCHLD;

	if (cast->scene->act->actor == FOREIGN_VFORK)
		flags |= CLONE_VFORK;
	if (!await_word(cast))
		return NULL;
	cast->child = clone(act, cast->stack + STACK_BYTES, flags, cast);
	if (cast->child < 0)
		die("clone");
	return reap(cast);
}

static void start_process(struct foreign_cast *cast)
{
	cast->child = fork();
	if (cast->child < 0)
		die("fork");
	if (cast->child)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(cast->word[1]);
	_exit(await_word(cast) ? act(cast) : 0);
}

/** foreign_actor_start - it is there, and waits; exits on errors. */
struct foreign_cast *foreign_actor_start(struct foreign_scene *scene)
{
	struct foreign_cast *cast = calloc(1, sizeof(*cast));
	bool borrows = scene->act->actor == FOREIGN_BORROWER ||
		       scene->act->actor == FOREIGN_VFORK;

	if (!cast || pipe2(cast->word, O_CLOEXEC))
		die("an actor");
	cast->scene = scene;
	if (!borrows) {
		start_process(cast);
	} else {
		cast->stack = malloc(STACK_BYTES);
		if (!cast->stack)
			die("malloc");
	}
	errno = pthread_create(&cast->thread, NULL, borrows ? lend : reap, cast);
	if (errno)
		die("pthread_create");
	return cast;
}

void foreign_actor_go(struct foreign_cast *cast)
{
	if (write(cast->word[1], "g", 1) != 1)
		die("write");
}

bool foreign_actor_ended(struct foreign_cast *cast)
{
	return __atomic_load_n(&cast->ended, __ATOMIC_ACQUIRE);
}

/** foreign_actor_result - waits for its end; 0, or -errno of what it did. */
int foreign_actor_result(struct foreign_cast *cast)
{
	int status;

	pthread_join(cast->thread, NULL);
	status = cast->status;
	close(cast->word[0]);
	close(cast->word[1]);
	free(cast->stack);
	free(cast);
	if (!WIFEXITED(status)) {
		fprintf(stderr, "the actor died, status %#x\n",
			(unsigned int)status);
		exit(1);
	}
	return -WEXITSTATUS(status);
}
