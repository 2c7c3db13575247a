/* SPDX-License-Identifier: MIT */
/* uffd-range.c - tell the kernel which ranges of memory to report. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../base/containerof.h"
#include "explain.h"
#include "mappings.h"
#include "uffd-abi.h"
#include "uffd.h"

/* Widen this many watches before the mappings are counted again. */
#define WIDEN_RUN 256

/* Count the mappings again after this many splits at the latest. */
#define SPLIT_RUN 8192

/* How often to register a range that other threads keep mapping anew. */
#define REGISTER_ATTEMPTS 4

/* Sizes of huge pages to try, smallest first: arm64's and x86's. */
static const uint64_t huge_page_sizes[] = {
	64ULL << 10, 2ULL << 20, 32ULL << 20, 512ULL << 20, 1ULL << 30,
};

/*
 * Write-protect mode without ever write-protecting a page: the kernel then
 * reports what happens to the mapping and no fault is ever delivered.
 */
static int register_extent(int fd, const struct uffd_extent *extent)
{
	struct uffdio_register request = {
		.range = { .start = extent->start,
			   .len = extent->last - extent->start + 1 },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	return ioctl(fd, UFFDIO_REGISTER, &request) ? errno : 0;
}

static void unregister_extent(int fd, const struct uffd_extent *extent)
{
	struct uffdio_range range = { .start = extent->start,
				      .len = extent->last - extent->start + 1 };

	/* If it fails the range stays reported, which costs only time. */
	ioctl(fd, UFFDIO_UNREGISTER, &range);
}

/* MS_ASYNC starts no I/O and touches no page; it only finds holes. */
static bool has_hole(const struct uffd_extent *extent)
{
	return msync((void *)(uintptr_t)extent->start,
		     extent->last - extent->start + 1, MS_ASYNC) &&
	       errno == ENOMEM;
}

/* hugetlb mappings are registered by whole huge pages, of a size not told. */
static int register_huge(int fd, struct uffd_extent *extent)
{
	size_t sizes = sizeof(huge_page_sizes) / sizeof(huge_page_sizes[0]);

	for (size_t i = 0; i < sizes; i++) {
		uint64_t mask = huge_page_sizes[i] - 1;
		struct uffd_extent rounded = { .start = extent->start & ~mask,
					       .last = extent->last | mask };

		if (!register_extent(fd, &rounded)) {
			*extent = rounded;
			return 0;
		}
	}
	return EINVAL;
}

/* Each isolated range splits its mapping in three: may it, still? */
static bool may_split(struct uffd_process *process)
{
	long room;

	if (process->splits_left > 0) {
		process->splits_left -= 2;
		return true;
	}
	if (process->widen_left > 0) {
		process->widen_left--;
		return false;
	}
	/* Half of the limit is the application's. */
	room = ummu_mappings_limit() / 2 - ummu_mappings_count();
	if (room > SPLIT_RUN)
		room = SPLIT_RUN;
	process->splits_left = room - 2;
	if (room >= 2)
		return true;
	process->widen_left = WIDEN_RUN;
	return false;
}

static bool recently_widened(const struct uffd_process *process,
			     struct uffd_extent *extent)
{
	for (unsigned int i = 0; i < UFFD_RECENT_EXTENTS; i++) {
		const struct uffd_extent *recent = &process->recent[i];

		if (recent->start <= extent->start &&
		    recent->last >= extent->last) {
			*extent = *recent;
			return true;
		}
	}
	return false;
}

static bool register_widened(struct uffd_process *process,
			     struct uffd_extent *extent)
{
	struct uffd_extent whole = *extent;
	bool known = recently_widened(process, &whole);

	if (!known && !ummu_mapping_extent(&whole.start, &whole.last))
		return false;
	if (register_extent(process->fd, &whole))
		return false;
	if (!known) {
		process->recent[process->recent_next] = whole;
		process->recent_next = (process->recent_next + 1) %
				       UFFD_RECENT_EXTENTS;
	}
	__atomic_fetch_add(&process->widened, 1, __ATOMIC_RELAXED);
	*extent = whole;
	return true;
}

static int register_watch(struct uffd_process *process,
			  struct uffd_extent *extent)
{
	bool widen = !may_split(process);
	int error;

	if (widen && register_widened(process, extent))
		return 0;
	error = register_extent(process->fd, extent);
	if (error == ENOMEM && !widen && register_widened(process, extent))
		return 0;
	if (error == EINVAL && !has_hole(extent))
		error = register_huge(process->fd, extent);
	return error;
}

static int explain_register(int error, const struct uffd_process *process,
			    const struct uffd_extent *extent)
{
	char range[48];

	snprintf(range, sizeof(range), "%#llx-%#llx",
		 (unsigned long long)extent->start,
		 (unsigned long long)extent->last);
	if (error == EFAULT || has_hole(extent))
		return ummu_explain(-EFAULT,
				    "part of %s is not mapped: watch memory that exists",
				    range);
	switch (error) {
	case EBUSY:
		return ummu_explain(
			-EBUSY,
			"another userfaultfd owns part of %s (the application's, or a second copy of this library)",
			range);
	case EPERM:
		return ummu_explain(
			-EPERM,
			"%s is a shared mapping of a file opened read-only, which userfaultfd cannot watch",
			range);
	case ENOMEM:
		return ummu_explain(
			-ENOMEM,
			"too many mappings to watch %s: raise the sysctl vm.max_map_count",
			range);
	case EINVAL:
		return ummu_explain(
			-EOPNOTSUPP,
			"userfaultfd cannot watch this kind of mapping at %s%s",
			range,
			process->any_file ?
				"" :
				"; file mappings and SysV shared memory need Linux 6.7");
	case EAGAIN:
		return ummu_explain(
			-EAGAIN,
			"%s is being mapped anew by other threads: use it uncached this time",
			range);
	default:
		return ummu_explain(-error, "UFFDIO_REGISTER of %s: %s", range,
				    strerror(error));
	}
}

enum coverage { WHOLE, BROKEN, CANNOT_TELL };

/*
 * Is every page of the range mapped and registered?  One walk with the address
 * space locked: what is in one piece here was so at one moment.
 */
static enum coverage coverage_of(const struct uffd_process *process,
				 const struct uffd_extent *range)
{
	struct pagemap_region found[2] = { { 0 } };
	struct pagemap_scan scan = {
		.size = sizeof(scan),
		.start = range->start,
		.end = range->last + 1,
		.regions = (uintptr_t)found,
		.region_count = 2,
		.category_mask = UMMU_PAGE_IS_WPALLOWED,
		.return_mask = UMMU_PAGE_IS_WPALLOWED,
	};
	int pieces;

	if (!process->any_file || process->pagemap_fd < 0)
		return CANNOT_TELL;
	pieces = ioctl(process->pagemap_fd, UMMU_PAGEMAP_SCAN, &scan);
	if (pieces < 0)
		return CANNOT_TELL;
	return pieces == 1 && found[0].start == scan.start &&
			       found[0].end == scan.end ?
		       WHOLE :
		       BROKEN;
}

static bool one_mapping_at_most(const struct uffd_extent *range,
				const struct uffd_extent *registered)
{
	return range->start == registered->start &&
	       range->last == registered->last &&
	       range->last - range->start < (uint64_t)sysconf(_SC_PAGESIZE);
}

/*
 * The kernel registers around holes without a word.  What is mapped into a hole
 * a moment later would be pinned and not reported, so the range must be whole
 * and registered at one moment after this watch was armed.  A single page is,
 * or registering it fails.  Before 6.7 there is no way to see it: holes are
 * looked for, and the range is registered once more in case one was filled in
 * between.  That leaves a gap for memory that other threads unmap and map again
 * during this call, twice and in step with it, against the caller's promise.
 */
static int make_whole(struct uffd_process *process,
		      const struct uffd_extent *range,
		      const struct uffd_extent *registered)
{
	if (one_mapping_at_most(range, registered))
		return 0;
	for (int attempt = 0; attempt < REGISTER_ATTEMPTS; attempt++) {
		enum coverage coverage = coverage_of(process, range);
		int error;

		if (coverage == WHOLE)
			return 0;
		if (has_hole(range))
			return EFAULT;
		error = register_extent(process->fd, registered);
		if (error || coverage == CANNOT_TELL)
			return error;
	}
	return EAGAIN;
}

/* model: REGISTER.  Always, whoever has registered the range before. */
int ummu_uffd_cover(struct uffd_process *process, struct watch *watch)
{
	const struct uffd_extent range = { .start = watch->range.start,
					   .last = watch->range.last };
	struct uffd_extent extent = range;
	int error = register_watch(process, &extent);

	if (error)
		return explain_register(error, process, &range);
	watch->covered_start = extent.start;
	watch->covered_last = extent.last;
	error = make_whole(process, &range, &extent);
	if (!error)
		return 0;
	error = explain_register(error, process, &range);
	ummu_uffd_uncover(process, watch);
	return error;
}

/* model: UNWATCH, the second half.  Never after the lock was dropped. */
void ummu_uffd_uncover(struct uffd_process *process, struct watch *watch)
{
	const struct uffd_extent extent = { .start = watch->covered_start,
					    .last = watch->covered_last };
	struct ummu_interval *node;
	struct watch *other;

	if (watch->spent)
		return; /* its mapping may be gone, and another's lie there */
	node = ummu_interval_first(&process->watches, extent.start, extent.last);
	if (node == &watch->range)
		node = ummu_interval_next(node, extent.start, extent.last);
	if (node) {
		/* A neighbour needs part of it and inherits all of it. */
		other = container_of(node, struct watch, range);
		if (other->covered_start > extent.start)
			other->covered_start = extent.start;
		if (other->covered_last < extent.last)
			other->covered_last = extent.last;
		return;
	}
	/*
	 * Kernels before 6.18 let us take a range from another userfaultfd.
	 * That may have got a part of it that was unmapped and did not spend
	 * the watch (beyond its range, or by shmdt); then it is left alone, and
	 * also while something in flight may be changing hands.
	 */
	if (ummu_uffd_probe(process->fd) == UFFD_QUIET &&
	    !register_extent(process->fd, &extent))
		unregister_extent(process->fd, &extent);
}
