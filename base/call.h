/* SPDX-License-Identifier: MIT */
/*
 * call.h - what holds around each public call: errno stays, nobody is cancelled.
 *
 * The calls answer with -errno, so that a program may look at its own errno
 * after them.  And a thread that ended in the middle of a call (deferred
 * cancellation, at an open() or read() in it) would leave locked what it holds
 * and lose what it has made.  A cancellation that comes meanwhile is acted upon
 * at the thread's next cancellation point.
 *
 * What is called for every hit and reaches no cancellation point keeps errno by
 * itself, which costs next to nothing: ummu_monitor_settle() and the like.
 *
 * A call within a call may do the same again.
 */
#ifndef UMMU_CALL_H
#define UMMU_CALL_H

#include <errno.h>
#include <pthread.h>

/**
 * struct ummu_call - what a call has found
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

/** ummu_call_return - the same, in the statement that has the result. */
static inline int ummu_call_return(const struct ummu_call *call, int result)
{
	ummu_call_end(call);
	return result;
}

#endif
