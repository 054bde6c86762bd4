#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The rig itself: what goes in, what comes out, and that its instruction count repeats.
#   smoke.sh command BUILD      smoke.sh end BUILD      smoke.sh icount BUILD      smoke.sh debug BUILD
# The last, that the debug kernel reports mistakes and nothing else, is run by hand: building that kernel takes too long.
set -u
# shellcheck source=tests/rig/need.sh
. "$(dirname "$0")/need.sh"
what=$1 build=$2
mistakes=$build/rig-mistakes # in the project's folder, so that it comes into the machine
kernel=stock
[ "$what" != debug ] || kernel=debug
out=$(mktemp -d)
trap 'rm -rf "$out" "$mistakes"' EXIT

fail() {
	echo "FAIL: $*"
	[ ! -f "$out/console.log" ] || tail -n 20 "$out/console.log"
	exit 1
}

need_rig "$kernel"

in_rig() { "$rig/run" --build "$build" --out "$out" "$@"; }

# shellcheck disable=SC2016
test_command() {
	RINGVMM_RIG_SMOKE='a "b' in_rig -- bash -c '
		echo "folder $PWD"
		echo "argument <$1>"
		echo "environment $RINGVMM_RIG_SMOKE"
		[ -c /dev/kvm ] && ringvmm doctor | grep -c "SVM (svm)"
		uname -r
		echo "to stderr" >&2
		mkdir "$OUT/sub" && echo "came back" >"$OUT/sub/file"
		exit 7' bash "it's  \$HOME" >"$out/stdout" 2>"$out/stderr"
	local status=$?
	[ "$status" = 7 ] || fail "exit status $status, not 7; $(cat "$out/stderr")"
	printf '%s\n' "folder $(cd "$rig/../.." && pwd)" "argument <it's  \$HOME>" 'environment a "b' 1 >"$out/expected"
	head -n 4 "$out/stdout" | cmp - "$out/expected" || fail "stdout: $(cat "$out/stdout")"
	tail -n 1 "$out/stdout" | grep -q '^6\.12\.' || fail "kernel: $(tail -n 1 "$out/stdout")"
	[ "$(cat "$out/stderr")" = "to stderr" ] || fail "stderr: $(cat "$out/stderr")"
	[ "$(cat "$out/sub/file")" = "came back" ] || fail "\$OUT did not come back"
	grep -q 'kvm_amd: Nested Paging enabled' "$out/console.log" || fail "no nested paging"
}

test_end() {
	in_rig --timeout 3 -- sleep 1000 2>"$out/stderr"
	local status=$?
	[ "$status" = 124 ] || fail "timeout: exit status $status"
	grep -q '^rig: timeout: ' "$out/stderr" || fail "timeout: $(cat "$out/stderr")"
	in_rig -- sh -c 'echo c >/proc/sysrq-trigger' 2>"$out/stderr"
	status=$?
	[ "$status" = 125 ] || fail "panic: exit status $status"
	grep -q 'Kernel panic' "$out/stderr" || fail "panic: $(cat "$out/stderr")"
}

ns_per_tick() { in_rig --icount -- rtc_tick --quick --only floor | sed -n 's/^floor  *\([0-9]*\)\.\([0-9][0-9]*\)  *[0-9].*/\1\2/p' | head -n 1; }

test_icount() {
	local first second
	[ -x "$build/bench/rtc_tick" ] || {
		echo "SKIP: the benchmarks are not built"
		exit 77
	}
	first=$(ns_per_tick)
	second=$(ns_per_tick)
	echo "instructions per tick of the bare loop: $first and $second"
	awk -v a="${first:-0}" -v b="${second:-0}" \
		'BEGIN { exit !(a > 1000 && b > 1000 && a - b <= a / 100 && b - a <= a / 100) }' || fail "more than 1 % apart"
}

# The first run makes no mistake and has to end with 0.
test_debug() {
	local status=0 sign
	in_rig --kernel debug -- ringvmm doctor >"$out/stdout" 2>"$out/stderr" || status=$?
	[ "$status" = 0 ] || fail "no mistake made, and exit status $status; $(cat "$out/stdout" "$out/stderr")"
	"$rig/debug-kernel.sh" --output "$mistakes" >/dev/null || fail "no modules"
	# shellcheck disable=SC2016
	in_rig --kernel debug -- sh -c 'for what in sleep order freed leak; do
		insmod "$1/mistakes.ko" what=$what && rmmod mistakes || exit 2
	done' sh "$mistakes" 2>"$out/stderr" || status=$?
	[ "$status" = 1 ] || fail "mistakes made, and exit status $status, not 1; $(cat "$out/stderr")"
	for sign in 'BUG: sleeping function called from invalid context' 'WARNING: possible circular locking dependency' \
		'BUG: KASAN: slab-use-after-free in mistakes_' 'rig: PROBLEM: [0-9]* leaks' 'rig: PROBLEM: lockdep has turned itself off'; do
		sed '1,/^rig: all that begin so/d' "$out/stderr" | grep -q "$sign" || fail "not reported: $sign; $(cat "$out/stderr")"
	done
	cat "$out/stderr"
}

case $what in
command | end | icount | debug) "test_$what" ;;
*) fail "'$what' is no part of this test" ;;
esac
