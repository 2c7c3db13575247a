/* SPDX-License-Identifier: MIT */
/*
 * drop-in-stays.c - tests that a drop-in stays in memory when the library that
 * loaded it unloads it: threads of the program may be on their way through it.
 *
 * usage: drop-in-stays FILE
 *
 * Skipped where it cannot be loaded.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	void *module = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) :
				   NULL;

	if (!module) {
		fprintf(stderr, "%s\n", argc == 2 ? dlerror() : "which one?");
		return 77;
	}
	if (dlclose(module)) {
		fprintf(stderr, "%s\n", dlerror());
		return 1;
	}
	if (!dlopen(argv[1], RTLD_NOW | RTLD_NOLOAD)) {
		printf("%s was unloaded\n", argv[1]);
		return 1;
	}
	printf("%s has stayed\n", argv[1]);
	return 0;
}
