/* SPDX-License-Identifier: MIT */
/*
 * pin-verbs.c - registers regions as memory regions of an RDMA adapter.
 */
#include <ummunotify/pin-verbs.h>

#include <errno.h>
#include <infiniband/verbs.h>

/* Bits that say how, and not what the adapter may do. */
#define MANNERS \
	(IBV_ACCESS_ZERO_BASED | IBV_ACCESS_ON_DEMAND | IBV_ACCESS_HUGETLB)

static int verbs_reg(void *ctx, struct ummu_region *region)
{
	struct ibv_mr *mr;

	if (region->access > INT32_MAX)
		return -EINVAL;
	/* It follows the page tables by itself, and nothing is pinned. */
	if (region->access & IBV_ACCESS_ON_DEMAND)
		return -EOPNOTSUPP;
	mr = ibv_reg_mr(ctx, region->addr, region->length, (int)region->access);
	if (!mr)
		return errno ? -errno : -ENOMEM;
	region->handle.pointer = mr;
	return 0;
}

static void verbs_dereg(void *ctx, struct ummu_region *region)
{
	(void)ctx;
	ibv_dereg_mr(region->handle.pointer);
}

static bool verbs_covers(void *ctx, uint64_t have, uint64_t want)
{
	const uint64_t relaxed = IBV_ACCESS_RELAXED_ORDERING;

	(void)ctx;
	if ((have ^ want) & MANNERS || have & ~want & relaxed)
		return false;
	return !(want & ~have & ~relaxed);
}

const struct ummu_rcache_ops ummu_pin_verbs_ops = {
	.size = sizeof(struct ummu_rcache_ops),
	.reg = verbs_reg,
	.dereg = verbs_dereg,
	.covers = verbs_covers,
};
