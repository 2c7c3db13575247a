/* SPDX-License-Identifier: MIT */
/*
 * patcher.c - Open MPI's own hooks in libc, kept for those that are fed by them.
 *
 * The memory framework selects one component and drops the others.  We do with
 * memory/patcher what the framework would have done had it won.
 */
#include "patcher.h"

#include <stdint.h>
#include <string.h>

#include "abi.h"

/**
 * struct patcher - what there is of it
 * @component: NULL if it is not in this Open MPI
 * @asked:     the framework asks for its priority, which is what prepares it
 * @opened:    its open() has succeeded
 */
static struct patcher {
	opal_memory_base_component_2_0_0_t *component;
	bool asked;
	bool opened;
} patcher;

bool ummu_ompi_patcher_find(void)
{
	const mca_base_component_t **component;
	mca_base_component_list_item_t *item;

	for (component = mca_memory_base_static_components; *component;
	     component++)
		if (!strcmp((*component)->mca_component_name, "patcher"))
			patcher.component = (void *)(uintptr_t)*component;

	/* Not, if the user has asked for us alone. */
	patcher.asked = false;
	OPAL_LIST_FOREACH(item,
			  &opal_memory_base_framework.framework_components,
			  mca_base_component_list_item_t)
	if ((const void *)item->cli_component == patcher.component)
		patcher.asked = true;
	return patcher.component;
}

bool ummu_ompi_patcher_open(void)
{
	const mca_base_component_t *version = &patcher.component->memoryc_version;
	int priority = 0;

	if (!patcher.asked)
		patcher.component->memoryc_query(&priority);
	patcher.opened = priority >= 0 &&
			 version->mca_open_component() == OPAL_SUCCESS;
	return patcher.opened;
}

void ummu_ompi_patcher_close(void)
{
	if (patcher.opened)
		patcher.component->memoryc_version.mca_close_component();
	patcher.opened = false;
}
