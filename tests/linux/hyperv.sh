#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Debian's kernel as a guest that sees Hyper-V, and as one on four CPUs, in the rig.
#   hyperv.sh BUILD
# On one CPU, for the reason that tests/kvm-rig/in_rig.sh has. RINGVMM_TEST_SLOW multiplies the limits in time.
set -eu
# shellcheck source=tests/rig/need.sh
. "$(dirname "$0")/../rig/need.sh"

build=$(realpath "$1")
guest=$build/hyperv-guest
need_rig stock
"$rig/run" --guest "$guest" || { echo "FAIL: tests/rig/run --guest" && exit 1; }

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree"/{bin,dev,proc,sys}
cp "$guest/busybox" "$tree/bin"
cp "$project/tests/linux/init" "$tree/init"
(cd "$tree" && find . | sort | "$guest/busybox" cpio -o -H newc 2>/dev/null) >"$guest/initrd"

"$rig/run" --kernel stock --cpus 1 --build "$build" --out "$build/rig-out-hyperv" --timeout 400 -- \
	python3 "$project/tests/linux/hyperv_inside.py" "$build"
