/* SPDX-License-Identifier: MIT */
/*
 * fabric.h - two endpoints of libfabric in this process, each with a domain of
 * its own and so with a registration cache of its own.
 */
#ifndef UMMU_TEST_FABRIC_H
#define UMMU_TEST_FABRIC_H

#include <stddef.h>

#include <rdma/fabric.h>

#define FABRIC_ENDS 2

/**
 * struct fabric_end - one endpoint
 * @other: the other one's address
 */
struct fabric_end {
	struct fid_domain *domain;
	struct fid_ep *endpoint;
	struct fid_cq *completions;
	struct fid_av *addresses;
	fi_addr_t other;
};

struct fabric {
	struct fi_info *info;
	struct fid_fabric *fabric;
	struct fabric_end ends[FABRIC_ENDS];
};

/**
 * fabric_open - reliable datagrams between two ends
 * @provider: as FI_PROVIDER and its like take it
 * @address:  of this machine, NULL for any
 *
 * 0; -FI_ENODATA where there is no such provider or adapter; or -errno, after
 * a line on standard error.
 */
int fabric_open(struct fabric *fabric, const char *provider,
		const char *address);
void fabric_close(struct fabric *fabric);

/** fabric_move - send a message from one end to the other, and wait. */
int fabric_move(struct fabric *fabric, int from_end, const void *from, void *to,
		size_t length);

#endif
