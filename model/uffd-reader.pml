/* SPDX-License-Identifier: MIT */
/*
 * uffd-reader.pml - when a range stops to be reported, and when the thread that
 * reads the reports may end: the part of the uffd backend that must not let an
 * unmapping thread wait for a reader for ever.
 *
 * model/README.md says what is left out, and why that is safe; model/check.sh
 * runs it.  Labels in capitals are the names that comments in the C code use.
 * What the kernel does with mmap_lock held is one step, and so is a drain: that
 * lookups take it for one is what rcache-uffd.pml shows.
 *
 * Sizes:    WATCHERS  threads that watch, end the watch, give ranges up; 1 or 2
 *           RELEASERS threads that only give ranges up
 *           APPS      threads that map, unmap and move memory
 *           CLAIMS    which of the claims below to assert; all
 * Variants: every other #ifdef breaks one rule.
 */

#ifndef WATCHERS
#define WATCHERS 1
#endif
#ifndef RELEASERS
#define RELEASERS 1
#endif
#define USERS	(WATCHERS + RELEASERS)
#ifndef APPS
#define APPS	1
#endif

/* A place is a range of addresses.  A set of places is a bit mask. */
#define PLACES	2
#define EVERYWHERE 3
#define NOWHERE	0

/* What is claimed. */
#define G1	1	/* a call that removed a watched page and returned ended the watch */
#define HANG	2	/* where an event is queued there is a reader */
#ifndef CLAIMS
#define CLAIMS	(G1 | HANG)
#endif
#define claim(which, holds) assert(!(CLAIMS & which) || (holds))

/* -DREACH=R_x claims that x never happens; check.sh sees it refuted. */
#define R_WAITS		1	/* a watch waits for a range that is leaving */
#define R_CANCELS	2	/* a watch cancels an ending */
#define R_ENDS		3	/* the reader ends */
#define R_STARTS	4	/* another reader is started */
#define R_SWEPT		5	/* a sweep finds what the ledger does not name */
#define R_IN_FLIGHT	6	/* a sweep found nothing, but the probe says EAGAIN */
#define R_READ		7	/* ... or an event was read meanwhile */
#define R_LEAVING	8	/* ... or another thread is unregistering */
#define R_LEDGER	9	/* ... or its unregistering has failed */
#define R_ANEW		10	/* what leaves was mapped anew: LEAVE registers it */
#define R_REMAINDER	11	/* a spent watch leaves a registered remainder */
#define R_HOLE		12	/* a part of what is to be watched is not mapped */
#ifndef REACH
#define REACH	0
#endif
#define reached(x) assert(REACH != x)

/* ----------------------------------------------------------- the kernel's */

byte mapped = EVERYWHERE;
byte registered;	/* with our userfaultfd */
byte changing;		/* ctx->mmap_changing: operations in flight */
byte unread;		/* whose events are queued, a bit for each app */
byte named[APPS];	/* the places that an app's event names */

/* ---------------------------------------------- the monitor's; all under L */

#define IDLE	0	/* there is no reader, and nothing is registered */
#define RUNNING	1
#define ENDING	2	/* the reader looks for what is still registered */

bool lock;		/* L */
byte state = IDLE;
byte ledger;		/* what we have registered and not unregistered */
byte leaving;		/* what is being unregistered, without L */
bool event_read;	/* since the sweep began */
bool starting;		/* one starter at a time; not under L */

typedef Watch {
	byte range;
	bool live;	/* armed and not spent */
	byte pinned;	/* its pages that are still there */
	byte left;	/* by whom the others were removed */
};
Watch watch[WATCHERS];

#define over(user, places) \
	(watch[user].live && (watch[user].range & (places)) != 0)
#if WATCHERS == 1
#define live(places) over(0, places)
#else
#define live(places) (over(0, places) || over(1, places))
#endif

/* ------------------------------------------------------------------ drain */

/* By the reader, and by lookups whose probe says EAGAIN. */
inline drain()
{
	d_step {
		for (j : 0 .. APPS - 1) {
			for (i : 0 .. WATCHERS - 1) {
				if
				:: (unread & (1 << j)) &&
				   (watch[i].range & named[j]) ->
					watch[i].live = false;
					watch[i].pinned = NOWHERE;
					watch[i].left = 0
				:: else
				fi
			}
			if
			:: unread & (1 << j) -> named[j] = NOWHERE
			:: else
			fi
		}
		i = 0;
		j = 0;
		unread = 0;
		event_read = true
	}
}

/* --------------------------------------------------------- a range leaves */

/*
 * UFFDIO_REGISTER, without L, to see that the place is ours and not another
 * userfaultfd's.  It may be neither by now.
 */
inline register_again()
{
	atomic {
		if
		:: (mapped & place) && !(registered & place) ->
			reached(R_ANEW);
			registered = registered | place
		:: else
		fi
	}
}

/* UFFDIO_UNREGISTER may fail: too many mappings, or an alien one there. */
inline unregister()
{
	atomic {
		if
		:: registered = registered & ~place
		:: failed = true
		fi
	}
}

inline note_leaving()
{
	ledger = ledger & ~place;
#ifndef NO_LEAVING
	leaving = place
#endif
}

inline leaving_ends()
{
	leaving = NOWHERE;
	if
	:: failed -> ledger = ledger | place; failed = false
	:: else
	fi
}

/* ----------------------------------------------------------------- reader */

active proctype reader()
{
	byte place = NOWHERE;
	bool sweeping;
	bool found;	/* this sweep has found something registered */
	bool failed;
	byte i, j;

end:	do
	:: atomic { state != IDLE && unread != 0 && !lock -> drain() }
	:: atomic {
		state == RUNNING && ledger != NOWHERE ->
		if
		:: (ledger & 1) -> place = 1
		:: (ledger & 2) -> place = 2
		fi;
		goto LEAVE_BEGIN
	   }
	:: atomic {
/* END_DECIDE: under L (a comment, as no option may begin with a label) */
		state == RUNNING && !lock && ledger == NOWHERE &&
		!live(EVERYWHERE) ->
		state = ENDING;
		event_read = false;
#ifdef NO_SWEEP
		goto END_COMMIT;
#endif
		sweeping = true;
		place = 1;
		goto SWEEP
	   }
	od;

SWEEP:	/* the next mapping; without L */
	atomic {
		if
		:: place > EVERYWHERE ->
			sweeping = false;
			place = NOWHERE;
			goto END_COMMIT
		:: else
		fi;
		if
		:: registered & place ->
			found = true;
			if
			:: state == ENDING && !(ledger & place) ->
				reached(R_SWEPT)
			:: else
			fi
		:: else -> place = place << 1; goto SWEEP
		fi
	};

LEAVE_BEGIN:	/* under L; one at a time, and nobody waits for the slot */
	atomic {
		!lock ->
		if
		:: live(place) || leaving -> goto next
		:: else -> note_leaving()
		fi
	};
	register_again();
	unregister();
LEAVE_END:
	atomic {
		!lock -> leaving_ends();
next:		if
		:: sweeping -> place = place << 1; goto SWEEP
		:: else -> place = NOWHERE; goto end
		fi
	};

END_COMMIT:
	atomic {
		!lock -> lock = true;
#ifndef END_UNCHECKED
		if
		:: state != ENDING -> goto go_on	/* a watch was armed */
		:: else
		fi;
#endif
#ifdef END_LIVE_ONLY
		if
		:: live(EVERYWHERE) -> goto go_on
		:: else
		fi;
#endif
		if
		:: found -> goto go_on
		:: else
		fi;
#ifndef END_WHILE_LEAVING
		if
		:: leaving -> reached(R_LEAVING); goto go_on
		:: else
		fi;
#endif
#if !defined END_NO_LEDGER && !defined END_UNCHECKED && \
    !defined END_LIVE_ONLY
		if
		:: ledger -> reached(R_LEDGER); goto go_on
		:: else
		fi;
#endif
#ifndef END_NO_EVENTS
		if
		:: event_read -> reached(R_READ); goto go_on
		:: else
		fi
#endif
	};
#ifndef END_NO_PROBE
PROBE:	/* still under L */
	atomic {
		if
		:: changing != 0 -> reached(R_IN_FLIGHT); goto go_on
		:: else
		fi
	};
#endif
	atomic {
		reached(R_ENDS);
		state = IDLE;
		claim(HANG, unread == 0);
		lock = false;
		found = false;
		goto end
	};
go_on:
	atomic {
		state = RUNNING;
		lock = false;
		found = false;
		goto end
	}
}

/* ------------------------------------------------------------------ users */

proctype user(byte me; bool watches)
{
	byte place = NOWHERE;
	bool failed;
	byte i, j;

idle:
	if
	:: atomic { unread != 0 && !lock -> drain(); goto idle }
	:: atomic { ledger & 1 -> place = 1; goto LEAVE_BEGIN }
	:: atomic { ledger & 2 -> place = 2; goto LEAVE_BEGIN }
	:: watches -> watch[me].range = 1
	:: watches -> watch[me].range = 2
	:: watches -> watch[me].range = 3
	:: goto leave	/* so that a thread stuck for ever shows */
	fi;

WATCH:	/* under L: into the tree; or drop L and come back */
	atomic {
		!lock ->
		if
		:: state == IDLE -> goto START
		:: else
		fi;
#ifndef NO_WAIT
		if
		:: leaving & watch[me].range ->
			reached(R_WAITS);
			goto WAIT
		:: else
		fi;
#endif
		lock = true;
		watch[me].live = true;
#ifndef END_LIVE_ONLY
#ifndef END_UNCHECKED
		if
		:: state == ENDING -> reached(R_CANCELS); state = RUNNING
		:: else
		fi
#endif
#endif
	};
REGISTER:	/* still under L; the kernel registers around holes */
	atomic {
		lock = false;
		registered = registered | (mapped & watch[me].range);
		ledger = ledger | watch[me].range;
		if
		:: (mapped & watch[me].range) == watch[me].range ->
			watch[me].pinned = watch[me].range
		:: else -> reached(R_HOLE)
		fi
	};

UNWATCH:	/* under L */
	atomic {
		!lock ->
		if
		:: !watch[me].live && (registered & watch[me].range) ->
			reached(R_REMAINDER)
		:: else
		fi;
		d_step {
			watch[me].range = NOWHERE;
			watch[me].live = false;
			watch[me].pinned = NOWHERE;
			watch[me].left = 0
		};
		goto idle
	};

WAIT:	/* without L */
	(leaving & watch[me].range) == 0;
	goto WATCH;

START:	/* without L; another may have started one by now */
	atomic { !starting -> starting = true };
	atomic {
		!lock ->
		if
		:: state == IDLE -> reached(R_STARTS); state = RUNNING
		:: else
		fi;
		starting = false;
		goto WATCH
	};

LEAVE_BEGIN:	/* ummu_monitor_release() */
	atomic {
		!lock ->
		if
		:: live(place) || leaving || !(ledger & place) ->
			place = NOWHERE;
			goto idle
		:: else -> note_leaving()
		fi
	};
	register_again();
	unregister();
LEAVE_END:
	atomic { !lock -> leaving_ends(); place = NOWHERE; goto idle };

leave:	skip
}

/* ------------------------------------------------------------------- apps */

/* The pages of these places go.  Their event says so. */
inline pages_leave(places)
{
	for (i : 0 .. WATCHERS - 1) {
		if
		:: watch[i].pinned & (places) ->
			watch[i].left = watch[i].left | (1 << me);
			watch[i].pinned = watch[i].pinned & ~(places)
		:: else
		fi
	}
	i = 0;
	told = (registered & (places)) != 0;
	changing = changing + told;
	if
	:: told -> named[me] = places
	:: else
	fi
}

proctype app(byte me)
{
	bool told;
	byte i;

idle:
	if
	:: atomic { (mapped & 1) == 0 -> mapped = mapped | 1; goto idle }
	:: atomic { (mapped & 2) == 0 -> mapped = mapped | 2; goto idle }
	:: atomic {
		mapped & 1 -> pages_leave(1);
		registered = registered & ~1;
		mapped = mapped & ~1;
		if
		:: told -> goto UNMAP_EVENT
		:: else -> goto UNMAP_RETURN
		fi
	   }
	:: atomic {
		mapped & 2 -> pages_leave(2);
		registered = registered & ~2;
		mapped = mapped & ~2;
		if
		:: told -> goto UNMAP_EVENT
		:: else -> goto UNMAP_RETURN
		fi
	   }
	:: atomic {	/* mremap(): onto the first place, or onto the second */
		mapped & 2 -> pages_leave(3);
		registered = (registered >> 1) | (registered & 2);
		mapped = mapped | 1;
		if
		:: registered = registered & ~2; mapped = mapped & ~2
		:: skip				/* MREMAP_DONTUNMAP */
		fi;
		if
		:: told -> goto UNMAP_EVENT
		:: else -> goto UNMAP_RETURN
		fi
	   }
	:: atomic {
		mapped & 1 -> pages_leave(3);
		registered = ((registered << 1) & 2) | (registered & 1);
		mapped = mapped | 2;
		if
		:: registered = registered & ~1; mapped = mapped & ~1
		:: skip
		fi;
		if
		:: told -> goto UNMAP_EVENT
		:: else -> goto UNMAP_RETURN
		fi
	   }
	:: goto leave
	fi;

UNMAP_EVENT:
	atomic {
		unread = unread | (1 << me);
		claim(HANG, state != IDLE)
	};
UNMAP_RETURN:	/* the event was read, and this thread runs again */
	atomic {
		!(unread & (1 << me)) ->
		changing = changing - told;
		told = false;
		for (i : 0 .. WATCHERS - 1) {
			claim(G1, !(watch[i].live &&
				    (watch[i].left & (1 << me))));
			watch[i].left = watch[i].left & ~(1 << me)
		}
		i = 0;
		goto idle
	};

leave:	skip
}

init {
	byte i;

	atomic {
		for (i : 0 .. USERS - 1) {
			run user(i, i < WATCHERS)
		}
		for (i : 0 .. APPS - 1) {
			run app(i)
		}
		i = 0
	}
}
