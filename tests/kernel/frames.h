/* SPDX-License-Identifier: MIT */
/* frames.h - which physical pages are mapped, as /proc/self/pagemap says. */
#ifndef FRAMES_H
#define FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** FRAME_NONE - no page is mapped: never touched, gone, swapped out. */
#define FRAME_NONE 0

/** frames_shown - is this user shown the numbers of physical pages (root)? */
bool frames_shown(void);

/** frames_read - the frame of each base page from @addr on; exits if it can't. */
void frames_read(const volatile void *addr, size_t pages, uint64_t *frames);

/** frame_of - the frame of one page. */
uint64_t frame_of(const volatile void *addr);

#endif
