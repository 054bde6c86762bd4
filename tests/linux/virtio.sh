#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Debian's drivers for virtio, as a guest in the rig: a file system on a disk, a load on a larger one (load), and a console. On mmio2
# and on v1. What was written to the disks is looked at by e2fsck afterwards.
#   virtio.sh BUILD
# On one CPU, for the reason that tests/kvm-rig/in_rig.sh has. RINGVMM_TEST_SLOW multiplies the limits in time.
set -eu
# shellcheck source=tests/rig/need.sh
. "$(dirname "$0")/../rig/need.sh"

build=$(realpath "$1")
guest=$build/virtio-guest
out=$build/rig-out-virtio
PATH=$PATH:/usr/sbin:/sbin
need_rig mmio2
"$rig/run" --guest "$guest" || { echo "FAIL: tests/rig/run --guest" && exit 1; }

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree"/{bin,dev,mnt,proc,sys}
cp "$guest/busybox" "$tree/bin"
cp "$guest/virtio_blk.ko" "$tree"
cp "$project/tests/linux/init" "$project/tests/linux/load" "$tree"
(cd "$tree" && find . | sort | "$guest/busybox" cpio -o -H newc 2>/dev/null) >"$guest/initrd"
rm -f "$guest/disk"
mke2fs -q -t ext4 "$guest/disk" 48M
sparse=$project/tests/linux/sparse.py
rm -f "$guest/large"
mke2fs -q -t ext4 "$guest/large" 512M
python3 "$sparse" pack "$guest/large" "$guest/large.packed"
rm "$guest/large"

"$rig/run" --kernel mmio2 --cpus 1 --memory 3072 --build "$build" --out "$out" --timeout 500 -- \
	python3 "$project/tests/linux/virtio_inside.py" "$build"
# A power cut is what a journal is for: fsck replays it (1: something was put right), and then all is clean.
status=0
e2fsck -fy "$out/killed" >"$out/fsck.log" 2>&1 || status=$?
[ "$status" -le 1 ] || { cat "$out/fsck.log" && echo "FAIL: fsck of the disk of a killed machine: $status" && exit 1; }
mv "$out/killed" "$out/disk.killed"
for packed in "$out"/large.*.packed; do
	disk=$out/disk.$(basename "$packed" .packed)
	python3 "$sparse" unpack "$packed" "$disk"
	rm "$packed"
done
for disk in "$out"/disk.*; do
	e2fsck -fn "$disk" >"$out/fsck.log" 2>&1 || { cat "$out/fsck.log" && echo "FAIL: $disk is not clean" && exit 1; }
done
