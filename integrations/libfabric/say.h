/* SPDX-License-Identifier: MIT */
/*
 * say.h - what the drop-in has to say, to libfabric's log and to people.
 */
#ifndef UMMU_LIBFABRIC_SAY_H
#define UMMU_LIBFABRIC_SAY_H

#include <rdma/providers/fi_prov.h>

/** What FI_UMMUNOTIFY_VERBOSE says goes to standard error too. */
enum ummu_say {
	UMMU_SAY_TROUBLE = 1, /* the default: it cannot do its work */
	UMMU_SAY_NEWS = 2,    /* and what it does */
};

/** ummu_say_verbose - standard error gets what is @level or less. */
void ummu_say_verbose(int level);

/** ummu_say - one line, to libfabric's log as warning or as information. */
void ummu_say(const struct fi_provider *provider, enum ummu_say level,
	      const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
