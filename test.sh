#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Installs what is missing, builds, and runs every test. The last line is `N passed, N failed, N skipped`.
#   ./test.sh          all suites, and the tests under ASan+UBSan and TSan
#   ./test.sh --long   the same with ten minutes a fuzz target, two minutes of thread tests, and clang-tidy
set -eu
cd "$(dirname "$0")"
. ./scripts/setup.sh

long=0 patience=1
for argument in "$@"; do
	case $argument in
	--long) long=1 ;;
	-h | --help)
		sed -n '3,6s/^# \{0,1\}//p' "$0"
		exit 0
		;;
	*) die "test.sh: '$argument' is not an option; there is --long" ;;
	esac
done

# shellcheck disable=SC2086
need $RUN_PACKAGES $BENCH_PACKAGES $TEST_PACKAGES
if [ "$long" = 1 ]; then
	need clang-tidy
	export RINGVMM_FUZZ_SECONDS=600 RINGVMM_TEST_SECONDS=120
	patience=20
fi
[ -r /dev/kvm ] && [ -w /dev/kvm ] || say "no usable /dev/kvm: the tests that need it will be skipped"

results=$(mktemp)
trap 'rm -f "$results"' EXIT
passed=0 failed=0 skipped=0

# suite FOLDER [MESON TEST ARGUMENT]... - runs tests and adds up what meson counted.
suite() {
	folder=$1
	shift
	meson test -C "$folder" --no-rebuild --print-errorlogs --timeout-multiplier "$patience" "$@" 2>&1 | tee "$results" || true
	count() { sed -n "s/^$1: *\([0-9][0-9]*\) *\$/\1/p" "$results" | tail -n 1; }
	ok=$(count Ok) bad=$(count Fail) late=$(count Timeout) skip=$(count Skipped) odd=$(count 'Unexpected Pass')
	[ -n "$ok" ] || bad=$((${bad:-0} + 1)) # meson itself gave up
	passed=$((passed + ${ok:-0}))
	failed=$((failed + ${bad:-0} + ${late:-0} + ${odd:-0}))
	skipped=$((skipped + ${skip:-0}))
}

say "building"
build_in build
say "testing"
suite build --no-suite rig
say "testing in the rig, which keeps one CPU busy: two at a time"
suite build --suite rig --num-processes 2

# The sanitizers see what the plain build cannot. KVM's mappings and the fuzz targets (which have sanitizers of their own)
# are left to the plain build. Warnings are the plain build's too: gcc 12 sees things that are not there in instrumented code.
say "building with ASan and UBSan"
build_in build-asan -Db_sanitize=address,undefined -Dwerror=false -Dfuzz=disabled -Dbench=disabled --buildtype=debugoptimized
suite build-asan --suite unit --suite daemon
say "building with TSan"
build_in build-tsan -Db_sanitize=thread -Dwerror=false -Dfuzz=disabled -Dbench=disabled --buildtype=debugoptimized
suite build-tsan --suite unit --suite daemon

if [ "$long" = 1 ]; then
	say "clang-tidy"
	if clang-tidy -p build --quiet src/*/*.c; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
	fi
fi

printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ]
