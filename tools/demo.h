/* SPDX-License-Identifier: MIT */
/*
 * demo.h - what the files of `ummunotify demo` share.
 *
 * Functions that return int return 0, or -errno after they told the user on
 * stderr what went wrong.
 */
#ifndef UMMU_DEMO_H
#define UMMU_DEMO_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include <ummunotify/pin-uring.h>
#include <ummunotify/rcache.h>

#define DEMO_BLOCK (64 * 1024) /* bytes an I/O */
#define DEMO_LANES 8	       /* blocks in flight */
#define DEMO_USES 64	       /* I/Os of a buffer between two remaps */
#define DEMO_SLOTS 64	       /* registrations at most: 4 MiB pinned */
#define DEMO_MIN_BLOCKS 1024   /* shorter files are copied several times */

void demo_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* demo-input.c */

/**
 * struct demo_input - the file that is copied
 * @path:      for people
 * @fd:        for plain reads
 * @direct_fd: open with O_DIRECT, or the same as @fd
 * @size:      bytes
 * @blocks:    of the file, the last one may be short
 * @passes:    times it is copied, one copy after the other
 * @changed:   seconds and nanoseconds of its last change, when opened
 */
struct demo_input {
	char *path;
	int fd;
	int direct_fd;
	uint64_t size;
	uint64_t blocks;
	uint64_t passes;
	struct timespec changed;
};

int demo_input_open(const char *path, struct demo_input *input);
void demo_input_close(struct demo_input *input);

/* Was the file written to since it was opened? */
bool demo_input_changed(const struct demo_input *input);

static inline uint64_t demo_total_blocks(const struct demo_input *input)
{
	return input->blocks * input->passes;
}

/* Where block @block of the copy comes from, and how long it is there. */
static inline uint64_t demo_offset(const struct demo_input *input,
				   uint64_t block)
{
	return block % input->blocks * DEMO_BLOCK;
}

static inline uint32_t demo_length(const struct demo_input *input,
				   uint64_t block)
{
	uint64_t left = input->size - demo_offset(input, block);

	return left < DEMO_BLOCK ? (uint32_t)left : DEMO_BLOCK;
}

/* demo-scratch.c */

/* The folder for scratch files; fails unless it has room for @bytes. */
int demo_scratch_folder(const char *wanted, uint64_t bytes,
			const char **folder_p);

/*
 * A file of @bytes without a name, so that it is gone however the program
 * ends.  *@direct tells whether O_DIRECT is wanted, and then whether it works.
 */
int demo_scratch_open(const char *folder, uint64_t bytes, bool *direct,
		      int *fd_p);

/* demo-plain.c */

/**
 * demo_transform - what the program does to each block
 *
 * An exclusive or with a stream that depends on the block's place in the copy.
 * The rest of a short block is filled with zeros.
 */
void demo_transform(const void *in, void *out, uint32_t length, uint64_t block);

/* Makes the right copy with plain reads and writes. */
int demo_plain_copy(const struct demo_input *input, int fd);

/**
 * struct demo_wrong - how a copy differs from the right one
 * @blocks: blocks that are wrong
 * @first:  number of the first one
 * @holds:  the block whose contents are found there instead
 * @known:  whether @holds was found
 */
struct demo_wrong {
	uint64_t blocks;
	uint64_t first;
	uint64_t holds;
	bool known;
};

int demo_compare(uint64_t blocks, int right_fd, int fd,
		 struct demo_wrong *wrong);

/* demo-ways.c, demo-untold.c */

/**
 * struct demo_pin - the io_uring pinner, counted
 * @uring:         does the work
 * @registrations: that succeeded
 * @nanoseconds:   in registering and deregistering
 */
struct demo_pin {
	struct ummu_pin_uring *uring;
	uint64_t registrations;
	uint64_t nanoseconds;
};

extern const struct ummu_rcache_ops demo_pin_ops; /* ctx: struct demo_pin */

/**
 * struct demo_grip - a buffer that may be used for one I/O
 * @slot:   its number in the ring's buffer table
 * @region: what put() needs
 * @single: storage for a region that serves one I/O
 */
struct demo_grip {
	unsigned int slot;
	struct ummu_region *region;
	struct ummu_region single;
};

/**
 * struct demo_way - a way to keep registrations
 * @open, @close: make and destroy what it needs; open() explains its failure
 * @get, @put:    around each I/O, for the DEMO_BLOCK bytes at an address
 * @backend:      of its monitor, or NULL
 */
struct demo_way {
	const char *name;
	int (*open)(struct demo_pin *pin, void **state_p);
	void (*close)(void *state);
	int (*get)(void *state, void *addr, struct demo_grip *grip);
	void (*put)(void *state, struct demo_grip *grip);
	const char *(*backend)(void *state);
};

extern const struct demo_way demo_uncached;
extern const struct demo_way demo_untold;
extern const struct demo_way demo_ummunotify;

/* demo-ring.c */

struct io_uring;

int demo_ring_open(struct io_uring *ring, struct ummu_pin_uring **pin_p);
void demo_ring_close(struct io_uring *ring, struct ummu_pin_uring *pin);

/* demo-copy.c */

struct demo_copy; /* a copy in the making */

/**
 * struct demo_result - one copy through fixed buffers
 * @way:           how registrations were kept
 * @backend:       of the monitor, "" where there is none
 * @seconds:       for all blocks
 * @register_seconds: of these, in registering and deregistering
 * @registrations, @remaps: of buffers
 * @waits:         times that a registration had to wait for pinned memory
 * @wrong:         filled in by demo_compare()
 */
struct demo_result {
	const char *way;
	char backend[16];
	double seconds;
	double register_seconds;
	uint64_t registrations;
	uint64_t remaps;
	uint64_t waits;
	struct demo_wrong wrong;
};

/* @result, all zeros, and @fd stay the caller's, and in use until the close. */
int demo_copy_open(const struct demo_input *input, int fd,
		   const struct demo_way *way, struct demo_result *result,
		   struct demo_copy **copy_p);
int demo_copy_run(struct demo_copy *copy, uint64_t end); /* up to that block */
void demo_copy_close(struct demo_copy *copy);		 /* NULL is allowed */

/* demo-report.c */

/**
 * struct demo_report - the whole run
 * @direct_input, @direct_output: was O_DIRECT in use
 * @results: in the order of enum demo_order
 */
enum demo_order { DEMO_UNCACHED, DEMO_UNTOLD, DEMO_UMMUNOTIFY, DEMO_WAYS };

struct demo_report {
	const struct demo_input *input;
	const char *folder;
	bool direct_input;
	bool direct_output;
	struct demo_result results[DEMO_WAYS];
};

/* demo-turns.c */

struct demo_turns; /* all copies, in the making */

int demo_turns_open(struct demo_report *report, struct demo_turns **turns_p);
int demo_turns_run(struct demo_turns *turns); /* and compares them */
void demo_turns_close(struct demo_turns *turns);

void demo_progress(const char *what, uint64_t done, uint64_t total);
void demo_progress_end(void);
void demo_print_heading(const struct demo_report *report);
void demo_print_results(const struct demo_report *report);
struct json_object *demo_json(const struct demo_report *report);

#endif
