#!/bin/sh
# SPDX-License-Identifier: MIT
# locks-are-counted.sh - a lock that no-allocation-under-lock.c cannot see.
#
# usage: locks-are-counted.sh SOURCE
#
# Whoever takes a lock in another way than by base/lock.h is not counted as its
# holder, and what is allocated under that lock goes unnoticed.
#
# Left out: truth.c of the drop-in for Open MPI.  Its lock is held on purpose
# while hooks of other libraries run, which allocate as they like; why nobody
# waits for its holder in vain is said there.
cd "$1" || exit
found=$(grep -rnE --include='*.[ch]' \
	'\b(pthread_(mutex|spin|rwlock)_[a-z]*lock|pthread_cond_[a-z]*wait|(mtx|cnd)_[a-z]+) *\(' \
	base lib rcache pinners integrations |
	grep -vE '^(base/lock\.h|integrations/openmpi/truth\.c):')
[ -z "$found" ] && exit 0
echo "locks that are taken without base/lock.h:"
echo "$found"
exit 1
