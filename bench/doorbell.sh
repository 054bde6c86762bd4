#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# In the rig, on mmio2: a doorbell of an idle guest is replayed by a wake-up. With a bound of 100 ms a thread that looked by the
# timer would take tens of milliseconds.
#   doorbell.sh BUILD
set -u
# shellcheck source=tests/rig/need.sh
. "$(dirname "$0")/../tests/rig/need.sh"
build=$1
most_ms=10 bound_us=100000
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

fail() {
	echo "FAIL: $*"
	[ ! -f "$out/console.log" ] || tail -n 20 "$out/console.log"
	exit 1
}

need_rig mmio2

"$rig/run" --build "$build" --out "$out" --kernel mmio2 --cpus 2 -- \
	replay_latency --backend mmio2 --max-replay-latency "$bound_us" --idle 50 --paced 0 --storm 0 >"$out/table" ||
	fail "exit status $?; $(cat "$out/table")"
cat "$out/table"
# Columns: ring, guest, writes, min, p50, ... and from the right: state, looks, wake-ups.
awk -v most_us=$((most_ms * 1000)) '$1 == "mmio2" && $2 == "idle" { p50 = $5; wakeups = $(NF - 2); found = 1 }
	END { exit !(found && p50 < most_us && wakeups >= 40) }' "$out/table" ||
	fail "the median is not below $most_ms ms, or the writes did not wake the thread"
