/* SPDX-License-Identifier: MIT */
/*
 * provider.c - ummunotify-fi.so: gives libfabric's registration caches a
 * monitor of this project's.
 *
 * libfabric loads it as it does any provider, from its provider directory or
 * from FI_PROVIDER_PATH.  It provides nothing: without getinfo it is of the
 * kind that is laid over others, and only by name.
 *
 * The monitor is opened when the first cache is, in the process that has it: a
 * program that has none pays for a look whether one works, and one that forks
 * before is none the worse for it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <rdma/fabric.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_ext.h>
#include <rdma/providers/fi_prov.h>

#include "integrations/libfabric/say.h"
#include "integrations/libfabric/teller.h"

#define NAME "ummunotify"
#define FIRST_VERSION FI_VERSION(1, 13) /* that takes a monitor */
#define MAX_RANGES 8192
#define LEAST_RANGES 64

static void clean_up(void);
static int no_fabric(struct fi_fabric_attr *attr, struct fid_fabric **fabric,
		     void *context);

static struct fi_provider provider = {
	.name = NAME,
	.version = FI_VERSION(UMMU_VERSION_MAJOR, UMMU_VERSION_MINOR),
	.fi_version = FIRST_VERSION,
	.fabric = no_fabric,
	.cleanup = clean_up,
};

/**
 * struct settings - the user's
 * @enabled:    FI_UMMUNOTIFY_ENABLED
 * @trust:      not FI_UMMUNOTIFY_STRICT
 * @max_ranges: FI_UMMUNOTIFY_MAX_RANGES
 * @other:      FI_MR_CACHE_MONITOR, if it names another monitor, or none
 */
struct settings {
	bool enabled;
	bool trust;
	size_t max_ranges;
	const char *other;
};

static struct settings settings;

/*
 * What there is while a cache is.  libfabric starts and stops under one lock,
 * and asks only in between.
 */
static struct ummu_monitor *monitor;
static struct ummu_teller *teller;

/*
 * How often libfabric has loaded this file: two names of it in the provider
 * directories are one object with one monitor, and libfabric drops the second.
 * Under the lock of libfabric's start and end.
 */
static unsigned int loads;

static int start(struct fid_mem_monitor *fid);
static void stop(struct fid_mem_monitor *fid);
static int subscribe(struct fid_mem_monitor *fid, const void *addr, size_t len);
static void unsubscribe(struct fid_mem_monitor *fid, const void *addr,
			size_t len);
static bool valid(struct fid_mem_monitor *fid, const void *addr, size_t len);

static struct fi_ops_mem_monitor ops = {
	.size = sizeof(ops),
	.start = start,
	.stop = stop,
	.subscribe = subscribe,
	.unsubscribe = unsubscribe,
	.valid = valid,
};

static struct fid_mem_monitor import = {
	.fid = { .fclass = FI_CLASS_MEM_MONITOR },
	.export_ops = &ops,
};

static void notify(void *arg, const void *addr, size_t length)
{
	(void)arg;
	import.import_ops->notify(&import, addr, length);
}

static int start(struct fid_mem_monitor *fid)
{
	int error = ummu_monitor_open(NULL, &monitor);

	(void)fid;
	if (error) {
		ummu_say(&provider, UMMU_SAY_TROUBLE,
			 "libfabric registers without a cache: no monitor opens: %s",
			 ummu_monitor_explain());
		return error;
	}
	error = ummu_teller_start(monitor, settings.max_ranges, settings.trust,
				  notify, &teller);
	if (error) {
		ummu_say(&provider, UMMU_SAY_TROUBLE,
			 "libfabric registers without a cache: no thread starts: %s",
			 strerror(-error));
		ummu_monitor_close(monitor);
		monitor = NULL;
	}
	return error;
}

static void say_counts(void)
{
	struct ummu_ranges_counts counts;

	ummu_ranges_count(ummu_teller_ranges(teller), &counts);
	ummu_say(&provider, UMMU_SAY_NEWS,
		 "on %s: %" PRIu64 " lookups valid, %" PRIu64
		 " not; registrations: %" PRIu64 " kept, %" PRIu64
		 " used once (%" PRIu64 " as the first of a range); %" PRIu64
		 " ranges told, %" PRIu64 " evicted",
		 ummu_monitor_backend(monitor), counts.valid, counts.invalid,
		 counts.kept, counts.refused, counts.first, counts.notified,
		 counts.evicted);
}

static void stop(struct fid_mem_monitor *fid)
{
	(void)fid;
	if (!teller)
		return;
	if (!ummu_monitor_status(monitor))
		say_counts();
	ummu_teller_stop(teller);
	ummu_monitor_close(monitor);
	teller = NULL;
	monitor = NULL;
}

static int subscribe(struct fid_mem_monitor *fid, const void *addr, size_t len)
{
	(void)fid;
	return ummu_ranges_subscribe(ummu_teller_ranges(teller), addr, len);
}

/*
 * Nothing to do: what is counted is at least what there is, a range without
 * entries is the first to be forgotten, and one that is watched already when it
 * comes back saves a registration.  It comes for entries too whose subscription
 * was refused, and would have to be told from those.
 */
static void unsubscribe(struct fid_mem_monitor *fid, const void *addr,
			size_t len)
{
	(void)fid;
	(void)addr;
	(void)len;
}

static bool valid(struct fid_mem_monitor *fid, const void *addr, size_t len)
{
	(void)fid;
	return ummu_ranges_valid(ummu_teller_ranges(teller), addr, len);
}

static int no_fabric(struct fi_fabric_attr *attr, struct fid_fabric **fabric,
		     void *context)
{
	(void)attr;
	(void)fabric;
	(void)context;
	return -FI_ENODATA;
}

/* libfabric's settings, which a release may keep elsewhere too. */
static const char *chosen_monitor(void)
{
	char *name = NULL;

	if (fi_param_get_str(NULL, "mr_cache_monitor", &name))
		name = getenv("FI_MR_CACHE_MONITOR");
	return name && *name && strcmp(name, NAME) ? name : NULL;
}

static void define_settings(void)
{
	fi_param_define(&provider, "enabled", FI_PARAM_BOOL,
			"Have ummunotify tell the registration caches "
			"(default: yes)");
	fi_param_define(&provider, "strict", FI_PARAM_BOOL,
			"Keep a registration only if its memory was watched "
			"before it was pinned; the first one of a range then "
			"is used once (default: yes)");
	fi_param_define(&provider, "max_ranges", FI_PARAM_SIZE_T,
			"Most ranges that are watched (default: %d)",
			MAX_RANGES);
	fi_param_define(&provider, "verbose", FI_PARAM_INT,
			"0: nothing on standard error, 1: why it does not "
			"work, 2: what it does (default: 1)");
}

static void read_settings(void)
{
	int enabled = 1, strict = 1, level = UMMU_SAY_TROUBLE;
	size_t max = MAX_RANGES;

	define_settings();
	fi_param_get_bool(&provider, "enabled", &enabled);
	fi_param_get_bool(&provider, "strict", &strict);
	fi_param_get_size_t(&provider, "max_ranges", &max);
	fi_param_get_int(&provider, "verbose", &level);
	settings.enabled = enabled;
	settings.trust = !strict;
	settings.max_ranges = max < LEAST_RANGES ? LEAST_RANGES :
			      max > UINT32_MAX	 ? UINT32_MAX :
						   max;
	settings.other = chosen_monitor();
	ummu_say_verbose(level);
}

/* Does one work here?  Its name, or NULL after a line about it. */
static const char *working_backend(char *name, size_t size)
{
	struct ummu_monitor *trial;

	if (ummu_monitor_open(NULL, &trial)) {
		ummu_say(&provider, UMMU_SAY_TROUBLE,
			 "steps aside, libfabric's own monitor stays: %s",
			 ummu_monitor_explain());
		return NULL;
	}
	strncat(name, ummu_monitor_backend(trial), size - 1);
	ummu_monitor_close(trial);
	return name;
}

static int import_monitor(void)
{
	struct fid *cache;
	int error = fi_open(FIRST_VERSION, "mr_cache", NULL, 0, 0, &cache, NULL);

	if (error)
		return error;
	error = fi_import_fid(cache, &import.fid, 0);
	fi_close(cache);
	return error;
}

static void say_imported(int error, const char *backend)
{
	if (!error)
		ummu_say(&provider, UMMU_SAY_NEWS,
			 "tells libfabric's registration caches, on %s",
			 backend);
	else if (error == -FI_EBUSY)
		ummu_say(&provider, UMMU_SAY_TROUBLE,
			 "steps aside: another library of this program (Open MPI's does it) has given libfabric a monitor, or a cache is in use already");
	else
		ummu_say(&provider, UMMU_SAY_TROUBLE,
			 "steps aside: this libfabric takes no monitor: %s",
			 fi_strerror(-error));
}

static void take_part(void)
{
	char name[32] = "";

	if (!settings.enabled)
		ummu_say(&provider, UMMU_SAY_NEWS,
			 "steps aside, as FI_UMMUNOTIFY_ENABLED says");
	else if (settings.other)
		ummu_say(&provider, UMMU_SAY_NEWS,
			 "steps aside, as FI_MR_CACHE_MONITOR says \"%.32s\"",
			 settings.other);
	else if (working_backend(name, sizeof(name)))
		say_imported(import_monitor(), name);
}

static void clean_up(void)
{
	if (--loads || !import.fid.ops)
		return;
	fi_close(&import.fid);
	import.fid.ops = NULL;
	stop(&import);
}

__attribute__((visibility("default"))) struct fi_provider *fi_prov_ini(void);

struct fi_provider *fi_prov_ini(void)
{
	if (loads++)
		return &provider;
	read_settings();
	take_part();
	return &provider;
}
