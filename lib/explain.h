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

/* The longest explanation, with its end. */
#define UMMU_EXPLANATION 320

/**
 * ummu_explain_keep, ummu_explain_restore - for what may fail unheard
 * @kept: of UMMU_EXPLANATION bytes
 */
void ummu_explain_keep(char *kept);
void ummu_explain_restore(const char *kept);

/* What every call on a forked child's copy of a monitor says. */
#define UMMU_EXPLAIN_CHILD \
	"this monitor belongs to the parent process; a forked child has to open its own"

#endif
