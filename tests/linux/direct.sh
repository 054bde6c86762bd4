#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Debian's kernel as a guest in the rig, to a shell and to its end.
#   direct.sh BUILD direct   booted directly, on mmio2 and on v1, through reboots
#   direct.sh BUILD hpet     booted directly with an HPET, as clock source and for interrupts
#   direct.sh BUILD ovmf     from fw_cfg, by OVMF; skipped where OVMF is not installed, as the rig has it from there
# On one CPU, for the reason that tests/kvm-rig/in_rig.sh has. RINGVMM_TEST_SLOW multiplies the limits in time.
set -eu
# shellcheck source=tests/rig/need.sh
. "$(dirname "$0")/../rig/need.sh"

build=$(realpath "$1")
what=$2
guest=$build/linux-guest
ovmf=/usr/share/OVMF/OVMF_CODE_4M.fd
if [ "$what" = ovmf ] && [ ! -r "$ovmf" ]; then
	echo "SKIP: $ovmf is not there (Debian: ovmf)"
	exit 77
fi
need_rig mmio2
status=0
why=$("$rig/run" --guest "$guest" 2>&1) || status=$?
case $status in
0) ;;
77) echo "SKIP: ${why##*$'\n'}" && exit 77 ;;
*) echo "FAIL: tests/rig/run --guest: $why" && exit 1 ;;
esac

# The initramfs: busybox, init, and bytes whose sum inside.py knows.
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree"/{bin,dev,proc,sys}
cp "$guest/busybox" "$tree/bin"
cp "$project/tests/linux/init" "$tree/init"
head -c 3000001 /dev/urandom >"$guest/blob"
cp "$guest/blob" "$tree/blob"
(cd "$tree" && find . | sort | "$guest/busybox" cpio -o -H newc 2>/dev/null) >"$guest/initrd"

"$rig/run" --kernel mmio2 --cpus 1 --build "$build" --out "$build/linux-out" --timeout 500 -- \
	python3 "$project/tests/linux/inside.py" "$what" "$build"
