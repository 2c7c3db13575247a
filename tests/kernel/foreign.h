/* SPDX-License-Identifier: MIT */
/*
 * foreign.h - memory that others change: what kinds, who, how, and what is seen.
 *
 * Each row is one act on one kind of memory, in a process of its own, which
 * owns the memory and watches it while somebody else acts.
 */
#ifndef FOREIGN_H
#define FOREIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum foreign_kind {
	FOREIGN_ANONYMOUS,
	FOREIGN_THP,
	FOREIGN_MEMFD,
	FOREIGN_FILE_SHARED,
	FOREIGN_FILE_PRIVATE, /* pages of the page cache */
	FOREIGN_FILE_COPIED,  /* private, written to */
	FOREIGN_HUGETLB_SHARED,
	FOREIGN_HUGETLB_PRIVATE,
	FOREIGN_KINDS
};

#define ON(kind) (1U << FOREIGN_##kind)
#define ON_HUGE (ON(THP) | ON(HUGETLB_SHARED) | ON(HUGETLB_PRIVATE))
#define ON_BASE                                                           \
	(ON(ANONYMOUS) | ON(MEMFD) | ON(FILE_SHARED) | ON(FILE_PRIVATE) | \
	 ON(FILE_COPIED))
#define ON_ALL (ON_BASE | ON_HUGE)
#define ON_SHARED_FILES (ON(MEMFD) | ON(FILE_SHARED) | ON(HUGETLB_SHARED))

#define FOREIGN_HUGE ((size_t)2 << 20)

/* Who acts. */
enum foreign_actor {
	FOREIGN_PROCESS,  /* has nothing of the memory but its file */
	FOREIGN_SHARER,	  /* a child of fork() that inherited the memory */
	FOREIGN_BORROWER, /* a process that runs in this one's memory */
	FOREIGN_VFORK,	  /* the same, and a thread waits for it */
};

/**
 * struct foreign_scene - a row while it runs
 * @addr, @pages: the memory, in base pages; addr is known before it is mapped
 * @huge:   its pages are huge
 * @file:   behind it, or -1
 * @owner:  its process
 * @reason: why the row does not run, for people
 * @lacking: it can't be run here
 */
struct foreign_scene {
	const struct foreign_act *act;
	enum foreign_kind kind;
	char *addr;
	size_t pages;
	bool huge;
	int file;
	pid_t owner;
	char reason[120];
	bool lacking;
};

/**
 * struct foreign_act - one way in which others change memory, or do not
 * @must:   set of kinds whose pages change
 * @may:    those where they may: the kernel refuses, or does not get around
 * @quiet:  those where they stay, and no watch may be hit
 * @pages:  of the memory, 0: a few; huge kinds have as many as a huge page
 * @settle: seconds that the kernel may take
 * @unseen: the mapping is detached first, and pagemap shows nothing any more
 *          while the page tables are as they were: look when it is done
 * @prepare: before there is any memory; NULL if there is nothing to do
 * @ready:  when the memory is there and not watched yet; the same
 * @run:    by the actor.  All return 0 or -errno
 * @finish: afterwards, in any case; NULL for nothing
 */
struct foreign_act {
	const char *name;
	unsigned int must, may, quiet;
	enum foreign_actor actor;
	size_t pages;
	unsigned int settle;
	bool unseen;
	int (*prepare)(struct foreign_scene *scene);
	int (*ready)(struct foreign_scene *scene);
	int (*run)(struct foreign_scene *scene);
	void (*finish)(struct foreign_scene *scene);
};

/* Each ends with an act without a name. */
extern const struct foreign_act foreign_calls[];
extern const struct foreign_act foreign_sharers[];
extern const struct foreign_act foreign_kernel[];

/* foreign-memory.c */
const char *foreign_kind_name(enum foreign_kind kind);
int foreign_memory_plan(struct foreign_scene *scene);
int foreign_memory_make(struct foreign_scene *scene);
size_t foreign_length(const struct foreign_scene *scene);

/**
 * struct foreign_cast - who acts, waiting for the word
 * @ended: it is done (atomic)
 * @status: how; for waitpid()
 */
struct foreign_cast;

/* foreign-actor.c */
struct foreign_cast *foreign_actor_start(struct foreign_scene *scene);
void foreign_actor_go(struct foreign_cast *cast);
bool foreign_actor_ended(struct foreign_cast *cast);
int foreign_actor_result(struct foreign_cast *cast);

/**
 * struct foreign_seen - what came of a row, in pages
 * @changed: no longer what they were, at one time at least
 * @late:    seen to have changed while their watch was still valid
 * @missed:  of those, never hit
 * @spurious: hit, and not seen to have changed
 * @untold:  the calls of 2010 told nothing, or late, of what changed
 */
struct foreign_seen {
	unsigned int changed, hit, late, missed, spurious;
	bool untold;
};

struct foreign_watch;

/* foreign-watch.c */
struct foreign_watch *foreign_watch_start(const struct foreign_scene *scene);
unsigned int foreign_watch_look(struct foreign_watch *watch);
void foreign_watch_end(struct foreign_watch *watch, struct foreign_seen *seen);

/* foreign-system.c */
void foreign_system_prepare(void);
bool foreign_set(const char *path, const char *value);
int foreign_setting(const char *path, const char *value);
bool foreign_has_swap(void);
const char *foreign_directory(void);
int foreign_lacking(struct foreign_scene *scene, const char *what);

#endif
