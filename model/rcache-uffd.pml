/* SPDX-License-Identifier: MIT */
/*
 * rcache-uffd.pml - the protocol by which the registration cache, the uffd
 * backend and the kernel's userfaultfd together keep G1 and G2 (DESIGN.md,
 * section 4), for one address and any number of rounds.
 *
 * model/README.md says what is left out, and why that is safe; model/check.sh
 * runs it.  Labels in capitals are the names that comments in the C code use
 * ("model: PROBE").  A statement, or an atomic block, is one step: one memory
 * access, the effect of one system call, or a critical section of which only
 * one such effect can be seen without its lock.
 *
 * Sizes:    OWNERS   threads that map the address, use it, unmap it, again
 *           RUDES    threads that call get() on an address that is not theirs
 *           MADVISE  owners also give the page back with madvise()
 *           CLAIMS   which of the claims below to assert; all
 * Variants: every other #ifdef breaks one rule.
 */

#ifndef OWNERS
#define OWNERS	2
#endif
#ifndef RUDES
#define RUDES	1
#endif
#define USERS	(OWNERS + RUDES)
#define REGIONS	(USERS + 1)	/* one in each user's hands, one in the cache */
#define NONE	REGIONS		/* where an index stands: no region */
#define bit_of(user) (1 << (user))

/* What is claimed of a region that get() returns. */
#define G1	1	/* its page was not gone when the get() began */
#define WON	2	/* who mapped the address gets the page mapped there */
#define G2	4	/* its page was not gone when its pinner returned */
#define REAPED	8	/* once invalid, the cache's next call hears of it */
#ifndef CLAIMS
#define CLAIMS	(G1 | WON | G2 | REAPED)
#endif
#define claim(which, holds) assert(!(CLAIMS & which) || (holds))

/* -DREACH=R_x claims that x never happens; check.sh sees it refuted. */
#define R_HIT		1	/* get() returns a region of the cache */
#define R_PUBLISH	2	/* get() returns a region that it registered */
#define R_EAGAIN	3	/* a probe sees an operation in flight */
#define R_DRAIN		4	/* a lookup, not the reader, drains an event */
#define R_RECHECK	5	/* a drain began between the probe and the recheck */
#define R_UNSETTLED	6	/* the bound on probes is reached */
#define R_RETIRE	7	/* a hit is found invalid and leaves the cache */
#define R_RETRY		8	/* a registration is found invalid after its pin */
#define R_STALE		9	/* ... or marked so by another thread's REAP */
#define R_REAP		10	/* an idle region is unpinned by REAP */
#define R_WAIT		11	/* another thread is registering the range */
#define R_LOST		12	/* ... or has just done so */
#define R_UNMAPPED	13	/* the range is gone when it is to be watched */
#define R_LATE		14	/* the page was gone when the pinner returned */
#define R_IN_USE	15	/* a region that another thread uses is retired */
#define R_WON		16	/* an address is mapped anew before its event */
#define R_GIVE_UP	17	/* what was found is retired before it is held */
#define R_LAST_PUT	18	/* a retired region is released by a put */
#define R_RESTORE	19	/* what was to be evicted is in use after all */
#define R_OTHER		20	/* what was found is another region by now */
#ifndef REACH
#define REACH	0
#endif
#define reached(x) assert(REACH != x)

/* ----------------------------------------------------------- the kernel's */

bool mapped;		/* is something mapped at the address, */
bool registered;	/* ... and registered with userfaultfd? */
bool mm_locked;		/* mmap_lock is held for writing */
byte changing;		/* ctx->mmap_changing: operations in flight */
byte unread;		/* whose events are queued, a bit for each user */

/* ---------------------------------------------------------- the monitor's */

bool lock;		/* L: the watch tree; reading an event and storing it */
bool seq;		/* lowest bit of the count; odd: between read and store */

/* ------------------------------------------------------------ the cache's */

/*
 * What has become of the page that a region pinned.  A page is known only by
 * whether the address maps it now: that is all the guarantee speaks of.
 */
#define NO_PAGE	0
#define HERE	1	/* the address maps it */
#define GONE	2	/* it was removed, and that call has returned */
#define LEFT	3	/* LEFT + t: removed by user t, whose call goes on */

typedef Region {
	bool used;	/* it exists; the C code calls malloc */
	byte refs;	/* holds: in slots of lanes, or of the region */
	bool retired;	/* in no lookup any more, and not yet released; under C */
	bool watched;	/* its watch is in the tree; under L */
	bool valid;	/* the watch's state word; written under L */
	bool news;	/* hit, and the cache has not read the event; under L */
	bool stale;	/* the cache has read it; under C */
	byte page;	/* what it pinned */
	byte too_old;	/* only for G1: users whose get() began with it GONE */
};
Region region[REGIONS];

/* The cache holds one region at most for the one address; under lock C. */
#define EMPTY	0
#define PENDING	1	/* somebody is registering it */
#define LIVE	2	/* lookups find it */
byte linked = NONE;
byte stage = EMPTY;
bool counting;		/* C is held from R1 to R3: holds are being counted */

inline unlink() { linked = NONE; stage = EMPTY }

/* The address stops to map the page it maps, whoever has pinned it. */
inline page_leaves(what)
{
	for (i : 0 .. REGIONS - 1) {
		if
		:: region[i].page == HERE -> region[i].page = what
		:: else
		fi
	}
	i = 0
}

/* ------------------------------------------------------------------ drain */

/*
 * Read what is queued and store its effect.  Done by the reader thread when
 * the descriptor is readable, and by a lookup whose probe says EAGAIN.  The
 * read lets the unmapping thread run on and make the probe quiet, so seq is
 * odd until the effect is stored.
 */
inline drain()
{
#ifdef READ_OUTSIDE_LOCK
/* DRAIN_READ: */
	d_step { got = (unread != 0); unread = 0 };
/* DRAIN_LOCK: */
	atomic { !lock -> lock = true; seq = 1 };
#else
/* DRAIN_LOCK: (a comment, as no inline may begin with a label) */
	atomic { !lock -> lock = true; seq = 1 };
DRAIN_READ:
	d_step { got = (unread != 0); unread = 0 };
#endif
DRAIN_STORE:
	d_step {
		for (i : 0 .. REGIONS - 1) {
			if
			:: got && region[i].watched && region[i].valid ->
				region[i].valid = false;
				region[i].news = true
			:: else
			fi
		}
		i = 0;
		got = false
	};
DRAIN_UNLOCK:
	d_step { seq = 0; lock = false }
}

active proctype reader()
{
	byte i;
	bool got;

end:	do
	:: unread != 0 -> drain()
	od
}

/* ------------------------------------------------------------------ users */

/* A correct program: nobody is in get() while the page is given back. */
#ifdef RUDE_MADVISE
#define MADVISE
#else
#ifdef MADVISE
#define APART
bool giving;
byte getting;
#endif
#endif

inline page_given_back()
{
	d_step {
		page_leaves(GONE);
#ifdef APART
		giving = false
#endif
	}
}

/* GET: */
inline get_begins()
{
	d_step {
		for (i : 0 .. REGIONS - 1) {
			if
			:: region[i].page == GONE ->
				region[i].too_old =
					region[i].too_old | bit_of(me)
			:: else
			fi
		}
		i = 0
	}
}

/* its end: */
inline get_returns()
{
	d_step {
		for (i : 0 .. REGIONS - 1) {
			region[i].too_old = region[i].too_old & ~bit_of(me)
		}
		i = 0;
#ifdef APART
		getting--
#endif
	}
}

proctype user(byte me; bool rude)
{
	byte r = NONE;	/* the region in hand; this thread has a reference */
	bool owns;	/* what is mapped is this thread's */
	bool told;	/* its removal makes an event */
	bool hit;	/* r was found, not made */
	bool held;	/* get() has returned r */
	bool late;	/* only for G2: r's page was gone when it came */
	bool got;
	byte i;

idle:
	if
	:: !owns && !rude -> goto MMAP
	:: owns -> goto UNMAP_RAISE
#ifdef APART
	:: atomic { owns && getting == 0 -> giving = true; goto MADV_RAISE }
	:: atomic { owns || rude && !giving -> getting++; goto GET }
#else
#ifdef MADVISE
	:: owns -> goto MADV_RAISE
#endif
	:: owns || rude -> goto GET
#endif
	:: !owns -> goto leave	/* so that a thread stuck for ever shows */
	fi;

MMAP:	/* of this address, as soon as it is free; touch it */
	atomic {
		!mapped && !mm_locked ->
		mapped = true;			/* a new VMA, not registered */
		owns = true;
		if
		:: changing > 0 -> reached(R_WON)
		:: else
		fi;
		goto idle
	};

	/* ------------- munmap(), mremap() away, mmap(MAP_FIXED) over it */

UNMAP_RAISE:
	atomic {
		!mm_locked -> mm_locked = true;
		told = registered;
		changing = changing + told
	};
UNMAP_ZAP:	/* after this another thread may win the address */
	atomic {
		d_step { page_leaves(LEFT + me) };
		registered = false;
		mm_locked = false;
		if
		:: mapped = false; owns = false
		:: skip				/* MAP_FIXED: still ours */
		fi
	};
	if
	:: !told
	:: told ->
UNMAP_EVENT:	unread = unread | bit_of(me)
	fi;
UNMAP_RETURN:	/* the event was read, and this thread runs again */
	atomic {
		!(unread & bit_of(me)) ->
		changing = changing - told;
		told = false;
		d_step {
			for (i : 0 .. REGIONS - 1) {
				if
				:: region[i].page == LEFT + me ->
					region[i].page = GONE
				:: else
				fi
			}
			i = 0
		};
		goto idle
	};

#ifdef MADVISE
	/* ------- madvise(MADV_DONTNEED): the event before the page goes */

MADV_RAISE:
	atomic {
		!mm_locked ->
		if
		:: registered -> changing++
		:: else -> page_given_back(); goto idle	/* mmap_lock held */
		fi
	};
MADV_EVENT:	/* without mmap_lock: the page can be registered again */
	unread = unread | bit_of(me);
MADV_LOWER:
	atomic { !(unread & bit_of(me)) -> changing-- };
MADV_ZAP:	/* until here the probe is quiet, and the page there */
	atomic { !mm_locked -> page_given_back(); goto idle };
#endif

	/* ---------------------------------------------------------- get() */

GET:
	atomic { get_begins() };
again:
	if
	:: skip
	:: goto REAP
	:: atomic {
		stage == LIVE && !counting ->
		r = linked;
		unlink();			/* evict it, valid or not */
		region[r].retired = true;
		counting = true;
		goto RESTORE
	   }
	fi;
	goto LOOKUP;

REAP:	/* under C: read the events, unlink the region if it was hit */
	atomic {
		!lock && !counting ->
		d_step {
			for (i : 0 .. REGIONS - 1) {
				if
				:: region[i].news ->
					region[i].news = false;
					region[i].stale = true
				:: else
				fi
			}
			i = 0
		};
		if
		:: stage == LIVE && region[linked].stale ->
			reached(R_REAP);
			r = linked;
			unlink();		/* R1 */
			region[r].retired = true;
			counting = true
		:: else -> goto LOOKUP
		fi
	};
COUNT:	/* R3, still under C */
	atomic {
		counting = false;
		if
		:: region[r].refs == 0 ->
			region[r].retired = false;
			goto UNPIN
		:: else -> r = NONE		/* the last put releases it */
		fi
	};

LOOKUP:	/* without C; or take an unused region */
	atomic {
		if
		:: stage == LIVE ->
			r = linked;
			hit = true
		:: else ->
			r = 0;
			do
			:: region[r].used -> r++
			:: else -> break
			od;
			region[r].used = true;
			region[r].refs++	/* someone may give it up yet */
		fi
	};
	if
	:: hit ->
		goto HOLD
	:: else
	fi;
#ifdef WATCH_AFTER_PIN
	goto INSERT;
#endif

WATCH:	/* under L: into the tree first, so that an event finds it */
	atomic {
		!lock -> lock = true;
		region[r].watched = true;
		region[r].valid = true;
		region[r].news = false
	};
REGISTER:	/* still under L; always, even if another watch is there */
	atomic {
		!mm_locked -> lock = false;
		if
		:: !mapped ->
			reached(R_UNMAPPED);
			region[r].watched = false;
			goto RETIRE
		:: else
		fi;
#ifdef SKIP_REGISTER
		d_step {
			for (i : 0 .. REGIONS - 1) {
				got = got || i != r && region[i].watched
			}
			i = 0
		};
#endif
		registered = registered || !got;
		got = false
	};
#ifdef WATCH_AFTER_PIN
	goto VALIDATE;
#endif

INSERT:	/* under C; unless another thread's is there: look again */
	atomic {
		!counting ->
		if
		:: stage == EMPTY ->
			linked = r;
			stage = PENDING
		:: stage == PENDING -> reached(R_WAIT); goto RETIRE
		:: stage == LIVE -> reached(R_LOST); goto RETIRE
		fi
	};
PIN:	/* without mmap_lock: GUP-fast may run beside an unmap */
	atomic {
		if
		:: mapped -> region[r].page = HERE
		:: else -> goto RETIRE
		fi
	};
PIN_END:	/* the pinner returns, possibly much later */
	atomic {
		late = (region[r].page == GONE);
		if
		:: late -> reached(R_LATE)
		:: else
		fi
	};
#ifdef WATCH_AFTER_PIN
	goto WATCH;
#endif
#ifdef NO_VALIDATION
	goto PUBLISH;
#endif

VALIDATE:	/* of a hit, and of what was just pinned */
#ifdef NO_PROBE
	goto STATE;
#endif
SETTLE:	/* s = seq; while it is odd, wait for the holder of L */
#ifndef NO_FIRST_SEQ
	seq == 0;
#endif
PROBE:
	if
	:: changing == 0			/* quiet */
	:: atomic {
		changing != 0 ->		/* EAGAIN */
		reached(R_EAGAIN);
		if
		:: unread != 0 -> reached(R_DRAIN); goto DRAIN
		:: goto SETTLE			/* sched_yield() */
		:: reached(R_UNSETTLED);	/* no more: not a hit */
			if
			:: hit -> goto DROP	/* it may be valid */
			:: else -> goto RETIRE
			fi
#ifdef TRUST_EMPTY_QUEUE
		:: unread == 0
#endif
		fi
	   }
	fi;
#ifndef NO_SEQ
RECHECK:
	if
	:: seq == 0				/* still s: settled */
	:: atomic { seq == 1 -> reached(R_RECHECK); goto SETTLE }
	fi;
#endif
STATE:	/* load the state word */
	if
	:: region[r].valid
	:: atomic {
		!region[r].valid ->
		if
		:: hit -> reached(R_RETIRE)
		:: else -> reached(R_RETRY)
		fi;
		goto RETIRE
	   }
	fi;
	if
	:: hit -> goto RETURN
	:: else
	fi;

PUBLISH:	/* under C */
	atomic {
		!counting ->
		assert(linked == r);
#ifndef IGNORE_STALE
		if
		:: region[r].stale -> reached(R_STALE); goto RETIRE
		:: else
		fi;
#endif
		stage = LIVE;
		claim(REAPED, region[r].valid || region[r].news)
	};

RETURN:
	atomic {
		assert(region[r].used && region[r].page != NO_PAGE);
		claim(G1, !(region[r].too_old & bit_of(me)));
		claim(WON, !owns || region[r].page == HERE);
		claim(G2, !late);
		if
		:: hit -> reached(R_HIT)
		:: else -> reached(R_PUBLISH)
		fi;
		held = true;
		get_returns()
	};
	/* The caller uses r, then calls put(). */
	goto DROP;

DRAIN:
	drain();
	goto SETTLE;

	/* ------------------------------ what find() and evict do in steps */

HOLD:	/* H1: r may be retired by now, or be another region */
	atomic {
		if
		:: linked != r -> reached(R_OTHER)
		:: else
		fi;
		region[r].refs++
	};
CONFIRM:	/* H2: is it live?  Then it is held */
	if
	:: linked == r && stage == LIVE -> goto VALIDATE
	:: atomic {
		!(linked == r && stage == LIVE) ->
		reached(R_GIVE_UP);
		goto DROP
	   }
	fi;

RESTORE:	/* R3, still under C */
	atomic {
		counting = false;
		region[r].retired = false;
		if
		:: region[r].refs == 0 -> goto UNPIN
		:: else ->
			reached(R_RESTORE);
			linked = r;
			stage = LIVE;
			r = NONE;
			goto LOOKUP
		fi
	};

	/* --------------------------------- the ways out of get(); and put() */

RETIRE:	/* under C: out of lookup, if it is still there; r is held */
	atomic {
		!counting ->
		if
		:: linked == r ->
			unlink();
			region[r].retired = true;
			if
			:: hit && region[r].refs > 1 -> reached(R_IN_USE)
			:: else
			fi
		:: linked != r && !hit -> region[r].retired = true
		:: else
		fi
	};
DROP:	/* put() is this and, for the last one of a retired region, the rest */
	region[r].refs--;			/* P1 */
	if
	:: !region[r].retired -> goto done	/* P2 */
	:: else
	fi;
LAST_PUT:	/* P3, under C */
	atomic {
		!counting ->
		if
		:: region[r].retired && region[r].refs == 0 ->
			assert(linked != r);
			region[r].retired = false;
			reached(R_LAST_PUT)
		:: else -> goto done
		fi
	};
UNPIN:	/* no lock held */
	atomic { d_step { region[r].page = NO_PAGE; region[r].too_old = 0 } };
UNWATCH:	/* under L; the last one may unregister, under L too */
	atomic {
		!lock && !mm_locked ->
		d_step {
			got = !region[r].watched;
			region[r].watched = false;
			region[r].valid = false;
			region[r].news = false;
			region[r].stale = false;
			region[r].used = false;
			for (i : 0 .. REGIONS - 1) {
				got = got || region[i].watched && region[i].valid
			}
			i = 0
		};
#ifdef LATE_UNREGISTER
	};
	atomic {
		!mm_locked ->
#endif
		if
		:: !got -> registered = false	/* UFFDIO_UNREGISTER */
		:: skip				/* or leave it registered */
		fi;
		got = false
	};
done:
	atomic {
		r = NONE;
		hit = false;
		late = false;
		if
		:: !held -> goto again		/* a bounded retry */
		:: !held -> get_returns()	/* -EAGAIN, or uncached */
		:: held -> held = false		/* put() is done */
		fi;
		goto idle
	};

leave:	skip
}

init {
	byte i;

	atomic {
		for (i : 0 .. USERS - 1) {
			run user(i, i >= OWNERS)
		}
		i = 0
	}
}
