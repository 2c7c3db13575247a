/* SPDX-License-Identifier: MIT */
/*
 * device.c - speaks both languages of /dev/ummunotify with raw ioctls.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define EVENTS (BENCH_RANGE + 1)

static unsigned int call(struct bench_device *device, unsigned long request,
			 const void *entries, unsigned int count)
{
	struct ummunotify_batch batch = {
		.entries = (uintptr_t)entries,
		.drained = device->drained,
		.count = count,
	};

	return (unsigned int)ioctl(device->fd, request, &batch);
}

void bench_watch(struct bench_device *device, struct ummunotify_watch *watches,
		 unsigned int count)
{
	if (call(device, UMMUNOTIFY_WATCH, watches, count) != count)
		bench_fail("UMMUNOTIFY_WATCH");
}

void bench_unwatch(struct bench_device *device,
		   const struct ummunotify_watch_id *ids, unsigned int count)
{
	if (call(device, UMMUNOTIFY_UNWATCH, ids, count) != count)
		bench_fail("UMMUNOTIFY_UNWATCH");
}

void bench_rearm(struct bench_device *device, struct ummunotify_watch_id *ids,
		 unsigned int count)
{
	if (call(device, UMMUNOTIFY_REARM, ids, count) != count)
		bench_fail("UMMUNOTIFY_REARM");
}

void bench_register(struct bench_device *device, uintptr_t start, size_t length)
{
	struct ummunotify_register_ioctl region = {
		.start = start,
		.end = start + length,
		.user_cookie = start,
	};

	if (ioctl(device->fd, UMMUNOTIFY_REGISTER_REGION, &region))
		bench_fail("UMMUNOTIFY_REGISTER_REGION");
}

void bench_unregister(struct bench_device *device, uintptr_t start)
{
	__u64 cookie = start;

	if (ioctl(device->fd, UMMUNOTIFY_UNREGISTER_REGION, &cookie))
		bench_fail("UMMUNOTIFY_UNREGISTER_REGION");
}

unsigned int bench_read(struct bench_device *device,
			struct ummunotify_event *events, unsigned int max)
{
	ssize_t n = read(device->fd, events, max * sizeof(*events));

	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n < (ssize_t)sizeof(*events))
		bench_fail("read");
	return (unsigned int)((size_t)n / sizeof(*events));
}

const struct ummunotify_log_entry *bench_next(struct bench_device *device)
{
	const struct ummunotify_shared *shared = (const void *)device->map;
	unsigned int entry = device->drained % UMMUNOTIFY_LOG_ENTRIES;

	if (__atomic_load_n(&shared->logged, __ATOMIC_ACQUIRE) ==
	    device->drained)
		return NULL;
	if (!entry && device->drained)
		device->page = (const void *)(device->map +
					      device->page[UMMUNOTIFY_LOG_ENTRIES]
						      .state);
	device->drained++;
	return &device->page[entry];
}

static unsigned int renew_2010(struct bench_device *device)
{
	static struct ummunotify_event events[EVENTS];
	unsigned int count = 0, n;

	while ((n = bench_read(device, events, EVENTS)))
		count += n - (events[n - 1].type == UMMUNOTIFY_EVENT_TYPE_LAST);
	return count;
}

unsigned int bench_renew(struct bench_device *device)
{
	struct ummunotify_watch_id ids[BENCH_BATCH];
	const struct ummunotify_log_entry *entry;
	unsigned int count = 0, n;

	if (!device->setup.size)
		return renew_2010(device);
	do {
		for (n = 0; n < BENCH_BATCH; n++) {
			entry = bench_next(device);
			if (!entry)
				break;
			ids[n] = (struct ummunotify_watch_id){
				.state = entry->state,
				.slot = entry->slot,
			};
		}
		if (n)
			bench_rearm(device, ids, n);
		count += n;
	} while (n);
	return count;
}

static void open_device(struct bench_device *device)
{
	memset(device, 0, sizeof(*device));
	device->fd = open("/dev/ummunotify", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (device->fd < 0)
		bench_fail("/dev/ummunotify");
}

static void map_device(struct bench_world *world, struct bench_device *device,
		       size_t length)
{
	munmap(world->holder, BENCH_PAGE);
	device->map = mmap(NULL, length, PROT_READ, MAP_SHARED, device->fd, 0);
	if (device->map == MAP_FAILED)
		bench_fail("cannot map /dev/ummunotify");
}

static void watch_all(const struct bench_world *world,
		      struct bench_device *device)
{
	struct ummunotify_watch watches[BENCH_BATCH];
	unsigned int done, i, n;

	for (done = 0; done < world->watches; done += n) {
		uint64_t start;

		n = world->watches - done;
		n = n < BENCH_BATCH ? n : BENCH_BATCH;
		for (i = 0; i < n; i++) {
			uintptr_t at = bench_place(world, done + i);

			watches[i] = (struct ummunotify_watch){
				.start = at,
				.end = at + world->layout->length,
			};
		}
		start = bench_now();
		bench_watch(device, watches, n);
		device->growing += bench_since(start);
	}
}

void bench_open(struct bench_world *world, struct bench_device *device)
{
	open_device(device);
	device->setup = (struct ummunotify_setup){
		.size = sizeof(device->setup),
		.magic = UMMUNOTIFY_SETUP_MAGIC,
	};
	if (ioctl(device->fd, UMMUNOTIFY_SETUP, &device->setup))
		bench_fail("UMMUNOTIFY_SETUP");
	map_device(world, device, device->setup.map_length);
	device->page = (const void *)(device->map + device->setup.log_offset);
	watch_all(world, device);
	world->device = device;
}

void bench_open_2010(struct bench_world *world, struct bench_device *device)
{
	unsigned int i;

	open_device(device);
	map_device(world, device, BENCH_PAGE);
	for (i = 0; i < world->watches; i++) {
		uintptr_t at = bench_place(world, i);
		uint64_t start = bench_now();

		bench_register(device, at, world->layout->length);
		device->growing += bench_since(start);
	}
	world->device = device;
}
