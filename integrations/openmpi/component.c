/* SPDX-License-Identifier: MIT */
/*
 * component.c - the memory component that Open MPI finds: parameters, and when
 * it is selected.
 */
#include <stdio.h>
#include <string.h>

#include "abi.h"
#include "caches.h"
#include "patcher.h"
#include "say.h"
#include "truth.h"

static int register_parameters(void);
static int query(int *priority);
static int open_component(void);
static int close_component(void);
static int process(void);

/* Found by its name, which the name of the file gives. */
OPAL_MODULE_DECLSPEC extern opal_memory_base_component_2_0_0_t
	mca_memory_ummunotify_component;

opal_memory_base_component_2_0_0_t mca_memory_ummunotify_component = {
	.memoryc_version = {
		OPAL_MEMORY_BASE_VERSION_2_0_0,
		.mca_component_name = "ummunotify",
		MCA_BASE_MAKE_VERSION(component, UMMU_VERSION_MAJOR,
				      UMMU_VERSION_MINOR, UMMU_VERSION_PATCH),
		.mca_open_component = open_component,
		.mca_close_component = close_component,
		.mca_register_component_params = register_parameters,
	},
	.memoryc_data = { .param_field = MCA_BASE_METADATA_PARAM_CHECKPOINT },
	.memoryc_query = query,
	.memoryc_process = process,
	.memoryc_register = opal_memory_base_component_register_empty,
	.memoryc_deregister = opal_memory_base_component_deregister_empty,
	.memoryc_set_alignment = opal_memory_base_component_set_alignment_empty,
};

/* memory/patcher has 80. */
static int our_priority = 90;
static bool print_stats;
static const char *library_version;

static void add_parameter(const char *name, const char *description,
			  mca_base_var_type_t type, int flags,
			  mca_base_var_scope_t scope, void *storage)
{
	mca_base_component_var_register(&mca_memory_ummunotify_component
						 .memoryc_version,
					name, description, type, NULL, 0,
					(mca_base_var_flag_t)flags,
					OPAL_INFO_LVL_5, scope, storage);
}

static int register_parameters(void)
{
	add_parameter("priority",
		      "Priority in the selection of a memory component",
		      MCA_BASE_VAR_TYPE_INT, 0, MCA_BASE_VAR_SCOPE_CONSTANT,
		      &our_priority);
	add_parameter("print_stats",
		      "Print what it has done when MPI is finalized",
		      MCA_BASE_VAR_TYPE_BOOL, 0, MCA_BASE_VAR_SCOPE_READONLY,
		      &print_stats);
	library_version = ummu_version();
	add_parameter("library_version",
		      "libummunotify, which has the kernel say when registered memory leaves the process; see ummunotify-openmpi(7)",
		      MCA_BASE_VAR_TYPE_STRING, MCA_BASE_VAR_FLAG_DEFAULT_ONLY,
		      MCA_BASE_VAR_SCOPE_CONSTANT, &library_version);
	return OPAL_SUCCESS;
}

/* MCA's version does not tell one series of Open MPI from another. */
static bool same_series(void)
{
	int major = 0, minor = 0;

	sscanf(opal_version_string, "%d.%d", &major, &minor);
	return major == OPAL_MAJOR_VERSION && minor == OPAL_MINOR_VERSION;
}

/*
 * All that can fail is done here: once a component is selected the framework
 * does not get over it that it cannot be opened.  Where another one wins in the
 * end, by a higher priority, the monitor stays open and watches nothing.
 */
static int query(int *priority)
{
	int error;

	if (!same_series()) {
		ummu_ompi_say("not used: it was built for Open MPI %d.%d, and this is %s",
			      OPAL_MAJOR_VERSION, OPAL_MINOR_VERSION,
			      opal_version_string);
		return OPAL_ERR_NOT_AVAILABLE;
	}
	if (!ummu_ompi_patcher_find()) {
		ummu_ompi_say(
			"not used: this Open MPI has no memory/patcher inside, which UCX and libfabric are told by");
		return OPAL_ERR_NOT_AVAILABLE;
	}
	error = ummu_ompi_here() ? 0 : ummu_ompi_open();
	if (error) {
		ummu_ompi_say("not used, memory/patcher is: %s (%s)",
			      ummu_monitor_explain(), strerror(-error));
		return OPAL_ERR_NOT_AVAILABLE;
	}
	*priority = our_priority;
	return OPAL_SUCCESS;
}

/*
 * Here, and not in close_component(): libfabric's part of Open MPI opens the
 * framework and never closes it.
 */
static void print(void)
{
	const struct ummu_ompi_counters *counters = &ummu_ompi_counters;

	if (!print_stats)
		return;
	opal_output(0,
		    "memory/ummunotify: %s: %llu lookups, %llu took out what had gone, %llu watches hit, %llu registrations watched, %llu made again, %llu not cached, %llu lookups avoided the cache",
		    ummu_ompi_backend(), (unsigned long long)counters->lookups,
		    (unsigned long long)counters->drains,
		    (unsigned long long)counters->gone,
		    (unsigned long long)counters->watched,
		    (unsigned long long)counters->repeated,
		    (unsigned long long)counters->uncached,
		    (unsigned long long)counters->avoided);
}

static int open_component(void)
{
	if (!ummu_ompi_patcher_open())
		ummu_ompi_say(
			"memory/patcher could not be opened: no registrations are kept");
	if (ummu_ompi_adopt_caches(print))
		ummu_ompi_mention("rcache/grdma is told by %s",
				  ummu_ompi_backend());
	else
		ummu_ompi_say("there is no rcache/grdma to be told");
	return OPAL_SUCCESS;
}

static int close_component(void)
{
	ummu_ompi_patcher_close();
	if (ummu_ompi_release_caches())
		ummu_ompi_close();
	return OPAL_SUCCESS;
}

/* Nothing in 4.1 calls it. */
static int process(void)
{
	if (ummu_ompi_here())
		ummu_ompi_catch_up();
	return OPAL_SUCCESS;
}
