/* SPDX-License-Identifier: MIT */
/* explain.h - remember in words why a call of this thread was refused. */
#ifndef UMMU_EXPLAIN_H
#define UMMU_EXPLAIN_H

/**
 * ummu_explain - record cause and remedy, printf style
 * Returns @error, so that a refusal is one statement.
 */
int ummu_explain(int error, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* What every call on a forked child's copy of a monitor says. */
#define UMMU_EXPLAIN_CHILD \
	"this monitor belongs to the parent process; a forked child has to open its own"

#endif
