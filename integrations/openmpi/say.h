/* SPDX-License-Identifier: MIT */
/* say.h - one line for people, from one process of the job on each machine. */
#ifndef UMMU_OPENMPI_SAY_H
#define UMMU_OPENMPI_SAY_H

/** ummu_ompi_say - what users should know: printed as it is. */
__attribute__((format(printf, 1, 2))) void ummu_ompi_say(const char *format,
							 ...);

/** ummu_ompi_mention - shown with memory_base_verbose 1, by every process. */
__attribute__((format(printf, 1, 2))) void ummu_ompi_mention(const char *format,
							     ...);

#endif
