#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Debian's kernel as a guest in the rig, to a shell and to its end.
#   direct.sh BUILD direct   booted directly, on mmio2 and on v1, through reboots
#   direct.sh BUILD hpet     booted directly with an HPET, as clock source and for interrupts
#   direct.sh BUILD ovmf     from fw_cfg, by OVMF; skipped where OVMF is not installed, as the rig has it from there
#   direct.sh BUILD disk     from a disk, by GRUB, which SeaBIOS or OVMF starts
# On one CPU, for the reason that tests/kvm-rig/in_rig.sh has. RINGVMM_TEST_SLOW multiplies the limits in time.
set -eu
# shellcheck source=tests/rig/need.sh
. "$(dirname "$0")/../rig/need.sh"

build=$(realpath "$1")
what=$2
guest=$build/linux-guest-$what
out=$build/rig-out-linux-$what
ovmf=/usr/share/OVMF/OVMF_CODE_4M.fd
if [ "$what" != direct ] && [ ! -r "$ovmf" ]; then
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
cp "$guest/busybox" "$build/tests/linux/rtc" "$tree/bin"
cp "$guest"/*.ko "$tree"
cp "$project/tests/linux/init" "$tree/init"
head -c 3000001 /dev/urandom >"$guest/blob"
cp "$guest/blob" "$tree/blob"
(cd "$tree" && find . | sort | "$guest/busybox" cpio -o -H newc 2>/dev/null) >"$guest/initrd"

if [ "$what" = disk ]; then
	for tool in grub-mkimage:grub-common mformat:mtools sfdisk:fdisk mke2fs:e2fsprogs; do
		PATH=$PATH:/usr/sbin:/sbin command -v "${tool%%:*}" >/dev/null || {
			echo "SKIP: ${tool%%:*} is not there (Debian: ${tool##*:})"
			exit 77
		}
	done
	cmdline=$(cd "$project/tests/linux" && PYTHONDONTWRITEBYTECODE=1 python3 -c 'import inside; print(inside.CMDLINE)')
	"$project/tests/linux/disk_image.sh" "$guest/disk" "$guest/vmlinuz" "$guest/initrd" "$cmdline"
fi

"$rig/run" --kernel mmio2 --cpus 1 --build "$build" --out "$out" --timeout 500 -- \
	python3 "$project/tests/linux/inside.py" "$what" "$build"
[ "$what" != disk ] || for disk in "$out"/disk.*; do
	PATH=$PATH:/usr/sbin:/sbin e2fsck -fn "$disk?offset=$((49 * 1024 * 1024))" >"$out/fsck.log" 2>&1 || {
		cat "$out/fsck.log"
		echo "FAIL: the file system on $disk is not clean"
		exit 1
	}
done
