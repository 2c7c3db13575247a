#!/bin/bash
# SPDX-License-Identifier: MIT
# status.sh - checks what `ummunotify status` and the command's frame say.
#
# usage: status.sh BUILD-FOLDER
set -u

tool=$(readlink -f "${1:?usage: status.sh BUILD-FOLDER}")/tools/ummunotify
failed=0

scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT

# Runs the tool; NAME EXIT-STATUS PATTERN ARGUMENT...
expect()
{
	local name=$1 status=$2 pattern=$3 got
	shift 3
	"$tool" "$@" >"$scratch/out" 2>&1
	got=$?
	if [ $got = "$status" ] && grep -q -- "$pattern" "$scratch/out"; then
		echo "pass $name"
	else
		echo "FAIL $name: exit status $got, not $status, and no '$pattern' in"
		cat "$scratch/out"
		failed=1
	fi
}

expect "version" 0 '^ummunotify [0-9]*\.[0-9]*\.[0-9]*$' --version
expect "help names the exit codes" 0 'Exit status' --help
expect "no command" 2 'a command is needed'
expect "unknown command" 2 "no command 'nonsense'" nonsense
expect "unknown option" 2 'unrecognized option' status --nonsense
expect "unknown argument" 2 "no argument 'nonsense'" status nonsense
for command in status verify demo bench; do
	expect "$command --help" 0 "Usage: ummunotify $command" $command --help
	expect "$command takes --json" 0 '--json' $command --help
done

works=0
"$tool" status >/dev/null 2>&1 || works=$?
if [ -e /dev/ummunotify ]; then
	expect "status" 0 '^  kmod  *yes  claims 20 of 20 ' status
	expect "programs get it" 0 '^  programs get kmod' status
	expect "status shows its limits" 0 'watches_per_user  *[0-9]' status
else
	expect "status" $works '^  kmod  *no .*modprobe ummunotify' status
	expect "status shows no limits of it" $works \
		'watches_per_user  *not there' status
fi
expect "status shows consumers" $works '^  libfabric  *\(yes\|no\) ' status
expect "status shows limits" $works 'vm.max_map_count  *[0-9]' status
# Which table of descriptors the reader of uffd has, in words and in JSON; NAME
# true|false WORDS COMMAND..., under which the tool runs.
expect_table()
{
	local name=$1 shared=$2 words=$3
	shift 3
	"$@" "$tool" status --json >"$scratch/json" 2>&1
	"$@" "$tool" status >"$scratch/out" 2>&1
	if ! grep -q '^  uffd  *yes ' "$scratch/out"; then
		echo "skip $name: $(grep '^  uffd ' "$scratch/out")"
	elif tr -s ' \n' ' ' <"$scratch/out" | grep -q -- "$words" &&
	     [ "$(shared_table "$scratch/json")" = "$shared" ]; then
		echo "pass $name"
	else
		echo "FAIL $name: not $shared, or no '$words' in"
		cat "$scratch/out" "$scratch/json"
		failed=1
	fi
}

shared_table()
{
	python3 - "$1" <<'PYTHON'
import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    backends = json.load(file)["backends"]
for backend in backends:
    if backend["name"] == "uffd":
        print(json.dumps(backend["shared_table"]))
PYTHON
}

# Runs a command with close_range() and unshare() refused, as a sandbox may.
# shellcheck disable=SC2317 # expect_table runs it
no_own_table()
{
	python3 - "$@" <<'PYTHON'
import ctypes
import os
import platform
import struct
import sys

UNSHARE = {"x86_64": 272, "aarch64": 97}[platform.machine()]
CLOSE_RANGE = 436
LOAD_NUMBER, IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, EPERM = 0x7FFF0000, 0x00050001
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2

code = b"".join(struct.pack("HBBI", *line) for line in (
    (LOAD_NUMBER, 0, 0, 0),
    (IF_EQUAL, 2, 0, UNSHARE),
    (IF_EQUAL, 1, 0, CLOSE_RANGE),
    (RETURN, 0, 0, ALLOW),
    (RETURN, 0, 0, EPERM)))
text = ctypes.create_string_buffer(code)
program = struct.pack("HP", len(code) // 8, ctypes.addressof(text))
prctl = ctypes.CDLL(None, use_errno=True).prctl
zero, one = ctypes.c_ulong(0), ctypes.c_ulong(1)
if prctl(PR_SET_NO_NEW_PRIVS, one, zero, zero, zero) or \
   prctl(PR_SET_SECCOMP, ctypes.c_ulong(SECCOMP_MODE_FILTER), program,
         zero, zero):
    sys.exit("no filter: " + os.strerror(ctypes.get_errno()))
os.execv(sys.argv[1], sys.argv[1:])
PYTHON
}

expect_table "the reader has descriptors of its own" false \
	"has a table of descriptors of its own" env
case $(uname -m) in
x86_64|aarch64)
	expect_table "or the program's, where it may not" true \
		"shares the program's table of descriptors" no_own_table ;;
esac
# What the environment says about the drop-in for libfabric.
drop_in=$(readlink -f "$1")/integrations/libfabric
if [ -e "$drop_in/ummunotify-fi.so" ]; then
	export FI_PROVIDER_PATH=/nowhere:$drop_in
	expect "libfabric is told" $works \
		"^  libfabric  *yes .* told through $drop_in" status
	FI_MR_CACHE_MONITOR=memhooks expect "unless it has another monitor" \
		$works '^  libfabric  *no .*FI_MR_CACHE_MONITOR' status
	FI_UMMUNOTIFY_ENABLED=no expect "or is told not to" \
		$works '^  libfabric  *no .*FI_UMMUNOTIFY' status
	FI_PROVIDER_PATH=/nowhere expect "or does not find it" \
		$works '^  libfabric  *no ' status
	unset FI_PROVIDER_PATH
fi
# And about that for Open MPI.
expect "status shows Open MPI and UCX" $works '^  UCX  *no ' status
drop_in=$(readlink -f "$1")/integrations/openmpi
if [ -e "$drop_in/mca_memory_ummunotify.so" ]; then
	export OMPI_MCA_mca_base_component_path=/nowhere:$drop_in:SYSTEM_DEFAULT
	expect "Open MPI is told" $works \
		"^  Open MPI  *yes  *4.1.* told through $drop_in" status
	OMPI_MCA_memory=patcher expect "unless it has another component" \
		$works '^  Open MPI  *no .*patcher' status
	OMPI_MCA_memory=^ummunotify expect "or is told not to" \
		$works '^  Open MPI  *no .*ummunotify' status
	OMPI_MCA_memory=^patcher expect "not to use another is no matter" \
		$works '^  Open MPI  *yes ' status
	OMPI_MCA_mca_base_component_path=/nowhere expect "or does not find it" \
		$works '^  Open MPI  *no ' status
	unset OMPI_MCA_mca_base_component_path
	mkdir -p "$scratch/.openmpi"
	echo "mca_base_component_path = $drop_in:SYSTEM_DEFAULT" \
		>"$scratch/.openmpi/mca-params.conf"
	HOME=$scratch expect "a file of parameters says so too" $works \
		"^  Open MPI  *yes .* told through $drop_in" status
fi
if [ $works = 0 ]; then
	UMMU_MONITOR=none expect "UMMU_MONITOR has a say" 0 \
		'programs get none' status
	UMMU_MONITOR=nonsense expect "and may be wrong" 3 \
		'programs get an error' status
fi

"$tool" status >/dev/full 2>"$scratch/out"
if [ $? = 3 ] && [ -s "$scratch/out" ]; then
	echo "pass a full disk is told"
else
	echo "FAIL a full disk is told"
	failed=1
fi

"$tool" status --json >"$scratch/json"
python3 - "$scratch/json" <<'PYTHON' || failed=1
import json
import os
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    status = json.load(file)
assert status["schema"] == 1
assert status["kernel"] == os.uname().release
backends = {backend["name"]: backend for backend in status["backends"]}
assert set(backends) == {"kmod", "uffd"}
for backend in backends.values():
    assert backend["works"] or backend["reason"]
assert backends["kmod"]["works"] == os.path.exists("/dev/ummunotify")
consumers = {consumer["name"]: consumer for consumer in status["consumers"]}
for consumer in consumers.values():
    assert consumer["active"] or consumer["note"]
    assert not consumer["active"] or consumer["drop_in"]
limit = status["limits"]["ummunotify.watches_per_file"]
assert (limit or 0) > 0 or not backends["kmod"]["works"]
assert status["limits"]["vm.max_map_count"] > 0
print("pass status --json")
PYTHON
exit $failed
