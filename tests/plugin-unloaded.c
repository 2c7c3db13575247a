/* SPDX-License-Identifier: MIT */
/*
 * plugin-unloaded.c - a plugin that contains the library may be unloaded.
 *
 * The reader, the destructors of threads that used a cache and the handlers of
 * fork are code of the plugin, and run after dlclose().
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "plugin.h"
#include "proc-self.h"
#include "run.h"
#include "scene.h"

static const char *path;
static void *plugin;

#define CALLS(call)                                             \
	call(plugin_open) call(plugin_watch) call(plugin_valid) \
		call(plugin_get) call(plugin_refused) call(plugin_close)

#define DECLARE(name) static __typeof__(&(name)) p_##name;
CALLS(DECLARE)

static void load(void)
{
	plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!plugin)
		printf("  %s\n", dlerror());
	REQUIRE(plugin);
#define FIND(name)                                  \
	*(void **)&p_##name = dlsym(plugin, #name); \
	REQUIRE(p_##name);
	CALLS(FIND)
}

static void unload(void)
{
	REQUIRE(!dlclose(plugin));
	printf("  after dlclose() it is %s\n",
	       dlopen(path, RTLD_NOW | RTLD_NOLOAD) ? "still there" : "gone");
}

static void fork_once(void)
{
	pid_t child = scene_child();

	if (!child)
		_exit(0);
	scene_child_ends(child);
}

static size_t page;
static char *memory;
static pthread_barrier_t used, end;

/* It uses the plugin, outlives it and then ends. */
static void *user(void *unused)
{
	REQUIRE(!p_plugin_get(memory + 8 * page, page));
	REQUIRE(!p_plugin_get(memory + 8 * page, page));
	REQUIRE(strlen(p_plugin_refused()) > 10);
	pthread_barrier_wait(&used);
	pthread_barrier_wait(&end);
	return unused;
}

static pthread_t start_user(void)
{
	pthread_t thread;

	REQUIRE(!pthread_barrier_init(&used, NULL, 2));
	REQUIRE(!pthread_barrier_init(&end, NULL, 2));
	REQUIRE(!pthread_create(&thread, NULL, user, NULL));
	pthread_barrier_wait(&used);
	return thread;
}

static void end_user(pthread_t thread)
{
	pthread_barrier_wait(&end);
	REQUIRE(!pthread_join(thread, NULL));
}

static void set_up(void)
{
	page = scene_page();
	memory = scene_map(16 * page);
	load();
}

static void never_used(void)
{
	set_up();
	unload();
	fork_once();
}

static void opened_and_closed(void)
{
	set_up();
	REQUIRE(!p_plugin_open());
	p_plugin_close();
	unload();
	REQUIRE(proc_reader_ends());
	sleep(1);
	fork_once();
}

static void used_by_a_thread(void)
{
	pthread_t thread;

	set_up();
	REQUIRE(!p_plugin_open());
	REQUIRE(!p_plugin_watch(memory, page));
	thread = start_user();
	p_plugin_close();
	unload();
	fork_once();
	scene_unmap(memory, page);
	REQUIRE(proc_reader_ends()); /* its last steps are in the plugin */
	sleep(1);
	fork_once();
	end_user(thread);
	fork_once();
}

/* Without a reader: what is left is the destructor of the thread's number. */
static void used_without_userfaultfd(void)
{
	pthread_t thread;

	set_up();
	setenv("UMMU_MONITOR", "none", 1);
	REQUIRE(!p_plugin_open());
	thread = start_user();
	p_plugin_close();
	unload();
	end_user(thread);
	fork_once();
}

/* The reader still has something to read. */
static void left_watching(void)
{
	pthread_t thread;

	set_up();
	REQUIRE(!p_plugin_open());
	REQUIRE(!p_plugin_watch(memory, 4 * page));
	thread = start_user();
	unload();
	fork_once();
	sleep(2);
	scene_unmap(memory, page);
	end_user(thread);
	fork_once();
	scene_unmap(memory + page, 15 * page);
}

static void loaded_again(void)
{
	for (int i = 0; i < 3; i++) {
		set_up();
		REQUIRE(!p_plugin_open());
		REQUIRE(!p_plugin_watch(memory, page));
		p_plugin_close();
		unload();
		fork_once();
		scene_unmap(memory, 16 * page);
	}
	REQUIRE(proc_reader_ends());
}

int main(int argc, char **argv)
{
	static const struct scene scenes[] = {
		{ "never_used", never_used },
		{ "opened_and_closed", opened_and_closed },
		{ "used_by_a_thread", used_by_a_thread },
		{ "used_without_userfaultfd", used_without_userfaultfd },
		{ "left_watching", left_watching },
		{ "loaded_again", loaded_again },
	};

	if (argc < 2)
		return 2;
	path = argv[1];
	return scenes_play(scenes, sizeof(scenes) / sizeof(scenes[0]), argc - 1,
			   argv + 1);
}
