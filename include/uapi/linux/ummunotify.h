/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * ummunotify.h - what user space and the ummunotify module say to each other.
 *
 * A descriptor of /dev/ummunotify, opened read-only, watches ranges of the
 * address space that opened it and tells when pages of them leave or are
 * replaced by others.  It speaks one of two languages:
 *
 *   the calls of 2010  as soon as anything but UMMUNOTIFY_SETUP is called:
 *                      regions named by cookies, events by read()
 *   the calls of today after UMMUNOTIFY_SETUP, which must come first: watches
 *                      in numbered slots, whose state words and events are in
 *                      memory that the kernel shares with the process
 *
 * The numbers and layouts of the first are those of the ummunotify driver of
 * 2009/2010 (Roland Dreier), so that programs made for it run unchanged.
 *
 * All addresses and lengths are in bytes; "end" is the byte after the last.
 * Only the address space that opened a descriptor can use it: everybody else
 * (a child after fork, the process after exec, who was sent the descriptor)
 * gets EIO from every call but close() and poll().
 */
#ifndef _UAPI_LINUX_UMMUNOTIFY_H
#define _UAPI_LINUX_UMMUNOTIFY_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* ------------------------------------------------------ the calls of 2010 */

/**
 * struct ummunotify_register_ioctl - a region to watch
 * @start, @end:  any values; an empty or reversed region is never hit
 * @user_cookie:  its name, unique on this descriptor
 * @flags:        ignored for ever: programs leave garbage here
 * @reserved:     ignored too
 */
struct ummunotify_register_ioctl {
	__u64 start;
	__u64 end;
	__u64 user_cookie;
	__u32 flags;
	__u32 reserved;
};

#define UMMUNOTIFY_MAGIC 'U'

/*
 * Answers 0, the features that this language has.  What it is given is not
 * looked at.  EINVAL once a region was registered or unregistered.
 */
#define UMMUNOTIFY_EXCHANGE_FEATURES _IOWR(UMMUNOTIFY_MAGIC, 1, __u32)

/*
 * EINVAL: the cookie is in use.  ENOMEM: no memory, or a limit is reached.
 * The region stays registered, and armed, after its events.
 */
#define UMMUNOTIFY_REGISTER_REGION \
	_IOW(UMMUNOTIFY_MAGIC, 2, struct ummunotify_register_ioctl)

/* By cookie; an event not read yet is dropped.  EINVAL: no such cookie. */
#define UMMUNOTIFY_UNREGISTER_REGION _IOW(UMMUNOTIFY_MAGIC, 3, __u64)

/* Types of events. */
#define UMMUNOTIFY_EVENT_TYPE_INVAL 0 /* a region was hit */
#define UMMUNOTIFY_EVENT_TYPE_LAST 1  /* no more events */

/* Flags of events: the hint is exact, for the region was hit just once. */
#define UMMUNOTIFY_EVENT_FLAG_HINT (1 << 0)

/**
 * struct ummunotify_event - what read() fills in
 * @type:                UMMUNOTIFY_EVENT_TYPE_...
 * @flags:               UMMUNOTIFY_EVENT_FLAG_...
 * @hint_start, @hint_end: INVAL: what was hit, within the region
 * @user_cookie_counter: INVAL: the region's cookie.  LAST: the counter, when
 *                       there were no more events
 */
struct ummunotify_event {
	__u32 type;
	__u32 flags;
	__u64 hint_start;
	__u64 hint_end;
	__u64 user_cookie_counter;
};

/*
 * mmap() of one page, read-only, at offset 0: its first __u64 is the counter.
 * It starts at 0 and moves with every invalidation that hits a region of this
 * descriptor, before the page tables change.
 */

/* ----------------------------------------------------- the calls of today */

/*
 * Classes of invalidations: the kernel's reasons, which differ between its
 * versions.  By default those in which pages leave.
 */
#define UMMUNOTIFY_CLASS_UNMAP (1 << 0)
#define UMMUNOTIFY_CLASS_CLEAR (1 << 1)
#define UMMUNOTIFY_CLASS_PROTECTION_VMA (1 << 2)  /* mprotect() */
#define UMMUNOTIFY_CLASS_PROTECTION_PAGE (1 << 3) /* fork(), write-back */
#define UMMUNOTIFY_CLASS_SOFT_DIRTY (1 << 4)
#define UMMUNOTIFY_CLASS_MIGRATE (1 << 6)
#define UMMUNOTIFY_CLASS_EXCLUSIVE (1 << 7)

#define UMMUNOTIFY_CLASS_DEFAULT                           \
	(UMMUNOTIFY_CLASS_UNMAP | UMMUNOTIFY_CLASS_CLEAR | \
	 UMMUNOTIFY_CLASS_MIGRATE | UMMUNOTIFY_CLASS_EXCLUSIVE)

#define UMMUNOTIFY_CLASS_ALL                                          \
	(UMMUNOTIFY_CLASS_DEFAULT | UMMUNOTIFY_CLASS_PROTECTION_VMA | \
	 UMMUNOTIFY_CLASS_PROTECTION_PAGE | UMMUNOTIFY_CLASS_SOFT_DIRTY)

#define UMMUNOTIFY_SETUP_MAGIC 0x796d6d75 /* "ummy" */

/**
 * struct ummunotify_setup - how this descriptor is to be used, and its layout
 * @size:          in: sizeof(struct ummunotify_setup); lets the struct grow
 * @magic:         in: UMMUNOTIFY_SETUP_MAGIC
 * @classes:       in: UMMUNOTIFY_CLASS_..., or 0 for the default; out: those
 *                 in use
 * @flags:         in: 0
 * @watches:       in: the most watches at one time, or 0 for the limit of the
 *                 module; out: what was granted
 * @reserved:      in: 0
 * @map_length:    out: how much can be mapped, from offset 0, read-only and
 *                 shared.  It starts with struct ummunotify_shared
 * @states_offset: out: the state words in the mapping, a __u64 for each slot
 * @log_offset:    out: the first page of the log in the mapping
 *
 * Pages of the mapping exist as soon as a slot handed out needs them; to touch
 * others is a bus error.  In a child of fork() the whole mapping reads as 0:
 * no watch is valid there.
 */
struct ummunotify_setup {
	__u32 size;
	__u32 magic;
	__u64 classes;
	__u64 flags;
	__u32 watches;
	__u32 reserved;
	__u64 map_length;
	__u64 states_offset;
	__u64 log_offset;
};

/*
 * Must be the first call on the descriptor, mmap() and read() included, and
 * can be made once.  EINVAL: it was not, or the struct has something wrong.
 * E2BIG: it has something set that this module does not know.
 */
#define UMMUNOTIFY_SETUP _IOWR(UMMUNOTIFY_MAGIC, 4, struct ummunotify_setup)

/**
 * struct ummunotify_shared - the first page of the mapping
 * @generation: starts at 1 and moves with every watch that is hit, before the
 *              page tables change
 * @logged:     how many events were logged so far
 *
 * Who wants to know by the generation that nothing has changed since loads it,
 * with acquire, before the log or the state words, and remembers that value:
 * what is hit later moves it again.  Load @logged with acquire before the log.
 */
struct ummunotify_shared {
	__u64 generation;
	__u64 logged;
};

/**
 * struct ummunotify_log_entry - one watch was hit
 * @state:      what its state word held until then: this, not the slot alone,
 *              tells which watch it was
 * @hint_start, @hint_end: what was hit, within the watch
 * @slot:       the slot of the watch
 * @event_class:      UMMUNOTIFY_CLASS_..., 0 if not known
 */
struct ummunotify_log_entry {
	__u64 state;
	__u64 hint_start;
	__u64 hint_end;
	__u32 slot;
	__u32 event_class;
};

/*
 * The log is a chain of pages of 4096 bytes.  Event number n (from 0) is entry
 * n % 127 of its page; the 128th entry's @state is the offset, in the mapping,
 * of the page of the next 127.  It is good once an event after it was logged.
 *
 * Every watch has room in the log for its event.  The room comes back when
 * the process says what it has read: @drained of the calls below.
 */
#define UMMUNOTIFY_LOG_PAGE 4096
#define UMMUNOTIFY_LOG_ENTRIES 127

/**
 * struct ummunotify_watch - a range to watch
 * @start, @end: in: not empty, within the address space
 * @state:       out: what the state word holds while the watch is valid; never
 *               0, and never used again in this address space, by whatever
 *               descriptor, as long as one of it is open or mapped
 * @slot:        out: its slot
 * @flags:       in: 0
 *
 * At its first hit the state word becomes 0, one event is logged, and the
 * watch is spent, until it is armed again.
 */
struct ummunotify_watch {
	__u64 start;
	__u64 end;
	__u64 state;
	__u32 slot;
	__u32 flags;
};

/**
 * struct ummunotify_watch_id - which watch
 * @state:    what it was given by UMMUNOTIFY_WATCH or the last UMMUNOTIFY_REARM;
 *            UMMUNOTIFY_REARM puts the new one here
 * @slot:     its slot
 * @reserved: 0
 */
struct ummunotify_watch_id {
	__u64 state;
	__u32 slot;
	__u32 reserved;
};

/**
 * struct ummunotify_batch - argument of the calls on watches
 * @entries: address of an array: of struct ummunotify_watch for
 *           UMMUNOTIFY_WATCH, else of struct ummunotify_watch_id
 * @drained: how many events the process has read so far; a number lower than
 *           an earlier one says nothing
 * @count:   length of the array
 * @reserved: 0
 *
 * The calls return how many entries, from the first, were done; an error only
 * if that is none.  What was not done has no effect.
 *
 * EINVAL: no UMMUNOTIFY_SETUP, a bad range, no such watch, or nonzero flags.
 * EFAULT: bad address.  ENOMEM.  ENOSPC: a limit is reached.
 * EAGAIN: the log has no room until events were drained.
 * EINTR: a fatal signal.  EIO: not the address space that opened it.
 */
struct ummunotify_batch {
	__u64 entries;
	__u64 drained;
	__u32 count;
	__u32 reserved;
};

#define UMMUNOTIFY_WATCH _IOW(UMMUNOTIFY_MAGIC, 5, struct ummunotify_batch)
#define UMMUNOTIFY_UNWATCH _IOW(UMMUNOTIFY_MAGIC, 6, struct ummunotify_batch)
#define UMMUNOTIFY_REARM _IOW(UMMUNOTIFY_MAGIC, 7, struct ummunotify_batch)

/*
 * The argument points to the number of events read so far.  poll() says
 * "readable" while more were logged than that, and wakes up when the first
 * one is.  read() gives EINVAL after UMMUNOTIFY_SETUP.
 */
#define UMMUNOTIFY_DRAINED _IOW(UMMUNOTIFY_MAGIC, 8, __u64)

/* --------------------------------------- the ABI of 2010, kept to the bit */

#ifdef __cplusplus
#define UMMUNOTIFY_ABI(holds) static_assert(holds, #holds)
#else
#define UMMUNOTIFY_ABI(holds) _Static_assert(holds, #holds)
#endif
#define UMMUNOTIFY_ABI_FIELD(type, field, offset) \
	UMMUNOTIFY_ABI(__builtin_offsetof(struct type, field) == (offset))

UMMUNOTIFY_ABI(UMMUNOTIFY_EXCHANGE_FEATURES == 0xc0045501u);
UMMUNOTIFY_ABI(UMMUNOTIFY_REGISTER_REGION == 0x40205502u);
UMMUNOTIFY_ABI(UMMUNOTIFY_UNREGISTER_REGION == 0x40085503u);
UMMUNOTIFY_ABI(UMMUNOTIFY_EVENT_TYPE_INVAL == 0);
UMMUNOTIFY_ABI(UMMUNOTIFY_EVENT_TYPE_LAST == 1);
UMMUNOTIFY_ABI(UMMUNOTIFY_EVENT_FLAG_HINT == 1);
UMMUNOTIFY_ABI(sizeof(struct ummunotify_register_ioctl) == 32);
UMMUNOTIFY_ABI_FIELD(ummunotify_register_ioctl, start, 0);
UMMUNOTIFY_ABI_FIELD(ummunotify_register_ioctl, end, 8);
UMMUNOTIFY_ABI_FIELD(ummunotify_register_ioctl, user_cookie, 16);
UMMUNOTIFY_ABI_FIELD(ummunotify_register_ioctl, flags, 24);
UMMUNOTIFY_ABI_FIELD(ummunotify_register_ioctl, reserved, 28);
UMMUNOTIFY_ABI(sizeof(struct ummunotify_event) == 32);
UMMUNOTIFY_ABI_FIELD(ummunotify_event, type, 0);
UMMUNOTIFY_ABI_FIELD(ummunotify_event, flags, 4);
UMMUNOTIFY_ABI_FIELD(ummunotify_event, hint_start, 8);
UMMUNOTIFY_ABI_FIELD(ummunotify_event, hint_end, 16);
UMMUNOTIFY_ABI_FIELD(ummunotify_event, user_cookie_counter, 24);

UMMUNOTIFY_ABI(sizeof(struct ummunotify_setup) == 56);
UMMUNOTIFY_ABI(sizeof(struct ummunotify_log_entry) == 32);
UMMUNOTIFY_ABI(sizeof(struct ummunotify_watch) == 32);
UMMUNOTIFY_ABI(sizeof(struct ummunotify_watch_id) == 16);
UMMUNOTIFY_ABI(sizeof(struct ummunotify_batch) == 24);

#endif
