/* SPDX-License-Identifier: MIT */
/*
 * call.h - keep the caller's thread undisturbed by each public call.
 *
 * A call returns -errno and leaves errno as it was, as a program may look at
 * its own errno afterwards.  A call also disables cancellation: a thread that
 * was cancelled in the middle of it, at an open() or read(), would leave its
 * locks locked and lose what it has made.  A cancellation that is requested
 * meanwhile takes effect at the thread's next cancellation point.
 *
 * Calls that are made for every hit, such as ummu_monitor_settle(), reach no
 * cancellation point.  They save errno themselves, which costs next to nothing.
 *
 * These pairs may be nested.
 */
#ifndef UMMU_CALL_H
#define UMMU_CALL_H

#include <errno.h>
#include <pthread.h>

/**
 * struct ummu_call - what a call restores when it returns
 * @error:  errno
 * @cancel: PTHREAD_CANCEL_ENABLE or _DISABLE
 */
struct ummu_call {
	int error;
	int cancel;
};

static inline struct ummu_call ummu_call_begin(void)
{
	struct ummu_call call = { .error = errno };

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &call.cancel);
	return call;
}

static inline void ummu_call_end(const struct ummu_call *call)
{
	pthread_setcancelstate(call->cancel, NULL);
	errno = call->error;
}

/** ummu_call_return - end the call and return @result. */
static inline int ummu_call_return(const struct ummu_call *call, int result)
{
	ummu_call_end(call);
	return result;
}

#endif
