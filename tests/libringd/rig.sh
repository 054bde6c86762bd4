#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# rig.sh BUILD - the example and the caller's own loop in the emulated machine, on mmio2. Skipped (77) where Debian's
# packages cannot be had.
set -u
build=$(realpath "$1")
# shellcheck source=tests/rig/need.sh
. "$(dirname "$0")/../rig/need.sh"
need_rig mmio2
# shellcheck disable=SC2154,SC2016
output=$("$rig/run" --kernel mmio2 --build "$build" --out "$build/rig-out-libringd" --timeout 200 -- sh -c '
	"$1/examples/embed-inprocess" "$1/bench/tick.bin" 20000 mmio2 &&
		RINGVMM_TEST_BACKEND=mmio2 "$1/tests/kvm/test_own_loop"' sh "$build" 2>&1)
status=$?
echo "$output"
[ "$status" = 0 ] || exit 1
exits=$(echo "$output" | sed -n 's/^20000 ticks, \([0-9]*\) exits, 20000 posted writes, .*/\1/p')
[ "${exits:-0}" -ge 20000 ] || exit 1
[ "$exits" -lt 21000 ] || exit 1
