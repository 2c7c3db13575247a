/* SPDX-License-Identifier: GPL-2.0-only */
/* trace.h - tracepoints: ummunotify:ummunotify_watch and so on. */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM ummunotify

#if !defined(UMMUNOTIFY_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define UMMUNOTIFY_TRACE_H

#include <linux/tracepoint.h>

#include "ummunotify.h"

/* clang-format takes these for calls. */
/* clang-format off */

/* @name: the cookie of 2010, or the state value */
DECLARE_EVENT_CLASS(ummunotify_slot,
		    TP_PROTO(const struct ummunotify_slot *slot, u64 name),
		    TP_ARGS(slot, name),
		    TP_STRUCT__entry(__field(const void *, file)
				     __field(u32, slot)
				     __field(u64, name)
				     __field(u64, start)
				     __field(u64, last)),
		    TP_fast_assign(__entry->file = slot->file;
				   __entry->slot = slot->number;
				   __entry->name = name;
				   __entry->start = slot->range.start;
				   __entry->last = slot->range.last;),
		    TP_printk("file=%p slot=%u name=%#llx start=%#llx last=%#llx",
			      __entry->file, __entry->slot, __entry->name,
			      __entry->start, __entry->last));

DEFINE_EVENT(ummunotify_slot, ummunotify_watch,
	     TP_PROTO(const struct ummunotify_slot *slot, u64 name),
	     TP_ARGS(slot, name));

DEFINE_EVENT(ummunotify_slot, ummunotify_unwatch,
	     TP_PROTO(const struct ummunotify_slot *slot, u64 name),
	     TP_ARGS(slot, name));

TRACE_EVENT(ummunotify_invalidate,
	    TP_PROTO(const struct ummunotify_space *space,
		     unsigned long start, unsigned long last,
		     unsigned int class, unsigned int hits),
	    TP_ARGS(space, start, last, class, hits),
	    TP_STRUCT__entry(__field(const void *, space)
			     __field(u64, start)
			     __field(u64, last)
			     __field(u32, class)
			     __field(u32, hits)),
	    TP_fast_assign(__entry->space = space;
			   __entry->start = start;
			   __entry->last = last;
			   __entry->class = class;
			   __entry->hits = hits;),
	    TP_printk("space=%p start=%#llx last=%#llx class=%#x hits=%u",
		      __entry->space, __entry->start, __entry->last,
		      __entry->class, __entry->hits));

TRACE_EVENT(ummunotify_drain,
	    TP_PROTO(const struct ummunotify_file *file, u64 events),
	    TP_ARGS(file, events),
	    TP_STRUCT__entry(__field(const void *, file)
			     __field(u64, events)),
	    TP_fast_assign(__entry->file = file;
			   __entry->events = events;),
	    TP_printk("file=%p events=%llu", __entry->file, __entry->events));

/* clang-format on */

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
