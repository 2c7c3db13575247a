#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# verify-crash.py - crashes one row of `ummunotify verify`, and stops another.
import json
import os
import signal
import subprocess
import sys
import time

run = subprocess.Popen([sys.argv[1], "verify", "--json", "--timeout", "2",
                        "--only", "munmap"],
                       stdout=subprocess.PIPE)
signals = [signal.SIGSEGV, signal.SIGSTOP]
seen = set()
end = time.monotonic() + 60
while signals and run.poll() is None and time.monotonic() < end:
    with open(f"/proc/{run.pid}/task/{run.pid}/children",
              encoding="ascii") as children:
        pids = [int(pid) for pid in children.read().split()]
    for pid in pids:
        try:
            # the keeper of the settings has a session of its own
            if pid in seen or os.getsid(pid) != os.getsid(0):
                continue
            seen.add(pid)
            # on a busy machine many end unseen
            if signals and len(seen) % 8 == 0:
                os.kill(pid, signals[0])
                signals.pop(0)
        except ProcessLookupError:
            pass
output, _ = run.communicate(timeout=120)

wrong = [row for row in json.loads(output)["rows"] if row["wrong"]]
for row in wrong:
    print("  ", row["operation"], row["verdict"], row["reason"])
good = not signals and run.returncode == 1 and len(wrong) == 2 and \
    all(row["verdict"] == "unknown" for row in wrong)
sys.exit(not good)
