/* SPDX-License-Identifier: MIT */
/*
 * link.c - sets up a reliable RDMA connection, and writes through it.
 *
 * The two ends tell each other their numbers in some other way: here they are
 * relatives, on one machine.
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "tools/rdma/link.h"

#define DEPTH 4 /* work requests; only one is ever there */
#define GIDS 64
#define TIMEOUT 14 /* 4.096 us * 2^14 */
#define RETRIES 7
#define HOPS 4

static int error_of(int error)
{
	return error ? error : EIO;
}

static struct ibv_context *open_adapter(const char *name)
{
	struct ibv_device **devices;
	struct ibv_context *adapter = NULL;
	int i, count = 0;

	devices = ibv_get_device_list(&count);
	if (!devices)
		return NULL;
	for (i = 0; i < count && !adapter; i++)
		if (!name || !strcmp(name, ibv_get_device_name(devices[i])))
			adapter = ibv_open_device(devices[i]);
	ibv_free_device_list(devices);
	return adapter;
}

static bool is_ipv4(const union ibv_gid *gid)
{
	static const uint8_t prefix[12] = { [10] = 0xff, [11] = 0xff };

	return !memcmp(gid->raw, prefix, sizeof(prefix));
}

/* Ethernet needs a GID: RoCE v2, and IPv4 if there is a choice. */
static int choose_gid(struct rdma_link *link)
{
	struct ibv_gid_entry entries[GIDS];
	ssize_t i, count;
	int best = 0;

	count = ibv_query_gid_table(link->adapter, entries, GIDS, 0);
	for (i = 0; i < count; i++) {
		int rank = 1;

		if (entries[i].port_num != link->port)
			continue;
		if (entries[i].gid_type == IBV_GID_TYPE_ROCE_V2)
			rank += 1 + is_ipv4(&entries[i].gid);
		if (rank <= best)
			continue;
		best = rank;
		link->gid_index = (int)entries[i].gid_index;
		link->end.gid = entries[i].gid;
	}
	return best ? 0 : -ENETDOWN;
}

static int choose_port(struct rdma_link *link)
{
	struct ibv_port_attr port;
	int ret;

	link->port = 1;
	link->gid_index = -1;
	ret = ibv_query_port(link->adapter, link->port, &port);
	if (ret)
		return -ret;
	if (port.state != IBV_PORT_ACTIVE)
		return -ENETDOWN;
	link->end.lid = port.lid;
	if (port.link_layer != IBV_LINK_LAYER_ETHERNET)
		return 0;
	return choose_gid(link);
}

static int make_queue(struct rdma_link *link)
{
	struct ibv_qp_init_attr init = { .qp_type = IBV_QPT_RC };
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = link->port,
		.qp_access_flags = IBV_ACCESS_REMOTE_WRITE,
	};
	int ret;

	init.send_cq = init.recv_cq = link->completions;
	init.cap.max_send_wr = init.cap.max_recv_wr = DEPTH;
	init.cap.max_send_sge = init.cap.max_recv_sge = 1;
	link->queue = ibv_create_qp(link->domain, &init);
	if (!link->queue)
		return -error_of(errno);
	ret = ibv_modify_qp(link->queue, &attr,
			    IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
				    IBV_QP_ACCESS_FLAGS);
	if (ret) {
		ibv_destroy_qp(link->queue);
		return -ret;
	}
	link->end.queue = link->queue->qp_num;
	return 0;
}

int rdma_link_open(const char *name, struct rdma_link *link)
{
	int ret;

	memset(link, 0, sizeof(*link));
	link->adapter = open_adapter(name);
	if (!link->adapter)
		return -ENODEV;
	ret = choose_port(link);
	if (ret)
		goto close_adapter;
	link->domain = ibv_alloc_pd(link->adapter);
	if (!link->domain) {
		ret = -error_of(errno);
		goto close_adapter;
	}
	link->completions = ibv_create_cq(link->adapter, DEPTH, NULL, NULL, 0);
	if (!link->completions) {
		ret = -error_of(errno);
		goto free_domain;
	}
	ret = make_queue(link);
	if (ret)
		goto destroy_completions;
	return 0;

destroy_completions:
	ibv_destroy_cq(link->completions);
free_domain:
	ibv_dealloc_pd(link->domain);
close_adapter:
	ibv_close_device(link->adapter);
	return ret;
}

static int ready_to_receive(struct rdma_link *link, const struct rdma_end *other)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = IBV_MTU_1024,
		.dest_qp_num = other->queue,
		.max_dest_rd_atomic = 1,
		.min_rnr_timer = 12,
		.ah_attr = { .dlid = other->lid, .port_num = link->port },
	};

	if (link->gid_index >= 0) {
		attr.ah_attr.is_global = 1;
		attr.ah_attr.grh.dgid = other->gid;
		attr.ah_attr.grh.sgid_index = (uint8_t)link->gid_index;
		attr.ah_attr.grh.hop_limit = HOPS;
	}
	return -ibv_modify_qp(link->queue, &attr,
			      IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU |
				      IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
				      IBV_QP_MAX_DEST_RD_ATOMIC |
				      IBV_QP_MIN_RNR_TIMER);
}

static int ready_to_send(struct rdma_link *link)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTS,
		.timeout = TIMEOUT,
		.retry_cnt = RETRIES,
		.rnr_retry = RETRIES,
		.max_rd_atomic = 1,
	};

	return -ibv_modify_qp(link->queue, &attr,
			      IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
				      IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
				      IBV_QP_MAX_QP_RD_ATOMIC);
}

int rdma_link_connect(struct rdma_link *link, const struct rdma_end *other)
{
	int ret = ready_to_receive(link, other);

	return ret ? ret : ready_to_send(link);
}

void rdma_link_close(struct rdma_link *link)
{
	ibv_destroy_qp(link->queue);
	ibv_destroy_cq(link->completions);
	ibv_dealloc_pd(link->domain);
	ibv_close_device(link->adapter);
}

static int wait_for_completion(struct rdma_link *link, const char **reason_p)
{
	struct ibv_wc completion;
	int found;

	do
		found = ibv_poll_cq(link->completions, 1, &completion);
	while (!found);
	if (found < 0)
		return -EIO;
	if (completion.status == IBV_WC_SUCCESS)
		return 0;
	*reason_p = ibv_wc_status_str(completion.status);
	return -EREMOTEIO;
}

int rdma_link_write(struct rdma_link *link, const struct rdma_place *from,
		    const struct rdma_place *to, uint32_t length,
		    const char **reason_p)
{
	struct ibv_sge part = {
		.addr = from->addr,
		.length = length,
		.lkey = from->key,
	};
	struct ibv_send_wr request = {
		.sg_list = &part,
		.num_sge = 1,
		.opcode = IBV_WR_RDMA_WRITE,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = { .remote_addr = to->addr, .rkey = to->key },
	};
	struct ibv_send_wr *bad;
	int ret;

	ret = ibv_post_send(link->queue, &request, &bad);
	return ret ? -ret : wait_for_completion(link, reason_p);
}
