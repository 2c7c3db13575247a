/* SPDX-License-Identifier: MIT */
/*
 * pin-verbs.h - the pinner for RDMA memory regions.
 *
 * A region is a struct ibv_mr: ummu_pin_verbs_mr() has the keys for work
 * requests.  The access bits of ummu_rcache_get() are those of ibv_reg_mr(3).
 * The kernel pins the pages while the memory region exists.
 *
 * A memory region with IBV_ACCESS_ON_DEMAND needs no cache: it pins nothing, and
 * the adapter follows the process's page tables, so that memory may come and go
 * below it.  Register it once with ibv_reg_mr(3), for all addresses if the
 * adapter can; the pinner refuses it.
 *
 * The ctx of ummu_pin_verbs_ops is the struct ibv_pd, the caller's, that the
 * memory regions belong to: there is nothing to create.  The domain must
 * outlive the cache.
 *
 * Link with -lummunotify-verbs.
 */
#ifndef UMMUNOTIFY_PIN_VERBS_H
#define UMMUNOTIFY_PIN_VERBS_H

#include <ummunotify/rcache.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ibv_mr;

/**
 * ummu_pin_verbs_ops - the pinner's calls, with a struct ibv_pd as ctx
 *
 * reg() returns what ibv_reg_mr() said: -ENOMEM (RLIMIT_MEMLOCK, or no more
 * memory regions; eviction gives them back), -EINVAL (access bits that do not
 * go together), -EFAULT, or -EOPNOTSUPP (file mappings on some kernels, and
 * always for IBV_ACCESS_ON_DEMAND).
 *
 * A region serves a request for some of its rights.  Bits that are no rights
 * must be the same: IBV_ACCESS_ZERO_BASED, IBV_ACCESS_ON_DEMAND,
 * IBV_ACCESS_HUGETLB.  A request without IBV_ACCESS_RELAXED_ORDERING is not
 * served by a region with it; the other way round it is.
 *
 * A memory region with memory windows bound to it cannot be deregistered, and
 * stays: unbind them before ummu_rcache_put().
 */
extern const struct ummu_rcache_ops ummu_pin_verbs_ops;

/** ummu_pin_verbs_mr - the region's: ibv_dereg_mr() is not the caller's. */
static inline struct ibv_mr *ummu_pin_verbs_mr(const struct ummu_region *region)
{
	return (struct ibv_mr *)region->handle.pointer;
}

#ifdef __cplusplus
}
#endif

#endif
