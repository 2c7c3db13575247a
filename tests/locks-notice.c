/* SPDX-License-Identifier: MIT */
/*
 * locks-notice.c - the check of no-allocation-under-lock.c lets something pass.
 *
 * Each of the functions that it watches is called in a child, once without a
 * lock, which is fine, and once with one, which has to end the child.
 */
#define _GNU_SOURCE
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/lock.h"
#include "base/wipe.h"
#include "lib/explain.h"
#include "run.h"

#define BYTES ((size_t)4096)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *volatile memory; /* so that no call can be left out */
static volatile int number;
static char *volatile text;

static void call_malloc(void)
{
	memory = malloc(BYTES);
}

static void call_calloc(void)
{
	memory = calloc(1, BYTES);
}

static void call_realloc(void)
{
	memory = realloc(memory, BYTES);
}

static void call_aligned_alloc(void)
{
	memory = aligned_alloc(64, BYTES);
}

static void call_memalign(void)
{
	memory = memalign(64, BYTES);
}

static void call_posix_memalign(void)
{
	void *out;

	number = posix_memalign(&out, 64, BYTES);
}

static void call_free(void)
{
	free(memory);
}

static void call_fopen(void)
{
	memory = fopen("/dev/null", "re");
}

static void call_mmap(void)
{
	memory = mmap(NULL, BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		      0);
}

static void call_munmap(void)
{
	number = munmap(memory, 0);
}

static void call_madvise(void)
{
	number = madvise(NULL, 0, MADV_NORMAL);
}

static void call_mremap(void)
{
	memory = mremap(NULL, BYTES, BYTES, 0);
}

static void call_wipe_alloc(void)
{
	memory = ummu_wipe_alloc(BYTES);
}

static void call_snprintf(void)
{
	char line[32];

	number = snprintf(line, sizeof(line), "%d %s", number, text);
}

static void call_printf(void)
{
	number = printf("%d\n", number);
}

static void call_sscanf(void)
{
	int value;

	number = sscanf(text, "%d", &value);
}

static void call_strerror(void)
{
	text = strerror(number);
}

static void call_strerror_r(void)
{
	char line[32];

	text = strerror_r(number, line, sizeof(line));
}

static void call_explain(void)
{
	number = ummu_explain(-1, "%d", number);
}

static void call_explain_keep(void)
{
	char kept[UMMU_EXPLANATION];

	ummu_explain_keep(kept);
}

static const struct {
	const char *name;
	void (*call)(void);
} calls[] = {
	{ "malloc", call_malloc },
	{ "calloc", call_calloc },
	{ "realloc", call_realloc },
	{ "aligned_alloc", call_aligned_alloc },
	{ "memalign", call_memalign },
	{ "posix_memalign", call_posix_memalign },
	{ "free", call_free },
	{ "fopen", call_fopen },
	{ "mmap", call_mmap },
	{ "munmap", call_munmap },
	{ "madvise", call_madvise },
	{ "mremap", call_mremap },
	{ "ummu_wipe_alloc", call_wipe_alloc },
	{ "snprintf", call_snprintf },
	{ "printf", call_printf },
	{ "sscanf", call_sscanf },
	{ "strerror", call_strerror },
	{ "strerror_r", call_strerror_r },
	{ "ummu_explain", call_explain },
	{ "ummu_explain_keep", call_explain_keep },
};

/* How a child ends that makes the call with so many locks held. */
static int end_of(void (*call)(void), unsigned int locks)
{
	static pthread_mutex_t others[2] = { PTHREAD_MUTEX_INITIALIZER,
					     PTHREAD_MUTEX_INITIALIZER };
	const struct rlimit no_core = { 0, 0 };
	pid_t child;
	int status;

	fflush(stdout);
	child = fork();
	if (!child) {
		setrlimit(RLIMIT_CORE, &no_core);
		/* What was taken and given up again does not count. */
		ummu_mutex_lock(&lock);
		ummu_mutex_unlock(&lock);
		for (unsigned int i = 0; i < locks; i++)
			if (!ummu_mutex_trylock(&others[i]))
				_exit(2);
		call();
		_exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child) {
		perror("child");
		exit(1);
	}
	return status;
}

static bool is_noticed(const char *name, void (*call)(void))
{
	int without = end_of(call, 0), with = end_of(call, 1);
	bool noticed = WIFSIGNALED(with) && WTERMSIG(with) == SIGABRT;
	bool let_alone = WIFEXITED(without) && !WEXITSTATUS(without);

	printf("%s: %s with a lock, %s without\n", name,
	       noticed ? "noticed" : "PASSED", let_alone ? "passed" : "ENDED");
	return noticed && let_alone;
}

int main(void)
{
	bool good = true;

	run_limit(60);
	text = strdup("1");
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		good &= is_noticed(calls[i].name, calls[i].call);
	return good ? 0 : 1;
}
