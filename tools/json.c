/* SPDX-License-Identifier: MIT */
/*
 * json.c - prints a JSON document on standard output.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "tool.h"

int ummu_tool_print_json(struct json_object *object, int code)
{
	const char *text = json_object_to_json_string_ext(
		object,
		JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);

	if (!text || puts(text) < 0 || fflush(stdout)) {
		fprintf(stderr, "ummunotify: cannot write the result: %s\n",
			strerror(errno));
		code = UMMU_EXIT_CANNOT;
	}
	json_object_put(object);
	return code;
}
