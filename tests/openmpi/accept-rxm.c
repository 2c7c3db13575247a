/* SPDX-License-Identifier: MIT */
/*
 * accept-rxm.c - has Open MPI's btl/ofi use RDMA through libfabric's ofi_rxm.
 *
 * For LD_PRELOAD.  btl/ofi is the one user of Open MPI's registration cache in
 * Debian's 4.1 that reaches soft-RoCE, but it turns down each provider whose
 * name has "ofi_rxm" in it, for the reason that FI_DELIVERY_COMPLETE is not
 * what it promises there.  Over a reliable connection of soft-RoCE, which
 * acknowledges a write after it was made, it is; and registrations and pages are
 * what they are anywhere.  So btl/ofi, and nobody else, is shown the name with a
 * capital letter until it opens the provider.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <rdma/fabric.h>

static void respell(struct fi_fabric_attr *fabric, const char *from, char letter)
{
	char *name = fabric ? fabric->prov_name : NULL;
	char *layer = name ? strstr(name, from) : NULL;

	if (layer)
		*layer = letter;
}

/* Only btl/ofi asks with this; libfabric asks itself for other things. */
static bool is_for_btl(const struct fi_info *hints)
{
	return hints && hints->tx_attr &&
	       hints->tx_attr->op_flags == FI_DELIVERY_COMPLETE;
}

int fi_getinfo(uint32_t version, const char *node, const char *service,
	       uint64_t flags, const struct fi_info *hints,
	       struct fi_info **info_p)
{
	__typeof__(&fi_getinfo) next = (__typeof__(&fi_getinfo))(uintptr_t)
		dlsym(RTLD_NEXT, "fi_getinfo");
	int status = next(version, node, service, flags, hints, info_p);
	struct fi_info *info;

	if (!status && is_for_btl(hints))
		for (info = *info_p; info; info = info->next)
			respell(info->fabric_attr, "ofi_rxm", 'O');
	return status;
}

int fi_fabric(struct fi_fabric_attr *attr, struct fid_fabric **fabric_p,
	      void *context)
{
	__typeof__(&fi_fabric) next = (__typeof__(&fi_fabric))(uintptr_t)
		dlsym(RTLD_NEXT, "fi_fabric");

	respell(attr, "Ofi_rxm", 'o');
	return next(attr, fabric_p, context);
}
