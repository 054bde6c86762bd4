# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# What the rig takes from Debian's archive: a kernel with its modules, and a static busybox. Packages are downloaded and
# unpacked into the cache; nothing is installed. Read in by `run`, which sets $cache, $work and the functions say and fail.

# On Debian 13 the 6.12 series is the plain meta package; there the first name does not exist.
kernel_metas="linux-image-6.12-cloud-amd64 linux-image-cloud-amd64"
private_lists=

# apt_ TOOL ARGUMENT... - apt with the rig's own package lists once `refresh_lists` has made them.
apt_() {
	local tool=$1
	shift
	local options=(-q -o APT::Sandbox::User="$(id -un)")
	[ -z "$private_lists" ] || options+=(-o Dir::State::lists="$private_lists" -o Dir::Cache="$cache/apt")
	"$tool" "${options[@]}" "$@"
}

# Old lists name packages that the archive has replaced. New ones go into the cache: the machine's own need root.
refresh_lists() {
	[ -z "$private_lists" ] || return 1
	private_lists=$cache/lists
	mkdir -p "$private_lists/partial" "$cache/apt/archives/partial"
	say "fetching package lists"
	apt_ apt-get update >"$work/apt.log" 2>&1
}

# download PACKAGE - leaves the package's file in $work/deb and says so on stdout.
download() {
	rm -rf "$work/deb"
	mkdir -p "$work/deb"
	say "downloading $1"
	(cd "$work/deb" && apt_ apt-get download "$1") >"$work/apt.log" 2>&1 || return 1
	printf '%s\n' "$work"/deb/*.deb
}

# The release (uname -r) that the meta package stands for today.
latest_release() {
	local meta release
	for meta in $kernel_metas; do
		release=$(apt_ apt-cache depends "$meta" 2>/dev/null | sed -n 's/.*Depends: linux-image-\(6\.12\..*\)$/\1/p' | head -n 1)
		[ -z "$release" ] || break
	done
	[ -n "$release" ] && printf '%s\n' "$release"
}

newest_cached_release() {
	find "$cache" -maxdepth 1 -name 'kernel-*' ! -name '*.new.*' -printf '%f\n' | sed 's/^kernel-//' | sort -V | tail -n 1
}

# Answers from the cache for a day: asking apt takes a second.
choose_release() {
	if [ -n "$(find "$cache/release" -mtime -1 2>/dev/null)" ] && [ -d "$cache/kernel-$(cat "$cache/release")" ]; then
		cat "$cache/release"
		return
	fi
	latest_release
}

# unpack_kernel RELEASE - from the package to $cache/kernel-RELEASE: linux (the kernel), config, and the few modules that are used.
unpack_kernel() {
	local release=$1 deb tree=$work/tree made module
	made=$cache/kernel-$release.new.$$
	deb=$(download "linux-image-$release") || return 1
	say "unpacking the kernel"
	mkdir -p "$tree" "$made/modules"
	dpkg -x "$deb" "$tree" || return 1
	cp "$tree/boot/vmlinuz-$release" "$made/linux"
	extract_vmlinux "$made/linux"
	cp "$tree/boot/config-$release" "$made/config"
	for module in drivers/block/virtio_blk virt/lib/irqbypass arch/x86/kvm/kvm arch/x86/kvm/kvm-amd; do
		unpack_module "$tree" "$release" "$module" "$made/modules" || return 1
	done
	unpack_guest "$tree" "$release" "$made/guest" || return 1
	mv -T "$made" "$cache/kernel-$release" 2>/dev/null || rm -rf "$made" # another run was first
	rm -rf "$tree"
}

# unpack_guest TREE RELEASE FOLDER - for guests in the rig: the kernel as the package has it, and more of its modules.
unpack_guest() {
	local module
	mkdir -p "$3"
	cp "$1/boot/vmlinuz-$2" "$3/vmlinuz"
	for module in drivers/block/virtio_blk drivers/acpi/button drivers/input/evdev; do
		unpack_module "$1" "$2" "$module" "$3" || return 1
	done
}

# What a cache of before has not.
need_guest_kernel() {
	[ ! -d "$kernel/guest" ] || return 0
	local deb tree=$work/tree made=$kernel/guest.new.$$
	deb=$(download "linux-image-$release") || { refresh_lists && deb=$(download "linux-image-$release"); } || return 1
	mkdir -p "$tree"
	dpkg -x "$deb" "$tree" && unpack_guest "$tree" "$release" "$made" || return 1
	mv -T "$made" "$kernel/guest" 2>/dev/null || rm -rf "$made" # another run was first
	rm -rf "$tree"
}

# Booting the ELF file inside spares the emulated machine a second of decompression. Offsets: Documentation/arch/x86/boot.rst
# (setup_sects, payload_offset, payload_length); the payload ends in four bytes that are no part of the zstd stream. Kernels
# that are packed otherwise stay as they are.
extract_vmlinux() {
	local sectors offset length
	command -v zstd >/dev/null || return 0
	sectors=$(od -A n -t u1 -j 497 -N 1 "$1") # 0x1f1
	read -r offset length <<<"$(od -A n -t u4 -j 584 -N 8 "$1")" # 0x248
	dd if="$1" bs=64K iflag=skip_bytes,count_bytes skip="$(((sectors + 1) * 512 + offset))" count="$((length - 4))" 2>/dev/null |
		zstd -dq >"$1.elf" 2>/dev/null && mv "$1.elf" "$1"
	rm -f "$1.elf"
}

unpack_module() {
	local file
	file=$(find "$1" -path "*/$2/kernel/$3.ko*" | head -n 1)
	case $file in
	*.xz) xz -dc "$file" >"$4/${3##*/}.ko" ;;
	*.zst) zstd -q -dc "$file" >"$4/${3##*/}.ko" ;;
	*.ko) cp "$file" "$4" ;;
	*) return 1 ;;
	esac
	drop_signature "$4/${3##*/}.ko"
}

# Checking the signature costs the emulated machine 0.7 billion instructions. The trailer is struct module_signature (12
# bytes, the signature's length last, big-endian) and 28 bytes of magic; an unsigned module only taints the kernel.
drop_signature() {
	local magic length
	magic=$(tail -c 28 "$1" | tr -d '\0')
	[ "$magic" = "~Module signature appended~" ] || return 0
	length=$((0x$(tail -c 32 "$1" | head -c 4 | od -A n -t x1 | tr -d ' \n')))
	truncate -s "-$((28 + 12 + length))" "$1"
}

# Sets $release and $kernel (a folder). 1 when there is none to be had, neither from the archive nor from the cache.
need_kernel() {
	release=$(choose_release)
	if [ -z "$release" ] || { [ ! -d "$cache/kernel-$release" ] && ! unpack_kernel "$release"; }; then
		if refresh_lists && release=$(latest_release); then
			[ -d "$cache/kernel-$release" ] || unpack_kernel "$release" || release=
		else
			release=
		fi
	fi
	if [ -z "$release" ]; then
		release=$(newest_cached_release)
		[ -n "$release" ] || return 1
		say "no package can be had; going on with the cached kernel $release"
	fi
	kernel=$cache/kernel-$release
	[ -n "$(find "$cache/release" -mtime -1 2>/dev/null)" ] && [ "$(cat "$cache/release")" = "$release" ] ||
		printf '%s\n' "$release" >"$cache/release"
}

# Sets $busybox: the machine's own when it is the static one, else the cache's.
need_busybox() {
	busybox=$cache/busybox
	[ ! -x "$busybox" ] || return 0
	local deb tree=$work/tree
	deb=$(download busybox-static) || { refresh_lists && deb=$(download busybox-static); } || return 1
	mkdir -p "$tree"
	dpkg -x "$deb" "$tree" || return 1
	cp "$tree/bin/busybox" "$busybox.new.$$" && mv "$busybox.new.$$" "$busybox"
	rm -rf "$tree"
}
