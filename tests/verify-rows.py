#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# verify-rows.py - holds what `ummunotify verify --json` says to what it must.
import argparse
import collections
import json
import sys

VERDICTS = ("caught missed early may-fire quiet spurious unknown "
            "skipped").split()
PRIVATE_BASE_PAGES = {"anonymous", "file-private"}
QUIET = {"fork, child writes", "mprotect READ", "madvise COLD",
         "mlock and munlock", "madvise DONTFORK", "munmap of a neighbour",
         "fork, child unmaps"}

options = argparse.ArgumentParser()
options.add_argument("file")
options.add_argument("--rows", type=int, required=True)
options.add_argument("--caught", type=int, required=True)
options.add_argument("--root", action="store_true")
options.add_argument("--backend", default="uffd")
options = options.parse_args()

with open(options.file, encoding="utf-8") as file:
    result = json.load(file)
rows = result["rows"]
counts = collections.Counter(row["verdict"] for row in rows)
ran = len(rows) - counts["skipped"]
wrong = []


def must(condition, *what):
    if not condition:
        wrong.append(" ".join(str(word) for word in what))


def name(row):
    return f'{row["operation"]} on {row["mapping"]} by {row["via"]}'


print(result["backend"], "on", result["kernel"], dict(counts))
must(result["schema"] == 1, "schema", result["schema"])
must(result["backend"] == options.backend, "backend", result["backend"])
must(ran >= options.rows, ran, "rows that ran, not", options.rows)
must(counts["caught"] >= options.caught, counts["caught"], "caught")

for row in rows:
    verdict, left, reported = row["verdict"], row["left"], row["reported"]
    must(verdict in VERDICTS, name(row), "has verdict", verdict)
    must(verdict != "spurious", name(row), "is spurious")
    must(not row["wrong"], name(row), "went wrong:", row["reason"])
    if verdict == "missed":
        must(not row["claimed"], name(row), "is claimed and missed")
        must(left and not reported, name(row), "is not a miss")
    if verdict == "may-fire":
        must(row["may_fire"], name(row), "fires where it must not")
    must(not row["may_fire"] or row["mapping"] not in PRIVATE_BASE_PAGES,
         name(row), "may fire on private base pages")
    if verdict == "caught":
        must(left and reported, name(row), "is not a catch")
    if verdict in ("skipped", "unknown"):
        must(row["reason"], name(row), "has no reason")
    if verdict == "quiet":
        must(not left and not reported, name(row), "is not quiet")

# The judge sees what the monitor does not: what nobody claims is missed.
if result["backend"] == "uffd":
    must(any(row["operation"] == "shmdt" and row["verdict"] == "missed"
             for row in rows), "shmdt was not missed on uffd")
else:
    must(counts["missed"] == 0, counts["missed"], "missed")
    must(all(row["claimed"] for row in rows), "something is not claimed")
    for operation in ("shmdt", "ftruncate", "fallocate PUNCH_HOLE",
                      "PUNCH_HOLE by another process"):
        found = {row["verdict"] for row in rows
                 if row["operation"] == operation} - {"skipped"}
        # What a private mapping has of its own stays when its file shrinks.
        must("caught" in found and found <= {"caught", "early"}, operation,
             "is", found)
for operation in QUIET:
    found = {row["verdict"] for row in rows
             if row["operation"] == operation and row["mapping"] == "anonymous"}
    must(found == {"quiet"}, operation, "on anonymous memory:", found)
for mapping in ("anonymous", "memfd", "file-private"):
    found = {row["verdict"] for row in rows
             if row["operation"] == "munmap" and row["mapping"] == mapping}
    must(found == {"caught"}, "munmap on", mapping, "is", found)
if not options.root:
    must(any("needs root" in (row["reason"] or "") for row in rows),
         "nothing says that it needs root")

for line in wrong:
    print("  ", line)
sys.exit(bool(wrong))
