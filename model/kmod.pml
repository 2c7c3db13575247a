/* SPDX-License-Identifier: MIT */
/*
 * kmod.pml - the protocol by which the kernel module and its clients together
 * keep G1 and G2 (DESIGN.md, sections 4 and 5), for one address and any number
 * of rounds.
 *
 * model/README.md says what is left out, and why that is safe; model/check.sh
 * runs it.  Labels in capitals are the names that comments in kmod/ use
 * ("model: START").  A statement, or an atomic block, is one step: one memory
 * access, the effect of one system call, or a critical section of which only
 * one such effect can be seen without its lock.
 *
 * Sizes:    CLIENT    how the users find out what is valid, see below
 *           USERS     threads that call get() and put()
 *           FDS       1: they share a descriptor and a cache; 2: each its own
 *           OWN       1: a thread of the process unmaps and maps again
 *           FOREIGN   1: another process, or the kernel, takes pages away
 *           TABLE     how many windows the in-flight table has room for
 *           CLAIMS    which of the claims below to assert; all
 * Variants: every other #ifdef breaks one rule.
 */

#define OLD		1	/* 2010: a counter, and events by read() */
#define WORDS		2	/* today: a state word for each watch */
#define GENERATION	3	/* today: the generation, and the log */
#ifndef CLIENT
#define CLIENT	WORDS
#endif
#ifndef USERS
#define USERS	2
#endif
#ifndef FDS
#define FDS	1
#endif
#ifndef OWN
#define OWN	1
#endif
#ifndef FOREIGN
#define FOREIGN	1
#endif
#ifndef TABLE
#define TABLE	1
#endif

/* A descriptor's regions: one in each user's hands, one in the cache. */
#define PER_FD		(USERS / FDS + 1)
#define REGIONS		(FDS * PER_FD)
#define NONE		REGIONS		/* where an index stands: no region */
#define first_of(f)	((f) * PER_FD)
#define fd_of(r)	((r) / PER_FD)

/* What is claimed. */
#define G1	1	/* valid: its page was not removed before this check */
#define G2	2	/* published: nor when its pinner returned */
#define CHANGED	4	/* valid: at that moment the address maps its page */
#define LAST	8	/* nothing to read: the client knows the counter */
#define ROOM	16	/* the log has room for the event of every hit */
#ifndef CLAIMS
#define CLAIMS	(G1 | G2 | CHANGED | LAST | ROOM)
#endif
#define claim(which, holds) assert(!(CLAIMS & which) || (holds))

/*
 * -DREACH=R_x claims that x never happens; check.sh sees it refuted, for each
 * of the clients that the comment starts with.
 */
#define R_HIT		1	/* OLD WORDS GENERATION: a region of two users */
#define R_PUBLISH	2	/* OLD WORDS GENERATION: get() registers one */
#define R_RETIRE	3	/* OLD WORDS GENERATION: a hit is found invalid */
#define R_RETRY		4	/* OLD WORDS GENERATION: ... or what was just made */
#define R_LATE		5	/* WORDS: the page was gone when pinning ended */
#define R_PIN		6	/* WORDS: a page is pinned that is about to leave */
#define R_FAULT		7	/* WORDS: a page comes within a window */
#define R_BORN_HIT	8	/* OLD WORDS: a watch is added in flight */
#define R_DRAINED_HIT	9	/* OLD: ... or its event is read */
#define R_REARMED_HIT	10	/* WORDS GENERATION: ... or it is armed again */
#define R_STILL_ARMED	11	/* WORDS: what is to be armed again is armed */
#define R_OVERLAP	12	/* WORDS: two windows are open */
#define R_OVERFLOW	13	/* WORDS: the in-flight table is full */
#define R_PAUSE		14	/* WORDS: a watch is added while a walk pauses */
#define R_ENDED		15	/* WORDS: a watch ends that another user trusts */
#define R_SLOT		16	/* WORDS: its slot is used again meanwhile */
#define R_FULL		17	/* WORDS: the log has no room, for a moment */
#define R_DROPPED	18	/* OLD: UNREGISTER drops an event */
#define R_MOVED		19	/* GENERATION: moves while the log is read */
#ifndef REACH
#define REACH	0
#endif
#define reached(x) assert(REACH != x)
#define reached_if(x, happens) assert(REACH != x || !(happens))

/* ----------------------------------------------------------- the kernel's */

bool mapped = true;	/* does the address map a page? */

/* ------------------------------------- the module's; under S, unless said */

bool lock;		/* S, the space's */
#if REACH == R_PAUSE
bool paused;
#else
#define paused		false
#endif

/* The windows in flight that hold the address. */
byte wanted;		/* in the table, and of a class that is wanted */
byte unwanted;		/* in the table, and of another */
byte overflow;		/* the table had no room: perhaps everything */

#ifdef OVERFLOW_LOST
#define in_flight	(wanted > 0)
#else
#define in_flight	(wanted > 0 || overflow > 0)
#endif

/*
 * No counter takes a value twice.  So of a value that somebody keeps only this
 * matters: is it the counter's still?
 */
typedef Descriptor {
	bool reported;	/* OLD: the value in the last LAST */
	byte unread;	/* today: events in the log */
	bool known;	/* the client's: as of this value it knows all; under C */
	bool loaded;	/* the client's: what it has loaded; under C */
	bool locked;	/* the client's: C is held */
	byte linked;	/* the client's: in its cache; under C */
};
Descriptor fd[FDS];

/* What has become of the page that a region pinned. */
#define NO_PAGE	0
#define HERE	1	/* the address maps it */
#define LEFT	2	/* removed by the process; that call goes on */
#define GONE	3	/* that call has returned; or another process did it */

typedef Region {
	bool watched;	/* it has a cookie, or a slot */
	bool armed;	/* it is in the interval tree */
	bool pending;	/* it has an event, and that was not read */
	byte refs;	/* the client's: users', and the cache's; under C */
	bool good;	/* the client's: has read of no hit; under C */
	byte slot;	/* the client's: where its state word is */
	byte page;	/* the client's: what it pinned */
};
Region region[REGIONS];

/*
 * The state words, by slot; stored under S and loaded without.  A region's
 * index is not used again while anybody remembers the region, so it is as good
 * as a number that is never used again.
 */
byte word[REGIONS];

#ifdef RESET
#define number(r)	1
#else
#define number(r)	((r) + 1)
#endif
#define matches(r)	(word[region[r].slot] == number(r))

#if PER_FD > 2
#define count(what, f)	(region[first_of(f)].what + \
			 region[first_of(f) + 1].what + \
			 region[first_of(f) + 2].what)
#else
#define count(what, f)	(region[first_of(f)].what + \
			 region[first_of(f) + 1].what)
#endif

/* ------------------------------------------------------------------- hits */

inline mark(r)
{
#if CLIENT != OLD
	claim(ROOM, fd[fd_of(r)].unread < PER_FD);
	fd[fd_of(r)].unread++;
	region[r].armed = false;		/* spent */
#endif
#if CLIENT == WORDS
	word[region[r].slot] = 0
#else
	region[r].pending = true
#endif
}

/* The counter, or generation, moves.  Users load it without S. */
inline move(f)
{
	reached_if(R_MOVED, fd[f].loaded);
	fd[f].reported = false;
	fd[f].known = false;
	fd[f].loaded = false
}

#if CLIENT == OLD || defined(GENERATION_FIRST)
#define ONCE_A_HOLD	1
#else
#define ONCE_A_HOLD	0
#endif

/* The counter of 2010 moves once in a hold of S, for all that it hits. */
inline tell(r)
{
	if
	:: told & (1 << fd_of(r))
	:: else ->
		move(fd_of(r));
		told = told | (ONCE_A_HOLD << fd_of(r))
	fi
}

/* What is added, drained or armed again in flight is hit at once. */
inline look_in_flight(r, event)
{
	if
#ifndef NO_IN_FLIGHT
	:: in_flight -> reached(event); mark(r); move(fd_of(r))
#endif
	:: else
	fi
}

/* -------------------------------------------- who changes the page tables */

inline record(is_wanted)
{
	reached_if(R_OVERLAP, wanted + unwanted + overflow > 0);
	if
#ifdef BOOLEAN
	:: is_wanted -> wanted = 1
	:: else
#else
	:: wanted + unwanted == TABLE -> reached(R_OVERFLOW); overflow++
	:: wanted + unwanted < TABLE && is_wanted -> wanted++
	:: wanted + unwanted < TABLE && !is_wanted -> unwanted++
#endif
	fi
}

/* Of equal windows any is taken out; one that is not there had no room. */
inline forget(is_wanted)
{
	if
#ifdef BOOLEAN
	:: is_wanted -> wanted = 0
#elif defined(END_BY_RANGE)
	:: wanted > 0 -> wanted--
	:: wanted == 0 && unwanted > 0 -> unwanted--
#else
	:: is_wanted && wanted > 0 -> wanted--
	:: !is_wanted && unwanted > 0 -> unwanted--
#endif
	:: else -> overflow = (overflow > 0 -> overflow - 1 : 0)
	fi
}

/* The address maps a page no longer; or the call that did that returns. */
inline pages(from, to)
{
	d_step {
		for (k : 0 .. REGIONS - 1) {
			if
			:: region[k].page == from -> region[k].page = to
			:: else
			fi
		}
		k = 0
	}
}

inline next_armed()
{
	d_step {
		do
		:: i < REGIONS && !region[i].armed -> i++
		:: else -> break
		od
	}
}

#ifdef ONCE
#define new_hold()	skip
#else
#define new_hold()	told = 0
#endif

/*
 * A hit in the order of its stores.  Between two of them nobody gets S; what
 * users see without it matters only to those who load the generation and the
 * log.  For the others a pause shows the same, and more.
 */
#ifdef TELL_FIRST
#define STORE	tell
#define THEN	mark
#else
#define STORE	mark
#define THEN	tell
#endif
#if CLIENT == GENERATION
#define SEEN	}; atomic {
#else
#define SEEN
#endif

/*
 * One window after the other; those of the other task overlap them.  What is
 * of a class that is not wanted takes no page away.
 */
inline task(foreign)
{
	skip;			/* as no inline may begin with a label */
idle:
	if
	:: goto START
	:: atomic { !mapped -> mapped = true; goto idle }
	:: goto leave		/* so that a thread stuck for ever shows */
	fi;

START:	/* invalidate_range_start() */
	atomic {
#ifdef TRYLOCK
		if
		:: lock -> w = true; goto window	/* a worker hits, later */
		:: else
		fi;
#endif
		!lock -> lock = true;
		if
		:: w = true
		:: foreign
		fi;
#ifndef TABLE_LAST
		record(w);
#endif
#ifndef LATE
		if
		:: w -> goto walk
		:: else
		fi;
#endif
#ifdef TABLE_LAST
		record(w);
#endif
		lock = false;
		goto window
	};

RESUME:
	atomic {
		!lock -> lock = true;
#if REACH == R_PAUSE
		paused = false;
#endif
walk:		/* S is held; on to the next watch in the tree */
		next_armed();
		if
		:: i == REGIONS -> goto walked
		:: else
		fi;
HIT:
		assert(region[i].armed);
		STORE(i); SEEN
		THEN(i); SEEN
		i++;
		if
		:: goto walk
		:: lock = false		/* a long walk pauses */
		fi;
#if REACH == R_PAUSE
		paused = true;
#endif
		new_hold()
	};
	goto RESUME;

walked:	/* S is held */
	atomic {
		told = 0;
		i = 0;
#ifdef LATE
		goto ended;
#elif defined(TABLE_LAST)
		record(w);
#endif
		lock = false
	};

window:	/* the page goes, and if another comes that goes too; or not at all */
	if
	:: atomic {
		w && mapped ->
CHANGE:		mapped = false;
		if
		:: foreign -> pages(HERE, GONE)
		:: else -> pages(HERE, LEFT)
		fi;
		goto window
	   }
	:: goto END
	fi;

END:	/* invalidate_range_end(); then the call returns */
	atomic {
		!lock -> lock = true;
#ifdef LATE
		if
		:: w -> goto walk
		:: else
		fi;
ended:
#endif
		forget(w);
		lock = false;
		w = false;
		if
		:: foreign
		:: else -> pages(LEFT, GONE)
		fi;
		goto idle
	};

leave:	skip
}

/*
 * w     its window is of a wanted class
 * i     where its walk is
 * told  whose counter has moved in this hold of S
 */
proctype unmapper() { bool w; byte i, told, k; task(false) }
proctype foreign()  { bool w; byte i, told, k; task(true) }

#ifdef TRYLOCK
/* Threads that watch and unwatch elsewhere. */
proctype hammer()
{
LOCK:
	if
	:: atomic { !lock -> lock = true }
	:: goto leave
	fi;
UNLOCK:
	lock = false;
	goto LOCK;

leave:	skip
}
#endif

/* ------------------------------------------------------------------ users */

#if CLIENT == WORDS
#define known(f)	true
#define valid(r)	matches(r)
#else
#define known(f)	fd[f].known
#define valid(r)	(fd[f].known && region[r].good)
#endif

/* Nothing is armed before the log has room for its event; C is held. */
inline make_room()
{
	if
#ifndef ARM_ANYWAY
	:: count(armed, f) + fd[f].unread >= PER_FD ->
		reached(R_FULL);
		read_log()
#endif
	:: else
	fi
}

inline read_log()
{
	d_step {
		for (k : first_of(f) .. first_of(f) + PER_FD - 1) {
			if
			:: region[k].pending ->
				region[k].pending = false;
				region[k].good = false
			:: else
			fi
		}
		k = 0;
		fd[f].unread = 0
	}
}

inline arm(r)
{
	region[r].watched = true;
	region[r].armed = true;
	region[r].good = true;
#if CLIENT == WORDS
	word[region[r].slot] = number(r)
#endif
}

inline new_region()
{
	r = first_of(f);
	do
	:: region[r].refs > 0 -> r++
	:: else -> break
	od;
	assert(fd_of(r) == f);
	region[r].refs = 1
}

inline drop_region()
{
	region[r].refs--;
	if
	:: region[r].refs == 0 ->
		assert(!region[r].watched && fd[f].linked != r);
		region[r].page = NO_PAGE;
		region[r].slot = 0
	:: else
	fi;
	r = NONE
}

/* The lowest slot that no watch has. */
inline find_slot()
{
	d_step {
		for (k : first_of(f) .. first_of(f) + PER_FD - 1) {
			if
			:: region[k].watched ->
				taken = taken | (1 << region[k].slot)
			:: else
			fi
		}
		k = first_of(f);
		do
		:: taken & (1 << k) -> k++
		:: else -> break
		od;
		region[r].slot = k;
		for (k : first_of(f) .. first_of(f) + PER_FD - 1) {
			reached_if(R_SLOT, k != r && region[k].page != NO_PAGE &&
				   region[k].slot == region[r].slot)
		}
		k = 0;
		taken = 0
	}
}

/* The same slot under another number; others may remember the old one. */
inline arm_anew()
{
	k = region[r].slot;
	region[r].watched = false;
	region[r].pending = false;
	region[r].good = false;
	drop_region();
	new_region();
	region[r].slot = k;
	k = 0;
	arm(r)
}

proctype user(byte f)
{
	byte r = NONE;		/* in hand; this thread has a reference */
	bool fresh;		/* r was made, not found */
	bool late;		/* only for G2: its page was gone when it came */
	byte taken;
	byte k;

idle:
	if
	:: goto LOOKUP
	:: atomic {
		!fd[f].locked && fd[f].linked != NONE ->
		r = fd[f].linked;		/* evict it, hit or not */
		fd[f].linked = NONE;
		goto UNWATCH
	   }
	:: goto leave
	fi;

LOOKUP:	/* under C */
	atomic {
		!fd[f].locked ->
		if
		:: fd[f].linked != NONE ->
			r = fd[f].linked;
			region[r].refs++;
			goto CHECK
		:: else ->
			new_region();
			fresh = true
		fi
	};

WATCH:	/* the call; under C, as it makes room and what it makes is good */
	atomic {
		!lock && !fd[f].locked ->
		make_room();
#if CLIENT == WORDS
		find_slot();
#endif
		arm(r);
		look_in_flight(r, R_BORN_HIT);
		reached_if(R_PAUSE, paused)
	};
#ifdef VALIDATE_FIRST
	goto CHECK;
#endif

PIN:	/* without mmap_lock: in GUP-fast, its second look at the entry */
	atomic {
		if
		:: mapped -> reached_if(R_PIN, in_flight)
		:: !mapped ->			/* a page fault */
			reached_if(R_FAULT, in_flight);
			mapped = true
		:: !mapped -> goto RETIRE	/* nothing to pin */
		fi;
		region[r].page = HERE
	};
PIN_END:	/* the pinner returns, possibly much later */
	atomic {
		late = (region[r].page == GONE);
		reached_if(R_LATE, late)
	};
#if defined(VALIDATE_FIRST) || defined(NO_VALIDATION)
	goto PUBLISH;
#endif

CHECK:	/* one load, of the state word; or, under C, of the counter */
	atomic {
		!fd[f].locked ->
		if
		:: valid(r) ->
			claim(G1, region[r].page != GONE);
			claim(CHANGED, region[r].page == HERE);
			reached_if(R_HIT, region[r].refs > 2)
		:: !known(f) -> goto DRAIN
		:: known(f) && !valid(r) ->
			if
			:: fresh -> reached(R_RETRY)
			:: else -> reached(R_RETIRE)
			fi;
			goto RETIRE
		fi;
		if
		:: !fresh -> goto USE
		:: else
		fi
	};
#ifdef VALIDATE_FIRST
	goto PIN;
#endif

PUBLISH:	/* under C; if another user was faster, it is not needed */
	atomic {
		!fd[f].locked ->
		claim(G2, !late);
		reached(R_PUBLISH);
		late = false;
		fresh = false;
		if
		:: fd[f].linked != NONE -> goto UNWATCH
		:: else ->
			fd[f].linked = r;
			region[r].refs++
		fi
	};
	goto USE;

USE:	/* for a while, and look again now and then whether it is valid */
	if
	:: goto CHECK
	:: atomic { !fd[f].locked -> drop_region(); goto idle }
	fi;

#if CLIENT == OLD
DRAIN:	/* one read(), of one event or of LAST; under C */
	atomic {
		!lock ->
		if
		:: region[first_of(f)].pending -> k = first_of(f)
		:: region[first_of(f) + 1].pending -> k = first_of(f) + 1
#if PER_FD > 2
		:: region[first_of(f) + 2].pending -> k = first_of(f) + 2
#endif
		:: else -> k = NONE
		fi;
		if
		:: k == NONE && fd[f].reported ->
			claim(LAST, fd[f].known)	/* EAGAIN */
		:: k != NONE ->
EVENT:			region[k].pending = false;
			region[k].good = false;
#ifndef ONLY_ADDED
			look_in_flight(k, R_DRAINED_HIT)
#endif
		:: k == NONE && !fd[f].reported ->
LAST_READ:		fd[f].reported = true;
			fd[f].known = true
		fi;
		k = 0;
		goto CHECK
	};
#elif CLIENT == GENERATION
DRAIN:	/* load the generation, then read the log to its end; under C */
	atomic {
		!fd[f].locked -> fd[f].locked = true;
#ifdef LOAD_LATE
		read_log()
	};
	atomic {
		fd[f].known = true;
#else
		fd[f].loaded = true
	};
	atomic {
		read_log();
		fd[f].known = fd[f].loaded;
		fd[f].loaded = false;
#endif
		fd[f].locked = false;
		goto CHECK
	};
#else
DRAIN:	assert(false);		/* who has a state word need not drain */
#endif

RETIRE:	/* under C: out of lookup; who does that arms it again, or ends it */
	atomic {
		!fd[f].locked ->
		late = false;
		if
		:: fd[f].linked == r ->
			fd[f].linked = NONE;
			region[r].refs--
		:: fd[f].linked != r && !fresh ->
			drop_region();
			goto idle
		:: fresh
		fi;
		fresh = false;
		if
		:: goto UNWATCH
		:: CLIENT != OLD || region[r].refs == 1
		fi
	};

REARM:
	atomic {
		!lock && !fd[f].locked ->
#if CLIENT == OLD
		region[r].page = NO_PAGE;	/* unpinned */
		region[r].good = true;		/* no call: it stays armed */
#else
		if
		:: region[r].armed -> reached(R_STILL_ARMED)
		:: else ->
			make_room();
			arm_anew();
#ifndef ONLY_ADDED
			look_in_flight(r, R_REARMED_HIT)
#endif
		fi;
#endif
		fresh = true;
		goto PIN
	};

UNWATCH:
	atomic {
		!lock && !fd[f].locked ->
		reached_if(R_DROPPED, region[r].pending);
		reached_if(R_ENDED, region[r].refs > 1 && region[r].armed);
#if CLIENT == WORDS && !defined(WORD_STAYS)
		word[region[r].slot] = 0;
#endif
		region[r].watched = false;
		region[r].armed = false;
		region[r].pending = false;
		region[r].good = false;
#ifdef NO_LAST
		if
		:: count(pending, f) == 0 -> fd[f].reported = true
		:: else
		fi;
#endif
		drop_region();
		fresh = false;
		goto idle
	};

leave:	skip
}

init {
	byte i;

	atomic {
		for (i : 0 .. FDS - 1) {
			fd[i].linked = NONE;
#if CLIENT != WORDS
			fd[i].reported = true;
			fd[i].known = true
#endif
		}
		for (i : 0 .. USERS - 1) { run user(i % FDS) }
		if
		:: OWN -> run unmapper()
		:: else
		fi;
		if
		:: FOREIGN -> run foreign()
		:: else
		fi;
#ifdef TRYLOCK
		run hammer();
#endif
		i = 0
	}
}
