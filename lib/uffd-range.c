/* SPDX-License-Identifier: MIT */
/* uffd-range.c - tell the kernel which ranges of memory to report. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "explain.h"
#include "uffd-abi.h"
#include "uffd.h"

/* How often to register a range again that other threads keep remapping. */
#define REGISTER_ATTEMPTS 4

/*
 * Registers in write-protect mode, and never write-protects a page: so the
 * kernel reports what happens to the mapping, and no fault waits for this
 * library.
 */
int ummu_uffd_register(int fd, const struct uffd_range *range)
{
	struct uffdio_register request = {
		.range = { .start = range->start,
			   .len = range->last - range->start + 1 },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	return ioctl(fd, UFFDIO_REGISTER, &request) ? -errno : 0;
}

int ummu_uffd_unregister(int fd, const struct uffd_range *range)
{
	struct uffdio_range request = {
		.start = range->start,
		.len = range->last - range->start + 1,
	};

	return ioctl(fd, UFFDIO_UNREGISTER, &request) ? -errno : 0;
}

/*
 * msync() with MS_ASYNC starts no I/O and touches no page; it only finds holes.
 * By syscall(), as msync() is a cancellation point.
 */
static bool has_hole(const struct uffd_range *range)
{
	return syscall(SYS_msync, range->start, range->last - range->start + 1,
		       MS_ASYNC) &&
	       errno == ENOMEM;
}

/*
 * Find the pieces of the range that are registered in write-protect mode.
 * Stops after two pieces, or after @most such pages unless that is 0.  Returns
 * how many pieces it stored in @found, or -1 if the kernel does not tell.
 */
static int scan(int pagemap_fd, const struct uffd_range *range, uint64_t most,
		struct pagemap_region found[2])
{
	struct pagemap_scan request = {
		.size = sizeof(request),
		.start = range->start,
		.end = range->last + 1,
		.regions = (uintptr_t)found,
		.region_count = 2,
		.max_pages = most,
		.category_mask = UMMU_PAGE_IS_WPALLOWED,
		.return_mask = UMMU_PAGE_IS_WPALLOWED,
	};

	return ioctl(pagemap_fd, UMMU_PAGEMAP_SCAN, &request);
}

int ummu_uffd_is_registered(const struct uffd_process *process, int pagemap_fd,
			    const struct uffd_range *mapping)
{
	struct pagemap_region found[2];

	if (!process->any_file)
		return -1;
	return scan(pagemap_fd, mapping, 1, found);
}

enum coverage { WHOLE, BROKEN, CANNOT_TELL };

/*
 * Is every page of the range mapped and registered?  The kernel walks the range
 * with the address space locked, so one piece means: all of it at one moment.
 */
static enum coverage coverage_of(const struct uffd_process *process,
				 const struct uffd_range *range)
{
	struct pagemap_region found[2] = { { 0 } };
	int pieces;

	if (!process->any_file || !ummu_descriptor_is_ours(&process->pagemap))
		return CANNOT_TELL;
	pieces = scan(process->pagemap.fd, range, 0, found);
	if (pieces < 0)
		return CANNOT_TELL;
	return pieces == 1 && found[0].start == range->start &&
			       found[0].end == range->last + 1 ?
		       WHOLE :
		       BROKEN;
}

static bool is_one_page(const struct uffd_range *range,
			const struct uffd_range *registered)
{
	return range->start == registered->start &&
	       range->last == registered->last &&
	       range->last - range->start < (uint64_t)sysconf(_SC_PAGESIZE);
}

/*
 * UFFDIO_REGISTER skips holes and succeeds.  Memory that is mapped into a hole
 * a moment later would be pinned, but its unmap not reported.  So there must be
 * one moment, after this watch was armed, at which all of the range is mapped
 * and registered.  For a single page, registered as such, success of the
 * registration is enough.  Before Linux 6.7 the kernel does not tell: look for
 * holes, register the range once more in case one was filled in between, and
 * look again.  That misses memory that other threads unmap and map again twice
 * during this call, in step with it, although the caller has promised that the
 * range stays mapped.
 */
int ummu_uffd_whole(const struct uffd_process *process,
		    const struct uffd_range *range,
		    const struct uffd_range *registered, int attempt)
{
	enum coverage coverage;

	if (is_one_page(range, registered))
		return 0;
	coverage = coverage_of(process, range);
	if (coverage == WHOLE)
		return 0;
	if (has_hole(range))
		return -EFAULT;
	if (coverage == CANNOT_TELL && attempt > 0)
		return 0;
	return attempt < REGISTER_ATTEMPTS ? -ERESTART : -EAGAIN;
}

/* @error is the kernel's, or one of ummu_uffd_whole(); a hole is -EFAULT. */
int ummu_uffd_explain_range(const struct uffd_process *process,
			    const struct uffd_range *range, int error)
{
	char where[48];

	snprintf(where, sizeof(where), "%#llx-%#llx",
		 (unsigned long long)range->start,
		 (unsigned long long)range->last);
	if (error == -EFAULT || (error != -ENOENT && has_hole(range)))
		return ummu_explain(-EFAULT,
				    "part of %s is not mapped: watch memory that exists",
				    where);
	switch (error) {
	case -EBUSY:
		return ummu_explain(
			-EBUSY,
			"another userfaultfd owns part of the mapping at %s (the application's, or a second copy of this library)",
			where);
	case -EPERM:
		return ummu_explain(
			-EPERM,
			"%s is a shared mapping of a file opened read-only, which userfaultfd cannot watch",
			where);
	case -ENOMEM:
		return ummu_explain(
			-ENOMEM,
			"too many mappings to watch %s: raise the sysctl vm.max_map_count",
			where);
	case -EINVAL:
		return ummu_explain(
			-EOPNOTSUPP,
			"userfaultfd cannot watch this kind of mapping at %s%s",
			where,
			process->any_file ?
				"" :
				"; file mappings and SysV shared memory need Linux 6.7");
	case -EAGAIN:
		return ummu_explain(
			-EAGAIN,
			"%s is being mapped anew by other threads: use it uncached this time",
			where);
	case -ENOENT:
		return ummu_explain(
			-EOPNOTSUPP,
			"cannot see in which mapping %s lies: /proc/self/maps cannot be read here (is /proc mounted? is a descriptor left?)",
			where);
	default:
		return ummu_explain(error, "UFFDIO_REGISTER of %s: %s", where,
				    strerror(-error));
	}
}
