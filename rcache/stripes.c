/* SPDX-License-Identifier: MIT */
/* stripes.c - the lock that protects a cache's lookup structure. */
#define _GNU_SOURCE
#include "stripes.h"

/* 1 + the index of the thread's stripe; 0 before its first lookup. */
static __thread unsigned int own_stripe;

static unsigned int next_stripe(void)
{
	static unsigned int threads;

	/* Relaxed: any spread of the threads over the stripes is right. */
	return 1 +
	       __atomic_fetch_add(&threads, 1, __ATOMIC_RELAXED) % STRIPE_COUNT;
}

void ummu_stripes_init(struct stripes *stripes)
{
	for (unsigned int i = 0; i < STRIPE_COUNT; i++)
		pthread_mutex_init(&stripes->stripe[i].lock, NULL);
}

void ummu_stripes_destroy(struct stripes *stripes)
{
	for (unsigned int i = 0; i < STRIPE_COUNT; i++)
		pthread_mutex_destroy(&stripes->stripe[i].lock);
}

struct stripe *ummu_stripes_mine(struct stripes *stripes)
{
	if (__builtin_expect(!own_stripe, 0))
		own_stripe = next_stripe();
	return &stripes->stripe[own_stripe - 1];
}

struct stripe *ummu_stripes_read_lock(struct stripes *stripes)
{
	struct stripe *stripe = ummu_stripes_mine(stripes);

	/*
	 * Orders this lookup after every writer that has unlocked: the writer
	 * held this very mutex.
	 */
	pthread_mutex_lock(&stripe->lock);
	return stripe;
}

void ummu_stripes_read_unlock(struct stripe *stripe)
{
	pthread_mutex_unlock(&stripe->lock);
}

void ummu_stripes_write_lock(struct stripes *stripes)
{
	/* In order, so that two writers cannot wait for each other. */
	for (unsigned int i = 0; i < STRIPE_COUNT; i++)
		pthread_mutex_lock(&stripes->stripe[i].lock);
}

void ummu_stripes_write_unlock(struct stripes *stripes)
{
	for (unsigned int i = STRIPE_COUNT; i--;)
		pthread_mutex_unlock(&stripes->stripe[i].lock);
}

void ummu_stripes_synchronize(struct stripes *stripes)
{
	/* A writer holds every stripe from beginning to end: one is enough. */
	ummu_stripes_read_unlock(ummu_stripes_read_lock(stripes));
}
