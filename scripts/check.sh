#!/bin/bash
# SPDX-License-Identifier: MIT
# check.sh - runs every test there is and counts what passed.
#
# usage: check.sh [kernel]	"kernel" runs only the tests of the module
#
# A stage that cannot build is one failure, and the others still run.  The last
# line is "N passed, N failed", and ", N skipped" where some were.
# UMMU_LONG=1 gives the tests ten times as long.
set -u
cd "$(dirname "$0")/.." || exit

work=$PWD/build-check
logs=$work/logs
results=$work/results

stage()
{
	echo
	echo "== $1 (${SECONDS} s)"
}

record() # pass|fail|skip NAME
{
	echo "$1 $2" >>"$results"
}

# One check that is a command; 77 means skipped.
run() # NAME COMMAND...
{
	local name=$1 word=pass
	shift
	"$@" >"$logs/${name//\//_}.log" 2>&1 </dev/null
	case $? in
	0) ;;
	77) word=skip ;;
	*) word=fail ;;
	esac
	record $word "$name"
	echo "$word $name"
}

# Builds into build-check/NAME; only a failure counts.
build() # NAME C-COMPILER C++-COMPILER MESON-OPTION...
{
	local name=$1 log=$logs/$1_build.log
	(
		export CC=$2 CXX=$3
		shift 3
		test -f "$work/$name/build.ninja" ||
			meson setup -Dtests=enabled "$@" "$work/$name" &&
			ninja -C "$work/$name"
	) >"$log" 2>&1 </dev/null && return
	record fail "$name/build"
	echo "fail $name/build"
	return 1
}

# Runs the tests of a build; each of them counts.
meson_tests() # NAME MESON-TEST-OPTION...
{
	local name=$1
	shift
	rm -f "$work/$name/meson-logs/testlog.json"
	"${without_aslr[@]}" meson test -C "$work/$name" --no-rebuild \
		${UMMU_LONG:+-t 10} "$@" </dev/null |
		grep --line-buffered -E '^ *[0-9]+/[0-9]+ '
	scripts/test-results.py "$name" "$work/$name" "$logs" >>"$results" ||
		record fail "$name/meson-test"
}

check_gcc()
{
	build gcc gcc g++ -Dwerror=true && meson_tests gcc
}

# In virtual machines; each test counts.
check_kernel()
{
	local kernel
	run kernel/style scripts/vm/check-module-style
	scripts/vm/check "$work/gcc" "$logs" | tee -a "$results"
	[ "${PIPESTATUS[0]}" = 0 ] || record fail kernel/check
	for kernel in 6.1 ${UMMU_LONG:+newest}; do
		tests/kernel/broken.sh "$work/gcc" "$logs" "$kernel" |
			tee -a "$results"
		[ "${PIPESTATUS[0]}" = 0 ] || record fail kernel/broken
	done
	[ -n "${UMMU_LONG-}" ] || return 0
	run kernel/bench bench/kernel/run --build "$work/gcc"
	run kernel/openmpi-two-nodes tests/openmpi/two-nodes.sh "$work/gcc"
	run kernel/libfabric-2 tests/integrations/libfabric-2.sh "$work/gcc"
}

check_clang()
{
	build clang clang clang++ -Dwerror=true &&
		meson_tests clang --suite unit --suite headers
}

check_asan()
{
	build asan clang clang++ -Dwerror=true -Db_lundef=false \
		-Db_sanitize=address,undefined -Dfuzz=true &&
		meson_tests asan --no-suite headers
}

check_tsan()
{
	# ThreadSanitizer of these compilers finds no room for its shadow when
	# addresses are as random as newer kernels make them.
	setarch -R true 2>/dev/null && without_aslr=(setarch -R)
	build tsan clang clang++ -Dwerror=true -Db_lundef=false \
		-Db_sanitize=thread &&
		meson_tests tsan --no-suite headers
	without_aslr=()
}

check_fuzz()
{
	local seconds=${UMMU_LONG:+300} target
	seconds=${seconds:-30}
	for target in tests/fuzz-*.c; do
		target=$(basename "$target" .c)
		run "fuzz/$target" timeout -k 5 $((seconds + 300)) \
			"$work/asan/tests/$target" -seed=1 -timeout=100 \
			-max_total_time="$seconds" -artifact_prefix="$logs/"
	done
}

# The script of the model counts its own properties.
check_model()
{
	local log=$logs/model.log cases=(quick) last i
	[ -z "${UMMU_LONG-}" ] || cases=()
	model/check.sh "${cases[@]}" >"$log" 2>&1 </dev/null
	last=$(tail -n 1 "$log")
	if [[ ! $last =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
		record fail model
		return
	fi
	for ((i = 0; i < BASH_REMATCH[1]; i++)); do record pass model; done
	for ((i = 0; i < BASH_REMATCH[2]; i++)); do record fail model; done
	echo "model: $last"
}

check_manual()
{
	local page
	for page in man/*.[1-9]; do
		run "manual/$(basename "$page")" mandoc -Tlint -Wstyle "$page"
	done
}

# Compiles and runs an example the way its readers will.
run_installed() # EXAMPLE PKG-CONFIG-OPTION...
{
	local example=$1 program=$work/installed-example modules
	shift
	modules='libummunotify-uring libummunotify-mlock liburing'
	# shellcheck disable=SC2046,SC2086 # lists of arguments
	gcc -Wall -Wextra -Werror ${1+-static} -o "$program" "$example" \
		$(pkg-config "$@" --cflags --libs $modules) &&
		timeout -k 5 300 "$program"
}

# Open MPI finds the drop-in where the manual page says it is.
openmpi_finds() # FOLDER
{
	OMPI_MCA_mca_base_component_path=$1:SYSTEM_DEFAULT \
		ompi_info | grep 'MCA memory: ummunotify'
}

check_install()
{
	local example name root=$work/installed libdir
	rm -rf "$root"
	run install/install meson install -C "$work/gcc" --no-rebuild \
		--destdir "$root"
	libdir=$(dirname "$(find "$root" -name libummunotify.a)")
	export PKG_CONFIG_PATH=$libdir/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root
	export LD_LIBRARY_PATH=$libdir
	for example in examples/*.c; do
		name=$(basename "$example" .c)
		run "install/$name-shared" run_installed "$example"
		run "install/$name-static" run_installed "$example" --static
	done
	[ ! -d "$libdir/ummunotify/openmpi" ] ||
		run install/openmpi openmpi_finds "$libdir/ummunotify/openmpi"
	unset PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR LD_LIBRARY_PATH
}

has_nodelete() # FILE
{
	readelf -d "$1" | grep NODELETE
}

# What loads a drop-in looks for that, and nothing else; 77 without the drop-in.
exports_only() # FILE SYMBOL
{
	local exported
	[ -e "$1" ] || return 77
	exported=$(nm -D --defined-only "$1" | awk '{ print $3 }')
	echo "$exported"
	[ "$exported" = "$2" ]
}

check_libraries()
{
	local public=include/ummunotify built=$work/gcc
	run library/libummunotify scripts/check-library.sh \
		"$built/lib/libummunotify.so.1" lib/libummunotify.map \
		'' "$public/monitor.h" "$public/rcache.h"
	run library/nodelete has_nodelete "$built/lib/libummunotify.so.1"
	run library/ummunotify-fi exports_only \
		"$built/integrations/libfabric/ummunotify-fi.so" fi_prov_ini
	run library/libummunotify-cuda scripts/check-library.sh \
		"$built/pinners/libummunotify-cuda.so.1" \
		pinners/pin-cuda.map 'libummunotify\.so\.1' \
		"$public/pin-cuda.h"
	run library/libummunotify-uring scripts/check-library.sh \
		"$built/pinners/libummunotify-uring.so.1" \
		pinners/pin-uring.map 'libummunotify\.so\.1|liburing\.so\.2' \
		"$public/pin-uring.h"
	run library/libummunotify-verbs scripts/check-library.sh \
		"$built/pinners/libummunotify-verbs.so.1" \
		pinners/pin-verbs.map 'libummunotify\.so\.1|libibverbs\.so\.1' \
		"$public/pin-verbs.h"
	run library/libummunotify-mlock scripts/check-library.sh \
		"$built/pinners/libummunotify-mlock.so.1" \
		pinners/pin-mlock.map 'libummunotify\.so\.1' \
		"$public/pin-mlock.h"
	local openmpi=$built/integrations/openmpi/mca_memory_ummunotify.so
	[ -e "$openmpi" ] || return 0
	run library/openmpi-exports exports_only "$openmpi" \
		mca_memory_ummunotify_component
	run library/openmpi-nodelete has_nodelete "$openmpi"
}

# Fails outside a clone, in an unpacked archive for example.
tracked()
{
	git -c safe.directory="$PWD" ls-files "$@"
}

licences_named()
{
	local file status=0
	tracked >/dev/null || return 77
	for file in $(tracked | grep -vE '^LICENSES/|\.md$|^NEWS|^\.gitignore'); do
		head -n 3 "$file" | grep -q SPDX-License-Identifier && continue
		echo "$file: no SPDX-License-Identifier in its first lines"
		status=1
	done
	return $status
}

formatted()
{
	# Another version has another opinion.
	clang-format --version | grep -q 'version 14\.' || return 77
	tracked >/dev/null || return 77
	tracked '*.c' '*.h' | xargs clang-format --dry-run -Werror
}

check_instructions()
{
	run bench/instructions bench/cache/instructions "$work/gcc"
}

check_tree()
{
	run tree/licences licences_named
	run tree/format formatted
}

report()
{
	local word name log
	while read -r word name; do
		[ "$word" = fail ] || continue
		log=$logs/${name//\//_}.log
		echo
		echo "FAILED: $name"
		[ -f "$log" ] && tail -n 40 "$log"
	done < <(sort -u "$results")

	local passed failed skipped
	passed=$(grep -c '^pass ' "$results")
	failed=$(grep -c '^fail ' "$results")
	skipped=$(grep -c '^skip ' "$results")
	echo
	if [ "$skipped" -gt 0 ]; then
		grep '^skip ' "$results"
		echo "$passed passed, $failed failed, $skipped skipped"
	else
		echo "$passed passed, $failed failed"
	fi
	[ "$failed" = 0 ]
}

rm -rf "$logs"
mkdir -p "$logs"
: >"$results"
without_aslr=()

export ASAN_OPTIONS=detect_leaks=1:halt_on_error=1:strict_string_checks=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1

if [ "${1-}" = kernel ]; then
	stage 'gcc: what the tests of the module need'
	build gcc gcc g++ -Dwerror=true || { report; exit; }
	stage 'kernel: the module in virtual machines'
	check_kernel
	report
	exit
fi

stage 'tree: licences named, code formatted'
check_tree
stage 'gcc: all tests, some also with pages of 64 KiB'
check_gcc
stage 'clang: unit tests, headers'
check_clang
stage 'clang with AddressSanitizer and UndefinedBehaviorSanitizer'
check_asan
stage 'clang with ThreadSanitizer'
check_tsan
stage 'libFuzzer'
check_fuzz
stage 'model: Spin'
check_model
stage 'manual pages: mandoc -Tlint'
check_manual
stage 'libraries: exports and dependencies'
check_libraries
stage 'instructions of a hit: callgrind'
check_instructions
stage 'installed: examples through pkg-config, shared and static'
check_install
stage 'kernel: the module in virtual machines'
check_kernel
stage 'results'
report
