/* SPDX-License-Identifier: MIT */
/*
 * abi.h - what the component relies on of Open MPI's inside, series 4.1.
 *
 * MCA components are compiled against headers that Open MPI installs for them,
 * and that it changes from one series to the next with no word in its version
 * of MCA.  So the series is asked for here, and again of the library that is
 * running (component.c).  What the headers do not say, found in the source of
 * 4.1.4:
 *
 *  - mca_rcache_base_module_create() opens the memory framework before it calls
 *    the rcache component, and the rcache framework is open before everything
 *    else that opens the memory framework.
 *  - Nothing calls memoryc_process(), and no lookup of grdma asks for changes.
 *  - grdma copies the resources it is created with.  It allocates sizeof_reg
 *    bytes a registration, and calls register_mem() with base, bound and flags
 *    set.  It never gives out one with MCA_RCACHE_FLAGS_INVALID, which it
 *    deregisters when the last user has left; one with
 *    MCA_RCACHE_FLAGS_CACHE_BYPASS is not entered into the cache.
 *  - grdma's invalidate_range() fails, and marks nothing, for a registration in
 *    use that begins where the range does; otherwise it marks those that the
 *    range overlaps or touches.
 *  - grdma's find() does give out marked ones.  Nothing calls it.
 *  - Of what grdma is called with, only evict() and register() deregister by
 *    themselves, deregister() and finalize() as is their purpose.
 *  - The memory framework closes and forgets every component but the one it
 *    has selected, and has no way back when that one's open() fails.
 */
#ifndef UMMU_OPENMPI_ABI_H
#define UMMU_OPENMPI_ABI_H

#include "opal_config.h"

#include "opal/constants.h"
#include "opal/mca/base/base.h"
#include "opal/mca/mca.h"
#include "opal/mca/memory/base/base.h"
#include "opal/mca/memory/base/empty.h"
#include "opal/mca/memory/memory.h"
#include "opal/mca/rcache/base/base.h"
#include "opal/mca/rcache/rcache.h"
#include "opal/memoryhooks/memory.h"
#include "opal/memoryhooks/memory_internal.h"
#include "opal/runtime/opal.h"
#include "opal/util/output.h"

#if OPAL_MAJOR_VERSION != 4 || OPAL_MINOR_VERSION != 1
#error "this component speaks to Open MPI 4.1 only"
#endif

/* The components that libopen-pal has inside; NULL ends them.  Not in a header. */
OPAL_DECLSPEC extern const mca_base_component_t
	*mca_memory_base_static_components[];

#endif
