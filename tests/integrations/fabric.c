/* SPDX-License-Identifier: MIT */
/* fabric.c - two endpoints of libfabric in this process. */
#define _GNU_SOURCE
#include "tests/integrations/fabric.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>

#define VERSION FI_VERSION(1, 13)
#define DEPTH 16
#define PATIENCE 200 /* seconds, for a message */

static int complain(const char *what, int error)
{
	fprintf(stderr, "%s: %s\n", what, fi_strerror(-error));
	return error;
}

/* Without FI_MR_LOCAL the provider registers what is sent, and keeps it. */
static int find(struct fabric *fabric, const char *provider, const char *address)
{
	struct fi_info *hints = fi_allocinfo();
	int error;

	if (!hints)
		return -FI_ENOMEM;
	hints->caps = FI_MSG;
	hints->ep_attr->type = FI_EP_RDM;
	hints->domain_attr->threading = FI_THREAD_SAFE;
	hints->tx_attr->size = hints->rx_attr->size = DEPTH;
	hints->fabric_attr->prov_name = strdup(provider);
	error = fi_getinfo(VERSION, address, NULL, address ? FI_SOURCE : 0,
			   hints, &fabric->info);
	fi_freeinfo(hints);
	return error;
}

static int open_end(struct fabric *fabric, struct fabric_end *end)
{
	struct fi_cq_attr cq = { .format = FI_CQ_FORMAT_CONTEXT, .size = DEPTH };
	struct fi_av_attr av = { .type = FI_AV_UNSPEC };
	struct fi_info *info = fabric->info;
	int error;

	error = fi_domain(fabric->fabric, info, &end->domain, NULL);
	if (error)
		return complain("fi_domain", error);
	error = fi_cq_open(end->domain, &cq, &end->completions, NULL);
	if (error)
		return complain("fi_cq_open", error);
	error = fi_av_open(end->domain, &av, &end->addresses, NULL);
	if (error)
		return complain("fi_av_open", error);
	error = fi_endpoint(end->domain, info, &end->endpoint, NULL);
	if (error)
		return complain("fi_endpoint", error);
	error = fi_ep_bind(end->endpoint, &end->completions->fid,
			   FI_TRANSMIT | FI_RECV);
	if (error)
		return complain("fi_ep_bind", error);
	error = fi_ep_bind(end->endpoint, &end->addresses->fid, 0);
	if (error)
		return complain("fi_ep_bind", error);
	error = fi_enable(end->endpoint);
	return error ? complain("fi_enable", error) : 0;
}

static int introduce(struct fabric_end *end, const struct fabric_end *other)
{
	char address[256];
	size_t length = sizeof(address);
	int error = fi_getname(&other->endpoint->fid, address, &length);

	if (error)
		return complain("fi_getname", error);
	if (fi_av_insert(end->addresses, address, 1, &end->other, 0, NULL) != 1)
		return complain("fi_av_insert", -FI_EINVAL);
	return 0;
}

static void close_fid(struct fid *fid)
{
	int error = fid ? fi_close(fid) : 0;

	if (error)
		complain("fi_close", error);
}

#define CLOSE(object) close_fid((object) ? &(object)->fid : NULL)

void fabric_close(struct fabric *fabric)
{
	for (int i = 0; i < FABRIC_ENDS; i++) {
		struct fabric_end *end = &fabric->ends[i];

		CLOSE(end->endpoint);
		CLOSE(end->addresses);
		CLOSE(end->completions);
		CLOSE(end->domain);
	}
	CLOSE(fabric->fabric);
	fi_freeinfo(fabric->info);
	memset(fabric, 0, sizeof(*fabric));
}

int fabric_open(struct fabric *fabric, const char *provider, const char *address)
{
	int error;

	memset(fabric, 0, sizeof(*fabric));
	error = find(fabric, provider, address);
	if (error)
		return error;
	error = fi_fabric(fabric->info->fabric_attr, &fabric->fabric, NULL);
	if (error) {
		complain("fi_fabric", error);
		goto close_all;
	}
	for (int i = 0; i < FABRIC_ENDS; i++) {
		error = open_end(fabric, &fabric->ends[i]);
		if (error)
			goto close_all;
	}
	for (int i = 0; i < FABRIC_ENDS; i++) {
		error = introduce(&fabric->ends[i],
				  &fabric->ends[(i + 1) % FABRIC_ENDS]);
		if (error)
			goto close_all;
	}
	return 0;

close_all:
	fabric_close(fabric);
	return error;
}

/* The completions of an end since the last call, or -errno. */
static int progress(struct fabric_end *end)
{
	struct fi_cq_entry entry;
	struct fi_cq_err_entry failure = { 0 };
	ssize_t count = fi_cq_read(end->completions, &entry, 1);

	if (count == -FI_EAGAIN)
		return 0;
	if (count != -FI_EAVAIL)
		return (int)count;
	fi_cq_readerr(end->completions, &failure, 0);
	return complain("message", failure.err ? -failure.err : -FI_EIO);
}

static int post(struct fabric *fabric, int from_end, const void *from, void *to,
		size_t length, bool receive)
{
	struct fabric_end *sender = &fabric->ends[from_end];
	struct fabric_end *receiver = &fabric->ends[!from_end];
	const time_t end = time(NULL) + PATIENCE;
	ssize_t error;

	do {
		error = receive ? fi_recv(receiver->endpoint, to, length, NULL,
					  FI_ADDR_UNSPEC, NULL) :
				  fi_send(sender->endpoint, from, length, NULL,
					  sender->other, NULL);
		if (error != -FI_EAGAIN)
			return (int)error;
		/* Connecting needs both. */
		progress(sender);
		progress(receiver);
	} while (time(NULL) < end);
	return -FI_ETIMEDOUT;
}

int fabric_move(struct fabric *fabric, int from_end, const void *from, void *to,
		size_t length)
{
	const time_t end = time(NULL) + PATIENCE;
	int i, count, error, missing = 2;

	error = post(fabric, from_end, from, to, length, true);
	if (error)
		return complain("fi_recv", error);
	error = post(fabric, from_end, from, to, length, false);
	if (error)
		return complain("fi_send", error);
	while (missing) {
		for (i = 0; i < FABRIC_ENDS; i++) {
			count = progress(&fabric->ends[i]);
			if (count < 0)
				return count;
			missing -= count;
		}
		if (time(NULL) > end)
			return complain("message", -FI_ETIMEDOUT);
	}
	return 0;
}
