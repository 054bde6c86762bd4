#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A disk that boots Debian's kernel by GRUB, from a BIOS and from UEFI alike; made without root.
#   disk_image.sh IMAGE VMLINUZ INITRD CMDLINE
# Partition 1 (FAT, an EFI system partition) has all that boots, partition 2 (ext4) is the guest's to write to.
set -eu
image=$1 kernel=$2 initrd=$3 cmdline=$4
PATH=$PATH:/usr/sbin:/sbin
grub=/usr/lib/grub
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

esp_mib=48 data_mib=32
rm -f "$image"
truncate -s $((1 + esp_mib + data_mib))M "$image"
sfdisk -q "$image" <<-END
	label: dos
	1M,${esp_mib}M,ef,*
	$((1 + esp_mib))M,${data_mib}M,83
END

cat >"$tree/grub.cfg" <<-END
	serial --unit=0 --speed=115200
	terminal_output serial
	linux /vmlinuz $cmdline
	initrd /initrd
	boot
END
# shellcheck disable=SC2016 # GRUB's own variable
printf 'search --file --set=root /vmlinuz\nconfigfile ($root)/grub.cfg\n' >"$tree/early.cfg"
modules="part_msdos fat search search_fs_file normal configfile linux serial terminal"
# shellcheck disable=SC2086
grub-mkimage -O i386-pc -p / -c "$tree/early.cfg" -o "$tree/core.img" biosdisk $modules
# shellcheck disable=SC2086
grub-mkimage -O x86_64-efi -p / -c "$tree/early.cfg" -o "$tree/bootx64.efi" $modules

# boot.img is the boot sector's code, up to the partition table; core.img is where it looks: from the next sector on.
dd if="$grub/i386-pc/boot.img" of="$image" bs=440 count=1 conv=notrunc status=none
[ "$(stat -c %s "$tree/core.img")" -lt $((1024 * 1024 - 512)) ]
dd if="$tree/core.img" of="$image" bs=512 seek=1 conv=notrunc status=none

esp=$image@@1M
mformat -i "$esp" -F -T $((esp_mib * 2048)) ::
mmd -i "$esp" ::/EFI ::/EFI/BOOT
mcopy -i "$esp" "$tree/bootx64.efi" ::/EFI/BOOT/BOOTX64.EFI
mcopy -i "$esp" "$kernel" ::/vmlinuz
mcopy -i "$esp" "$initrd" "$tree/grub.cfg" ::/
mke2fs -q -t ext4 -E offset=$(((1 + esp_mib) * 1024 * 1024)) "$image" ${data_mib}M
