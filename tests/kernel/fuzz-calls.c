/* SPDX-License-Identifier: MIT */
/* fuzz-calls.c - random calls of the device, with arguments good and bad. */
#define _GNU_SOURCE
#include "fuzz.h"

#include <errno.h>
#include <linux/ummunotify.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define MOST 70 /* entries of a batch */

static const unsigned int numbers[] = {
	UMMUNOTIFY_EXCHANGE_FEATURES,
	UMMUNOTIFY_REGISTER_REGION,
	UMMUNOTIFY_UNREGISTER_REGION,
	UMMUNOTIFY_SETUP,
	UMMUNOTIFY_WATCH,
	UMMUNOTIFY_UNWATCH,
	UMMUNOTIFY_REARM,
	UMMUNOTIFY_DRAINED,
};

/* One of few, so that calls meet; now and then any. */
static uint64_t name(uint64_t *state, uint64_t few)
{
	if (fuzz_chance(state, 20))
		return fuzz_chance(state, few);
	return fuzz_chance(state, 0);
}

static uint64_t edge(uint64_t *state)
{
	if (!fuzz_chance(state, 30))
		return fuzz_chance(state, 0);
	return (uintptr_t)FUZZ_ARENA + fuzz_chance(state, FUZZ_PAGES) * 4096 +
	       (fuzz_chance(state, 3) ? 0 : fuzz_chance(state, 4096));
}

static void check(const char *what, long returned, long most)
{
	static const int known[] = { EINVAL, EFAULT, ENOMEM, ENOSPC, EAGAIN,
				     EINTR,  EIO,    ENOTTY, EBADF,  E2BIG };
	size_t i = 0;

	if (returned >= 0) {
		if (returned > most)
			fuzz_failed(what, returned);
		return;
	}
	while (i < sizeof(known) / sizeof(known[0]) && known[i] != errno)
		i++;
	if (i == sizeof(known) / sizeof(known[0]))
		fuzz_failed(what, -errno);
}

static void set_up(int fd, uint64_t *state)
{
	struct ummunotify_setup setup = {
		.size = sizeof(setup),
		.magic = UMMUNOTIFY_SETUP_MAGIC,
		.classes = fuzz_chance(state, 2) ? 0 : fuzz_chance(state, 256),
		.watches = (uint32_t)name(state, 2000),
	};

	if (!fuzz_chance(state, 10))
		((uint32_t *)&setup)[fuzz_chance(state, 14)] = (uint32_t)
			fuzz_chance(state, 0);
	check("set-up", ioctl(fd, UMMUNOTIFY_SETUP, &setup), 0);
}

static void register_region(int fd, uint64_t *state)
{
	struct ummunotify_register_ioctl region = {
		.start = edge(state),
		.end = edge(state),
		.user_cookie = name(state, 200),
		.flags = (uint32_t)fuzz_chance(state, 0),
	};

	check("register", ioctl(fd, UMMUNOTIFY_REGISTER_REGION, &region), 0);
}

static void unregister_region(int fd, uint64_t *state)
{
	uint64_t cookie = name(state, 200);

	check("unregister", ioctl(fd, UMMUNOTIFY_UNREGISTER_REGION, &cookie), 0);
}

/* The entries are here, or in the arena, or nowhere. */
static uint64_t entries(void *here, uint64_t *state)
{
	return (uintptr_t)(fuzz_chance(state, 5) ? here : fuzz_address(state));
}

static void watch(int fd, uint64_t *state)
{
	struct ummunotify_watch watches[MOST];
	struct ummunotify_batch batch = {
		.entries = entries(watches, state),
		.drained = name(state, 5000),
		.count = (uint32_t)fuzz_chance(state, MOST + 1),
	};

	for (int i = 0; i < MOST; i++) {
		uint64_t start = edge(state);

		watches[i] = (struct ummunotify_watch){
			.start = start,
			.end = start + 1 + fuzz_chance(state, 40000),
			.flags = !fuzz_chance(state, 200),
		};
	}
	check("watch", ioctl(fd, UMMUNOTIFY_WATCH, &batch), batch.count);
}

/* States are small numbers: guessing finds some. */
static void by_name(int fd, unsigned int number, uint64_t *state)
{
	struct ummunotify_watch_id ids[MOST];
	struct ummunotify_batch batch = {
		.entries = entries(ids, state),
		.drained = name(state, 5000),
		.count = (uint32_t)fuzz_chance(state, MOST + 1),
		.reserved = !fuzz_chance(state, 100),
	};
	uint64_t near = fuzz_chance(state, 3000);

	for (int i = 0; i < MOST; i++)
		ids[i] = (struct ummunotify_watch_id){
			.state = near + (uint64_t)i,
			.slot = (uint32_t)name(state, 600),
		};
	/* In order of their birth both count up. */
	if (fuzz_chance(state, 2))
		for (uint32_t i = 0; i < MOST; i++)
			ids[i].slot = (uint32_t)near + i;
	check("by name", ioctl(fd, number, &batch), batch.count);
}

static void say_drained(int fd, uint64_t *state)
{
	uint64_t drained = name(state, 5000);

	check("drained", ioctl(fd, UMMUNOTIFY_DRAINED, &drained), 0);
}

static void read_events(int fd, uint64_t *state)
{
	struct ummunotify_event here[100];
	bool mine = fuzz_chance(state, 3);
	size_t room = fuzz_chance(state, sizeof(here) + 1);
	long length = read(fd, mine ? (char *)here : fuzz_address(state), room);

	check("read", length, (long)room);
	if (length > 0 && (size_t)length % sizeof(here[0]))
		fuzz_failed("part of an event", length);
	for (long i = 0; mine && i < length / (long)sizeof(here[0]); i++)
		if (here[i].type > UMMUNOTIFY_EVENT_TYPE_LAST ||
		    (here[i].type == UMMUNOTIFY_EVENT_TYPE_INVAL &&
		     here[i].hint_start >= here[i].hint_end))
			fuzz_failed("event", i);
}

/* Any number of ours with any argument; or any number. */
static void garbage(int fd, uint64_t *state)
{
	unsigned int number = numbers[fuzz_chance(state, 8)];

	if (!fuzz_chance(state, 3))
		number = (unsigned int)fuzz_chance(state, 0);
	else if (!fuzz_chance(state, 3))
		number ^= 1U << fuzz_chance(state, 32);
	/* But not those of all files, which close, copy, clone. */
	if ((number >> 8 & 255) == UMMUNOTIFY_MAGIC)
		ioctl(fd, number, fuzz_address(state));
}

void fuzz_call(struct fuzz *fuzz, uint64_t *state)
{
	int fd = fuzz_file(fuzz, state);

	switch (fuzz_chance(state, 16)) {
	case 0:
		set_up(fd, state);
		break;
	case 1:
	case 2:
	case 3:
		register_region(fd, state);
		break;
	case 4:
	case 5:
		unregister_region(fd, state);
		break;
	case 6:
	case 7:
	case 8:
		watch(fd, state);
		break;
	case 9:
		by_name(fd, UMMUNOTIFY_UNWATCH, state);
		break;
	case 10:
		by_name(fd, UMMUNOTIFY_REARM, state);
		break;
	case 11:
		say_drained(fd, state);
		break;
	case 12:
	case 13:
		read_events(fd, state);
		break;
	default:
		garbage(fd, state);
	}
}
