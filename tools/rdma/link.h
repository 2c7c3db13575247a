/* SPDX-License-Identifier: MIT */
/*
 * link.h - a reliable RDMA connection to write through.
 */
#ifndef UMMU_RDMA_LINK_H
#define UMMU_RDMA_LINK_H

#include <stddef.h>
#include <stdint.h>

#include <infiniband/verbs.h>

/**
 * struct rdma_end - what the other end of a connection has to know
 * @gid:   all zeros where the adapter needs none
 * @lid:   0 on Ethernet
 * @queue: number of the queue pair
 */
struct rdma_end {
	union ibv_gid gid;
	uint16_t lid;
	uint32_t queue;
};

/**
 * struct rdma_link - one end of a connection
 * @domain:    of the memory regions that it may use
 * @port:      of the adapter
 * @gid_index: -1 where the adapter needs none
 * @end:       for the other one
 */
struct rdma_link {
	struct ibv_context *adapter;
	struct ibv_pd *domain;
	struct ibv_cq *completions;
	struct ibv_qp *queue;
	uint8_t port;
	int gid_index;
	struct rdma_end end;
};

/**
 * rdma_link_open - make one end
 * @name: of the adapter, NULL for the first one
 *
 * Errors: -ENODEV (no such adapter, or none), -ENETDOWN (its port is down),
 * or what the adapter said.
 */
int rdma_link_open(const char *name, struct rdma_link *link);
int rdma_link_connect(struct rdma_link *link, const struct rdma_end *other);
void rdma_link_close(struct rdma_link *link);

/**
 * struct rdma_place - memory that an adapter may use
 * @key: the local or the remote one of its memory region
 */
struct rdma_place {
	uint64_t addr;
	uint32_t key;
};

/**
 * rdma_link_write - write into the memory of the other end, and wait
 *
 * 0, which says that the other adapter has taken all of it; -EREMOTEIO with
 * the adapter's reason in words; or -errno.
 */
int rdma_link_write(struct rdma_link *link, const struct rdma_place *from,
		    const struct rdma_place *to, uint32_t length,
		    const char **reason_p);

#endif
