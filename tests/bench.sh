#!/bin/bash
# SPDX-License-Identifier: MIT
# bench.sh - runs `ummunotify bench` and checks that it tells what it should.
#
# usage: bench.sh BUILD-FOLDER
#
# It judges no speed: the machine may be busy.  77 where no monitor works.
set -u

tool=$(readlink -f "${1:?usage: bench.sh BUILD-FOLDER}")/tools/ummunotify
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT

"$tool" bench --quick --json >"$scratch/result" 2>"$scratch/said"
status=$?
if [ $status = 3 ] && grep -q 'no monitor works' "$scratch/said"; then
	cat "$scratch/said"
	exit 77
fi
if [ $status != 0 ]; then
	echo "exit status $status:"
	cat "$scratch/said"
	exit 1
fi

python3 - "$scratch/result" <<'END' || exit 1
import json, sys

document = json.load(open(sys.argv[1]))
assert document["schema"] == 1
assert document["backend"] and document["samples"] > 10
rows = document["rows"]
for row in rows:
    assert 0 < row["p10_ns"] <= row["median_ns"] <= row["p90_ns"], row
    assert (row["against"] is None) == (row["ratio"] is None), row
    if row["against"]:
        peers = [r for r in rows if r["group"] == row["group"]
                 and r["operation"] == row["against"]]
        assert len(peers) == 1, row
        ratio = row["median_ns"] / peers[0]["median_ns"]
        assert abs(row["ratio"] - ratio) < 1e-6 * ratio, row
got = {(row["group"], row["operation"], row["threads"]) for row in rows}
bare = {"kmod": ("bare load", "UMMUNOTIFY_WATCH", "UMMUNOTIFY_UNWATCH"),
        "uffd": ("bare probe", "UFFDIO_REGISTER", "UFFDIO_UNREGISTER")}
bare = bare[document["backend"]]
for wanted in [("check", "getppid", 1), ("check", bare[0], 1),
               ("watch", bare[1], 1), ("watch", bare[2], 1),
               ("cache", bare[0], 1), ("cache", bare[1], 1),
               ("check", "ummu_watch_valid", 1), ("check", "ummu_changed", 1),
               ("watch", "ummu_monitor_watch", 1),
               ("watch", "ummu_monitor_unwatch", 1),
               ("cache", "hit", 1), ("cache", "hit, two buffers", 2),
               ("cache", "miss", 1), ("cache", "miss, own buffers", 2),
               ("munmap", "munmap, watched", 1),
               ("munmap", "munmap, other memory watched", 1),
               ("madvise", "madvise, watched", 1)]:
    assert wanted in got, wanted
print(len(rows), "rows")
END

"$tool" bench --nonsense >/dev/null 2>&1
[ $? = 2 ] || { echo "unknown option: exit status is not 2"; exit 1; }
