/* SPDX-License-Identifier: MIT */
/* other-series.c - for LD_PRELOAD: the Open MPI that is running is another one. */
extern const char opal_version_string[];
const char opal_version_string[] = "5.0.1";
