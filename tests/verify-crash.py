#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# verify-crash.py - checks what `ummunotify verify` says of broken rows.
#
# usage: verify-crash.py TOOL LIBRARY
#
# The library, which is preloaded, is verify-crash.c.
import json
import os
import subprocess
import sys

tool, library = sys.argv[1:]
run = subprocess.run([tool, "verify", "--json", "--timeout", "5",
                      "--only", "munmap"],
                     env=os.environ | {"LD_PRELOAD": library},
                     stdout=subprocess.PIPE, check=False)

wrong = [row for row in json.loads(run.stdout)["rows"] if row["wrong"]]
for row in wrong:
    print("  ", row["operation"], row["verdict"], row["reason"])
crashed = [row for row in wrong if row["reason"].startswith("the row crashed")]
hung = [row for row in wrong if row["reason"].endswith("did not end in time")]
# On a busy machine others may take too long, too.
good = run.returncode == 1 and len(crashed) == 1 and hung and \
    len(crashed) + len(hung) == len(wrong) and \
    all(row["verdict"] == "unknown" for row in wrong)
sys.exit(not good)
