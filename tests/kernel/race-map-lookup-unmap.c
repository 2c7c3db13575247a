/* SPDX-License-Identifier: MIT */
/*
 * race-map-lookup-unmap.c - threads win addresses from each other, unmap them
 * and map them anew; what a cache gives for them must be what is mapped.
 *
 * The pins are real.  Whether a hit is right is seen from the physical pages,
 * by their frames for root, else by a number that is new in every mapping.
 * Hammering threads watch other memory through the same descriptor meanwhile,
 * so that the kernel finds locks taken when it announces an unmap.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "frames.h"
#include "race-clients.h"
#include "race-cpu.h"
#include "tests/run.h"

#define SECONDS 2.0
#define MAX_THREADS 4
#define MAX_HAMMERS 2
#define LOOKUPS 3      /* a mapping */
#define LEAST_MAPS 50  /* on a slow machine it takes longer to get there */
#define LONGEST 20     /* times as long */
#define LOOK_INSIDE 16 /* every so many lookups, read through the pin */
#define BUFFERS 256
#define HAMMERED_PAGES 256
#define ARENA ((size_t)1 << 30)

static const struct race_client *const clients[] = {
	&race_client_library,
	&race_client_today,
	&race_client_2010,
};
#define CLIENTS (sizeof(clients) / sizeof(*clients))

/**
 * struct choice - what to run
 * @client, @threads, @hammers: this alone; NULL or -1 for all
 * @real_time: the threads let nothing else run on their processor
 */
struct choice {
	const char *client;
	int threads, hammers;
	double seconds;
	bool real_time;
	uint64_t seed;
};

/**
 * struct tally - what happened; one for each thread, and the sum
 * @again:    lookups that gave no answer
 * @hammered: pages watched by the hammering threads
 */
struct tally {
	uint64_t maps, lookups, hits, stale, again, hammered;
	int error;
};

struct race {
	const struct race_client *client;
	const struct choice *choice;
	struct race_cache cache;
	char *arena;
	unsigned int slots;
	bool frames;
	uint64_t last_number;
	bool stop;
};

struct user {
	pthread_t thread;
	struct race *race;
	unsigned int number;
	uint64_t random;
	struct tally tally;
};

void race_frames(const char *addr, uint64_t frames[2])
{
	frames[0] = frame_of(addr);
	frames[1] = frame_of(addr + (RACE_PAGES - 1) * page);
}

static bool is_over(const struct race *race)
{
	return __atomic_load_n(&race->stop, __ATOMIC_RELAXED);
}

static char *address(const struct race *race, unsigned int slot)
{
	return race->arena + 2 * slot * RACE_PAGES * page;
}

/* A slot that nobody has, newly mapped; -1 when the test is over. */
static int win_slot(struct user *user)
{
	struct race *race = user->race;
	unsigned int slot;
	char *mapped;

	while (!is_over(race)) {
		slot = (unsigned int)(run_random(&user->random) % race->slots);
		mapped = mmap(address(race, slot), RACE_PAGES * page,
			      PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
			      -1, 0);
		if (mapped == address(race, slot))
			return (int)slot;
		if (errno != EEXIST) {
			user->tally.error = -errno;
			return -1;
		}
		sched_yield();
	}
	return -1;
}

static void write_numbers(char *addr, uint64_t number)
{
	for (size_t i = 0; i < RACE_PAGES; i++)
		*(volatile uint64_t *)(addr + i * page) = number + i;
}

static bool is_right(struct race *race, const struct race_held *held,
		     char *addr, uint64_t number, bool look_inside)
{
	size_t last = RACE_PAGES - 1;
	uint64_t frames[2];

	if (race->frames) {
		race_frames(addr, frames);
		if (memcmp(frames, held->frames, sizeof(frames)))
			return false;
		if (!look_inside)
			return true;
	}
	return race_pin_number(&race->cache.pin, held->buffer, addr) ==
		       number &&
	       race_pin_number(&race->cache.pin, held->buffer,
			       addr + last * page) == number + last;
}

static int use_slot(struct user *user, unsigned int slot)
{
	struct race *race = user->race;
	struct tally *tally = &user->tally;
	char *addr = address(race, slot);
	uint64_t number = __atomic_add_fetch(&race->last_number, RACE_PAGES,
					     __ATOMIC_RELAXED);
	struct race_held held;
	int error;

	write_numbers(addr, number);
	for (int i = 0; i < LOOKUPS; i++) {
		error = race->client->lookup(&race->cache, slot, addr, &held);
		tally->lookups++;
		if (error == -EAGAIN) {
			tally->again++;
			continue;
		}
		if (error)
			return error;
		tally->hits += held.hit;
		tally->stale += !is_right(race, &held, addr, number,
					  tally->lookups % LOOK_INSIDE == 0);
		race->client->done(&race->cache, &held);
	}
	return 0;
}

static void *use_slots(void *argument)
{
	struct user *user = argument;
	int slot;

	if (user->race->choice->real_time) {
		race_on_cpu(RACE_CPU);
		if (!race_real_time())
			user->tally.error = -EPERM;
	}
	while (!user->tally.error && (slot = win_slot(user)) >= 0) {
		user->tally.maps++;
		user->tally.error = use_slot(user, (unsigned int)slot);
		munmap(address(user->race, (unsigned int)slot),
		       RACE_PAGES * page);
	}
	return NULL;
}

static void *hammer(void *argument)
{
	struct user *user = argument;
	struct race *race = user->race;
	size_t length = HAMMERED_PAGES * page;
	char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (race->choice->real_time)
		race_on_cpu(RACE_CPU + 1);
	user->tally.error = memory == MAP_FAILED ? -errno : 0;
	while (!user->tally.error && !is_over(race)) {
		user->tally.error = race->client->hammer(&race->cache,
							 user->number, memory,
							 HAMMERED_PAGES);
		user->tally.hammered += HAMMERED_PAGES;
	}
	if (memory != MAP_FAILED)
		munmap(memory, length);
	return NULL;
}

static void start(struct race *race, struct user *user, unsigned int number,
		  void *(*work)(void *))
{
	*user = (struct user){
		.race = race,
		.number = number,
		.random = race->choice->seed + number + 1,
	};
	if (pthread_create(&user->thread, NULL, work, user)) {
		perror("pthread_create");
		exit(1);
	}
}

static void join(struct user *user, struct tally *sum)
{
	const struct tally *one = &user->tally;

	pthread_join(user->thread, NULL);
	sum->maps += one->maps;
	sum->lookups += one->lookups;
	sum->hits += one->hits;
	sum->stale += one->stale;
	sum->again += one->again;
	sum->hammered += one->hammered;
	if (one->error)
		sum->error = one->error;
}

static void let_run(struct race *race)
{
	double seconds = race->choice->seconds;
	double least = run_seconds() + seconds;
	double most = run_seconds() + LONGEST * seconds;

	while (run_seconds() < least ||
	       (run_seconds() < most &&
		__atomic_load_n(&race->last_number, __ATOMIC_RELAXED) <
			LEAST_MAPS * RACE_PAGES))
		usleep(10000);
}

static void run_threads(struct race *race, unsigned int threads,
			unsigned int hammers, struct tally *sum)
{
	struct user users[MAX_THREADS], hammering[MAX_HAMMERS];
	unsigned int i;

	for (i = 0; i < hammers; i++)
		start(race, &hammering[i], i, hammer);
	for (i = 0; i < threads; i++)
		start(race, &users[i], i, use_slots);
	let_run(race);
	__atomic_store_n(&race->stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < threads; i++)
		join(&users[i], sum);
	for (i = 0; i < hammers; i++)
		join(&hammering[i], sum);
}

/* An unused part of the address space, far from where mmap() will look. */
static char *unused_arena(void)
{
	char *arena = mmap(NULL, ARENA, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (arena == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	munmap(arena, ARENA);
	return arena + ARENA / 2;
}

static void set_up(struct race *race, const struct race_client *client,
		   unsigned int threads, const struct choice *choice)
{
	int error;

	*race = (struct race){
		.client = client,
		.choice = choice,
		.slots = threads / 2, /* somebody always waits */
		.arena = unused_arena(),
		.frames = frames_shown(),
	};
	race_pin_open(&race->cache.pin, BUFFERS);
	pthread_mutex_init(&race->cache.lock, NULL);
	for (unsigned int i = 0; i < RACE_SLOTS; i++) {
		race->cache.entries[i].buffer = -1;
		pthread_mutex_init(&race->cache.entries[i].lock, NULL);
	}
	error = client->open(&race->cache);
	if (error) {
		fprintf(stderr, "%s: %s\n", client->name, strerror(-error));
		exit(1);
	}
}

static void tear_down(struct race *race)
{
	race->client->close(&race->cache);
	for (unsigned int i = 0; i < RACE_SLOTS; i++)
		pthread_mutex_destroy(&race->cache.entries[i].lock);
	pthread_mutex_destroy(&race->cache.lock);
	race_pin_close(&race->cache.pin);
}

static bool judge(const struct tally *tally)
{
	if (tally->error)
		printf("  FAILED: %s\n", strerror(-tally->error));
	else if (tally->stale)
		printf("  FAILED: stale\n");
	else if (tally->hits < tally->lookups / 2 || tally->maps < LEAST_MAPS)
		printf("  FAILED: hardly a hit\n");
	else
		return true;
	return false;
}

static bool run(const struct race_client *client, int threads, int hammers,
		const struct choice *choice)
{
	struct tally tally = { 0 };
	static struct race race;

	set_up(&race, client, (unsigned int)threads, choice);
	run_threads(&race, (unsigned int)threads, (unsigned int)hammers, &tally);
	tear_down(&race);
	printf("%-8s %7d %7d %8llu %8llu %8llu %7llu %7llu %9llu\n",
	       client->name, threads, hammers, (unsigned long long)tally.maps,
	       (unsigned long long)tally.lookups,
	       (unsigned long long)tally.hits, (unsigned long long)tally.stale,
	       (unsigned long long)tally.again,
	       (unsigned long long)tally.hammered);
	return judge(&tally);
}

static void usage(const char *program)
{
	fprintf(stderr,
		"usage: %s [--client library|today|2010] [--threads 2|4] "
		"[--hammer 0|2] [--seconds N] [--real-time]\n",
		program);
	exit(2);
}

static bool is_client(const char *name)
{
	for (size_t i = 0; name && i < CLIENTS; i++)
		if (!strcmp(name, clients[i]->name))
			return true;
	return !name;
}

static struct choice choose(int argc, char **argv)
{
	static const struct option options[] = {
		{ "client", required_argument, NULL, 'c' },
		{ "threads", required_argument, NULL, 't' },
		{ "hammer", required_argument, NULL, 'h' },
		{ "seconds", required_argument, NULL, 's' },
		{ "real-time", no_argument, NULL, 'r' },
		{ 0 },
	};
	struct choice choice = {
		.threads = -1,
		.hammers = -1,
		.seconds = SECONDS * run_scaled(1),
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'c')
			choice.client = optarg;
		else if (option == 't')
			choice.threads = atoi(optarg);
		else if (option == 'h')
			choice.hammers = atoi(optarg);
		else if (option == 's')
			choice.seconds = atof(optarg);
		else if (option == 'r')
			choice.real_time = true;
		else
			usage(argv[0]);
	}
	if (optind < argc || choice.seconds <= 0 || !is_client(choice.client) ||
	    (choice.threads != -1 && choice.threads != 2 &&
	     choice.threads != 4) ||
	    (choice.hammers != -1 && choice.hammers && choice.hammers != 2))
		usage(argv[0]);
	choice.seed = run_seed();
	return choice;
}

/* One number of threads, and of hammers, or each that there is. */
static bool run_all(const struct race_client *client,
		    const struct choice *choice)
{
	bool right = true;

	for (int t = 2; t <= 4; t += 2)
		for (int h = 0; h <= 2; h += 2)
			if ((choice->threads < 0 || choice->threads == t) &&
			    (choice->hammers < 0 || choice->hammers == h))
				right &= run(client, t, h, choice);
	return right;
}

int main(int argc, char **argv)
{
	struct choice choice = choose(argc, argv);
	bool right = true;

	device_need();
	run_limit(300);
	printf("%-8s %7s %7s %8s %8s %8s %7s %7s %9s\n", "client", "threads",
	       "hammers", "maps", "lookups", "hits", "stale", "EAGAIN",
	       "hammered");
	for (size_t i = 0; i < CLIENTS; i++)
		if (!choice.client || !strcmp(choice.client, clients[i]->name))
			right &= run_all(clients[i], &choice);
	return right ? 0 : 1;
}
