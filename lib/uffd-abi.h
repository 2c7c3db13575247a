/* SPDX-License-Identifier: MIT */
/* uffd-abi.h - numbers of kernel interfaces that older headers lack. */
#ifndef UMMU_UFFD_ABI_H
#define UMMU_UFFD_ABI_H

#include <linux/ioctl.h>
#include <linux/types.h>
#include <linux/userfaultfd.h>

#ifndef UFFD_USER_MODE_ONLY /* 5.11 */
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM /* 5.19 */
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM (1 << 12)
#endif
#ifndef UFFD_FEATURE_WP_UNPOPULATED /* 6.4 */
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC /* 6.7 */
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif

/* PAGEMAP_SCAN, 6.7: Documentation/admin-guide/mm/pagemap.rst */
struct pagemap_region {
	__u64 start, end, categories;
};
struct pagemap_scan {
	__u64 size, flags, start, end, walk_end, regions, region_count;
	__u64 max_pages, category_inverted, category_mask;
	__u64 category_anyof_mask, return_mask;
};
#define UMMU_PAGEMAP_SCAN _IOWR('f', 16, struct pagemap_scan)
#define UMMU_PAGE_IS_WPALLOWED (1 << 0) /* its mapping has WP_ASYNC */

/* PROCMAP_QUERY, 6.11: include/uapi/linux/fs.h */
struct procmap_query {
	__u64 size, query_flags, query_addr;
	__u64 vma_start, vma_end, vma_flags, vma_page_size, vma_offset, inode;
	__u32 dev_major, dev_minor, vma_name_size, build_id_size;
	__u64 vma_name_addr, build_id_addr;
};
#define UMMU_PROCMAP_QUERY _IOWR('f', 17, struct procmap_query)
#define UMMU_PROCMAP_COVERING_OR_NEXT 0x10

/* close_range(), 5.9 */
#define UMMU_CLOSE_RANGE_UNSHARE (1U << 1)

#endif
