/* SPDX-License-Identifier: MIT */
/*
 * matrix.h - the operation matrix: every way in which memory leaves, live.
 *
 * A row is one operation on one kind of mapping, called through libc or as a
 * raw system call.  Each row runs in a process of its own, so that none can
 * disturb another and a crash is an answer too.
 */
#ifndef UMMU_MATRIX_H
#define UMMU_MATRIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <liburing.h>

#include <ummunotify/monitor.h>

enum matrix_kind {
	KIND_ANONYMOUS,
	KIND_THP,
	KIND_MEMFD,
	KIND_HUGETLB_SHARED,
	KIND_HUGETLB_PRIVATE,
	KIND_SYSV_SHM,
	KIND_FILE_PRIVATE,
	KIND_FILE_SHARED,
	/* below: memory that somebody else allocates, one operation each */
	KIND_BRK,
	KIND_MALLOC,
	KIND_MALLOC_LARGE,
	KIND_STACK_CACHED,
	KIND_STACK_FREED,
	KIND_STACK_OWN,
	KIND_LIBRARY,
	KIND_COUNT
};

#define ON(kind) (1U << (kind))
#define ON_HUGETLB (ON(KIND_HUGETLB_SHARED) | ON(KIND_HUGETLB_PRIVATE))
#define ON_FILES                                               \
	(ON(KIND_MEMFD) | ON_HUGETLB | ON(KIND_FILE_PRIVATE) | \
	 ON(KIND_FILE_SHARED))
#define ON_EVERY (ON(KIND_BRK) - 1)

enum matrix_via { VIA_LIBC, VIA_SYSCALL, VIA_COUNT };

#define BY_LIBC (1U << VIA_LIBC)
#define BY_BOTH (1U << VIA_LIBC | 1U << VIA_SYSCALL)

/* The operation has no enum ummu_operation: no exception is claimed for it. */
#define NO_CLASS UMMU_OP_COUNT

struct matrix_range {
	char *start;
	size_t length; /* bytes */
};

/**
 * struct matrix_mapping - memory that a row works on
 * @addr, @length: page-aligned, in bytes
 * @granule:       smallest part that can be unmapped, in bytes
 * @fd:            the file behind it, or -1
 * @shmid:         the SysV segment behind it, or -1
 * @borrowed:      somebody else's once it was freed: not to be written to then
 * @give_back:     for memory that somebody else allocates: have it freed.
 *                 0 or -errno
 * @owner:         the fixture's, for @give_back
 */
struct matrix_mapping {
	char *addr;
	size_t length;
	size_t granule;
	int fd;
	int shmid;
	bool borrowed;
	int (*give_back)(struct matrix_mapping *mapping);
	void *owner;
};

enum matrix_fate {
	FATE_STAYED,
	FATE_LEFT,
	FATE_UNMAPPED, /* left, but the next touch maps the same page again */
	FATE_UNKNOWN,
};

/**
 * struct matrix_oracle - tells whether pages really left
 * @range:   what is looked at
 * @pagemap: /proc/self/pagemap, or -1
 * @frames:  pagemap shows physical pages (root)
 * @before, @after: pagemap's words, one a base page
 * @ring:    holds the pin, where @pinned
 * @copy:    a memfd that receives the contents of the pinned pages
 */
struct matrix_oracle {
	struct matrix_range range;
	int pagemap;
	bool frames;
	uint64_t *before;
	uint64_t *after;
	struct io_uring ring;
	bool ringed;
	bool pinned;
	int copy;
};

#define MATRIX_WATCHES 4
#define MATRIX_REASON 240

/**
 * struct matrix_row - one row while it runs
 * @watched, @watches: what to watch; prepare() may set it, the default is all
 *                     of the mapping
 * @hit:     what the operation hits, for the event's hint; the default is all
 * @other:   prepare()'s, for run()
 * @other_fd: the same
 * @reason:  why, for people; empty when there is nothing to say
 */
struct matrix_row {
	const struct matrix_operation *operation;
	enum matrix_kind kind;
	enum matrix_via via;
	struct matrix_mapping mapping;
	struct matrix_oracle oracle;
	struct matrix_range watched[MATRIX_WATCHES];
	unsigned int watches;
	struct matrix_range hit;
	char *other;
	int other_fd;
	char reason[MATRIX_REASON];
};

/**
 * struct matrix_operation - one way in which memory leaves, or must not
 * @name:     for people and for JSON
 * @class:    whose claim it is judged by: enum ummu_operation or NO_CLASS
 * @quiet:    on the list of what must stay quiet on base-page private memory;
 *            on huge pages and shared memory it may fire
 * @refusal:  the kernel may refuse it because the page is pinned (EAGAIN,
 *            EBUSY): the row is judged all the same
 * @needs_pin: without a pin the page may leave, and nothing is promised
 * @kinds:    set of ON(enum matrix_kind) to try; what the kernel then refuses
 *            is a skipped row
 * @vias:     BY_LIBC or BY_BOTH
 * @huge:     the mapping must span an aligned huge page, of base pages
 * @prepare:  before the range is watched; NULL if there is nothing to do
 * @run:      the operation.  Both return 0, or -errno through
 *            ummu_row_refused()
 */
struct matrix_operation {
	const char *name;
	unsigned int class;
	bool quiet;
	bool refusal;
	bool needs_pin;
	unsigned int kinds;
	unsigned int vias;
	bool huge;
	int (*prepare)(struct matrix_row *row);
	int (*run)(struct matrix_row *row);
};

/* Each ends with an operation without a name. */
extern const struct matrix_operation ummu_unmap_operations[];
extern const struct matrix_operation ummu_remap_operations[];
extern const struct matrix_operation ummu_advise_operations[];
extern const struct matrix_operation ummu_file_operations[];
extern const struct matrix_operation ummu_process_operations[];
extern const struct matrix_operation ummu_fault_operations[];
extern const struct matrix_operation ummu_owner_operations[];
extern const struct matrix_operation ummu_quiet_operations[];

enum matrix_verdict {
	VERDICT_CAUGHT,	  /* left and reported */
	VERDICT_MISSED,	  /* left and not reported */
	VERDICT_EARLY,	  /* reported, and stayed */
	VERDICT_MAY_FIRE, /* early in a row of the quiet list that may be */
	VERDICT_QUIET,	  /* neither */
	VERDICT_SPURIOUS, /* early in one that must stay quiet */
	VERDICT_UNKNOWN,
	VERDICT_SKIPPED,
	VERDICT_COUNT
};

enum matrix_truth { TRUTH_NO, TRUTH_YES, TRUTH_UNKNOWN };

/**
 * struct matrix_result - what came of a row
 * @failed: the row crashed, hung or contradicts itself
 */
struct matrix_result {
	const struct matrix_operation *operation;
	enum matrix_kind kind;
	enum matrix_via via;
	enum matrix_truth left;
	enum matrix_truth reported;
	bool claimed;
	bool failed;
	enum matrix_verdict verdict;
	char reason[MATRIX_REASON];
};

/**
 * struct matrix_run - a whole verify
 * @opts:    how every row opens its monitor
 * @caps:    of that monitor
 * @backend: its name
 * @timeout: seconds that a row may take
 * @only:    run only operations with this in their name; NULL for all
 */
struct matrix_run {
	struct ummu_monitor_opts opts;
	struct ummu_caps caps;
	char backend[32];
	unsigned int timeout;
	const char *only;
	struct matrix_result *results;
	size_t count;
	unsigned int verdicts[VERDICT_COUNT];
	unsigned int failures;
};

/* names.c */
const char *ummu_kind_name(enum matrix_kind kind);
const char *ummu_via_name(enum matrix_via via);
const char *ummu_verdict_name(enum matrix_verdict verdict);

/* mappings.c, owners.c: make the memory of a row, every page of it touched. */
int ummu_mapping_make(struct matrix_row *row);
int ummu_owner_make(struct matrix_row *row);
char *ummu_mapping_reserve(size_t length, size_t align);
void ummu_mapping_touch(char *addr, size_t length);
unsigned long ummu_mapping_detail(const char *addr, const char *format);
size_t ummu_page_size(void);
size_t ummu_huge_page_size(void);

/* oracle.c */
void ummu_oracle_open(struct matrix_oracle *oracle);
int ummu_oracle_pin(struct matrix_oracle *oracle, struct matrix_range range);
int ummu_oracle_before(struct matrix_oracle *oracle);
int ummu_oracle_after(struct matrix_oracle *oracle);
enum matrix_fate ummu_oracle_fate(struct matrix_oracle *oracle,
				  struct matrix_range range, bool may_touch);
void ummu_oracle_close(struct matrix_oracle *oracle);

/* row.c */
bool ummu_row_may_fire(const struct matrix_operation *operation,
		       enum matrix_kind kind);
void ummu_row_run(struct matrix_run *run, struct matrix_result *result);
int ummu_row_refused(struct matrix_row *row, const char *call);
int ummu_row_in_child(struct matrix_row *row, const char *call,
		      int (*act)(struct matrix_row *row));
int ummu_row_reap(struct matrix_row *row, pid_t child, const char *call);

/* runner.c */
int ummu_matrix_run(struct matrix_run *run, void (*progress)(size_t, size_t));

/* settings.c */
struct matrix_settings;
struct matrix_settings *ummu_settings_hold(void);
void ummu_settings_forget(struct matrix_settings *settings);
void ummu_settings_release(struct matrix_settings *settings);
bool ummu_setting_write(const char *path, unsigned long value);
bool ummu_setting_read(const char *path, unsigned long *value_p);

/* report.c */
int ummu_matrix_print(const struct matrix_run *run);
int ummu_matrix_json(const struct matrix_run *run, int code);

#endif
