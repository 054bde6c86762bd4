#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Builds the rig's debug kernel from Debian's source, and the KVM modules with MMIO2 for it; `run --kernel debug` calls it.
#
# usage: tests/rig/debug-kernel.sh [OPTION]...
#   --output DIR        put kvm.ko and kvm-amd.ko there, for `run --kernel debug --modules DIR`, and mistakes.ko
#   --with-fault NAME   modules with a fault of kmod/faults put back; may be repeated
#   --clean             delete everything that this program has cached
#
# Prints the kernel's folder as its last line. Nothing is installed. Exit status: 0, 1 (the build failed), 2 (a wrong option,
# or something that must be there first is not) or 77 (the source can be had neither from the archive nor from the cache).
set -euo pipefail
export LC_ALL=C

rig=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kmod=$(cd "$rig/../../kmod" && pwd)
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/ringvmm/rig
output='' faults=() work='' maker='' jobs=${RINGVMM_JOBS:-$(nproc)}
package=linux-source-6.12
# Lines that make writes for this configuration, for the progress report; a figure that is off does no harm.
kernel_steps=1850 module_steps=55
# shellcheck source=tests/rig/packages.sh
. "$rig/packages.sh"

say() { printf 'rig: %s\n' "$*" >&2; }
fail() {
	say "$*"
	exit 2
}
usage() { sed -n '/^# usage:/,/^$/{/^#/{s/^# \{0,1\}//;p}}' "$rig/debug-kernel.sh"; }

parse() {
	while [ $# -gt 0 ]; do
		case $1 in
		--output | --with-fault) [ $# -ge 2 ] || fail "$1 needs a value" ;;
		esac
		case $1 in
		--output) output=$2 && shift ;;
		--with-fault)
			[ -e "$kmod/faults/$2.patch" ] || fail "there is no fault '$2' (kmod/build.sh --list-faults)"
			faults+=("$2") && shift
			;;
		--clean) rm -rf "$cache"/debug-* && exit 0 ;;
		-h | --help) usage && exit 0 ;;
		*) fail "'$1' is not an option; see --help" ;;
		esac
		shift
	done
}

need_build_tools() {
	local tool missing=
	for tool in bc bison cmp dpkg-deb flex flock gcc gzip ld make patch sha256sum strip xz; do
		command -v "$tool" >/dev/null || missing="$missing $tool"
	done
	printf '#include <gelf.h>\n' | gcc -E -o /dev/null - 2>/dev/null || missing="$missing gelf.h"
	[ -z "$missing" ] || fail "the debug kernel's build needs$missing (Debian: apt-get install bc bison diffutils flex gcc libelf-dev make patch xz-utils)"
}

archive_version() { apt_ apt-cache show --no-all-versions "$package" 2>/dev/null | sed -n 's/^Version: //p' | head -n 1; }

# Sets $version and $source to the newest source package. The archive is asked once a day, as for the rig's other kernel; the
# machine's package lists may be too old for it. Without an archive the source that was used last will do.
choose_source() {
	local known=$cache/debug-version
	version=$(cat "$known" 2>/dev/null || true)
	if [ -z "$(find "$known" -mtime -1 2>/dev/null)" ] || [ ! -d "$cache/debug-source-$version" ]; then
		take_version || { refresh_lists && take_version; } || [ -d "$cache/debug-source-$version" ] || {
			say "$package cannot be had from the archive: $(tail -n 1 "$work/apt.log" 2>/dev/null)"
			exit 77
		}
		printf '%s\n' "$version" >"$known"
	fi
	source=$cache/debug-source-$version
}

# Sets $version to the archive's, with its source in the cache; fails and leaves it as it is when that cannot be.
take_version() {
	local found
	found=$(archive_version)
	[ -n "$found" ] || return 1
	[ -d "$cache/debug-source-$found" ] || fetch_source "$found" || return 1
	version=$found
}

# What a kernel build reads is 0.5 of the package's 1.5 GB: other architectures and most drivers have to be there by their
# Kconfig files only.
unneeded='arch/[!x]*/*.[chSs] arch/[!x]*/*.dts* arch/[!x]*/*defconfig arch/xtensa/*.[chS] Documentation/*.rst
	Documentation/*.yaml Documentation/*.txt drivers/gpu/drm/*.[ch] drivers/infiniband/*.[ch] drivers/media/*.[ch]
	drivers/net/ethernet/*.[ch] drivers/net/wireless/*.[ch] drivers/scsi/*.[ch] drivers/staging/*.[ch] sound/*.[ch]
	tools/perf/* tools/testing/*'

# fetch_source VERSION - from the package into the cache.
fetch_source() {
	local deb pattern excludes=() new=$cache/debug-source-$1.new
	set -f
	for pattern in $unneeded; do excludes+=("--exclude=$package/$pattern"); done
	set +f
	deb=$(download "$package=$1") || return 1
	say "unpacking the source"
	rm -rf "$new"
	mkdir -p "$new"
	dpkg-deb --fsys-tarfile "$deb" | tar -xO "./usr/src/$package.tar.xz" | tar -xJ -C "$new" --strip-components=1 "${excludes[@]}" ||
		fail "$package $1 cannot be unpacked"
	rm -f "$deb"
	mv "$new" "$cache/debug-source-$1"
}

# run_make LOG STEPS ARGUMENT... - make, with a line every 30 s that says how far it is.
run_make() {
	local log=$1 steps=$2 seconds=0
	shift 2
	nice -n 5 make -j "$jobs" "$@" >"$log" 2>&1 &
	maker=$!
	while kill -0 "$maker" 2>/dev/null; do
		sleep 1
		seconds=$((seconds + 1))
		[ $((seconds % 30)) != 0 ] || say "$seconds s: $(wc -l <"$log") of some $steps steps"
	done
	wait "$maker" || {
		maker=
		grep -E 'error|Error|\*\*\*' "$log" | head -n 20 >&2 || true
		say "the build failed; all of it: $log"
		exit 1
	}
	maker=
}

# allnoconfig and what the fragment adds. A line that has no effect, for want of what it depends on, is an error.
configure() {
	local line name
	make -s -C "$source" O="$1" KCONFIG_ALLCONFIG="$rig/debug-kernel.config" allnoconfig >"$work/config.log" 2>&1 ||
		fail "the configuration failed: $(tail -n 3 "$work/config.log")"
	while IFS= read -r line; do
		case $line in
		CONFIG_*) grep -qxF -e "$line" "$1/.config" || fail "debug-kernel.config: $line has no effect" ;;
		'# CONFIG_'*' is not set')
			name=${line#\# }
			! grep -q "^${name%% *}=" "$1/.config" || fail "debug-kernel.config: $line has no effect"
			;;
		esac
	done <"$rig/debug-kernel.config"
}

# What building modules against the kernel needs stays; its own object files go, 0.4 GB of them.
trim() {
	find "$1" \( -path "$1/scripts" -o -path "$1/tools" \) -prune -o \
		-type f \( -name '*.[oa]' -o -name '.*.cmd' -o -name 'vmlinux*' -o -name 'bzImage' \) -exec rm -f {} +
}

# Sets $kernel to a folder with linux (what is booted), config, release and build (what modules are built against).
need_debug_kernel() {
	local key new
	key=$({ cat "$rig/debug-kernel.config" && gcc --version && printf '%s\n' "$version"; } | sha256sum | cut -c 1-16)
	kernel=$cache/debug-$key
	if [ -d "$kernel" ]; then
		touch "$kernel"
		return
	fi
	need_build_tools
	new=$kernel.new
	rm -rf "$new"
	mkdir -p "$new/build"
	say "building the debug kernel from $package $version: about 10 minutes on two cores, once for this configuration"
	configure "$new/build"
	run_make "$new/kernel.log" "$kernel_steps" -C "$source" O="$new/build" bzImage modules_prepare
	cp "$new/build/arch/x86/boot/bzImage" "$new/linux"
	cp "$new/build/.config" "$new/config"
	cp "$new/build/include/config/kernel.release" "$new/release"
	# The modules' build looks here for what the kernel exports. It has no other module that they could use.
	cp "$new/build/vmlinux.symvers" "$new/build/Module.symvers"
	trim "$new/build"
	mv -T "$new" "$kernel"
	sed -i "s,$new/build,$kernel/build,g" "$kernel/build/Makefile"
	remove_old
}

# Kernels and sources that nothing has used for a week.
remove_old() {
	touch "$source"
	find "$cache" -maxdepth 1 -name 'debug-*' -type d ! -samefile "$kernel" ! -samefile "$source" ! -samefile "$work" -mtime +7 \
		-exec rm -rf {} +
}

apply() {
	patch -s -p1 -F 0 -d "$2" <"$1" >"$work/patch.log" 2>&1 ||
		fail "$(basename "$1") does not fit $package $version: $(head -n 5 "$work/patch.log")"
}

# KVM's source with our files and patches, as kmod/build.sh has it; irqbypass, on which kvm.ko depends; and mistakes.c.
stage_tree() {
	local tree=$1 fault
	mkdir -p "$tree/arch/x86" "$tree/virt" "$tree/include/trace"
	cp -r "$source/arch/x86/kvm" "$tree/arch/x86/"
	cp -r "$source/virt/kvm" "$source/virt/lib" "$tree/virt/"
	cp "$kmod"/coalesced_mmio2.[ch] "$tree/virt/kvm/"
	apply "$kmod/hook.patch" "$tree"
	apply "$kmod/rig.patch" "$tree"
	for fault in ${faults[@]+"${faults[@]}"}; do apply "$kmod/faults/$fault.patch" "$tree"; done
	# The paths into the kernel's tree lead to the copies. KVM's trace headers are found by way of include/trace, whose
	# parent's parent must be the copies' as well.
	# shellcheck disable=SC2016
	sed -i -e 's,\$(srctree)/arch/x86/kvm,$(src) -I $(src)/../../../include/trace,' \
		-e 's,\$(srctree)/virt/kvm,$(src)/../../../virt/kvm,' "$tree/arch/x86/kvm/Makefile"
	mkdir "$tree/mistakes"
	cp "$rig/mistakes.c" "$tree/mistakes/"
	printf 'obj-m += mistakes.o\n' >"$tree/mistakes/Makefile"
	printf 'obj-m += virt/lib/ arch/x86/kvm/ mistakes/\n' >"$tree/Kbuild"
}

# Copies only what differs, so that make compiles only that.
update_tree() {
	local file
	(cd "$1" && find . -type d -print0) | (mkdir -p "$2" && cd "$2" && xargs -0 mkdir -p)
	while IFS= read -r file; do
		cmp -s "$1/$file" "$2/$file" || cp "$1/$file" "$2/$file"
	done < <(cd "$1" && find . -type f)
}

# Sets $product to a folder with the modules that were asked for.
need_modules() {
	local key fault new
	key=$({
		cat "$rig/debug-kernel.sh" "$rig/mistakes.c" "$kmod"/coalesced_mmio2.[ch] "$kmod/hook.patch" "$kmod/rig.patch"
		for fault in ${faults[@]+"${faults[@]}"}; do cat "$kmod/faults/$fault.patch"; done
	} | sha256sum | cut -c 1-16)
	product=$kernel/products/$key
	[ ! -d "$product" ] || return 0
	need_build_tools
	say "building KVM's modules for $(cat "$kernel/release")${faults[*]:+ with ${faults[*]}}"
	stage_tree "$work/tree"
	update_tree "$work/tree" "$kernel/tree"
	run_make "$kernel/modules.log" "$module_steps" -C "$kernel/build" M="$kernel/tree" modules
	new=$product.new
	rm -rf "$new"
	mkdir -p "$new"
	cp "$kernel"/tree/arch/x86/kvm/{kvm,kvm-amd}.ko "$kernel/tree/mistakes/mistakes.ko" "$new/"
	# The same with every fault; `run` takes it from the kernel's own modules.
	mkdir -p "$kernel/modules"
	cp "$kernel/tree/virt/lib/irqbypass.ko" "$kernel/modules/"
	mv -T "$new" "$product"
}

# shellcheck disable=SC2317 # the trap calls it
end() {
	[ -z "$maker" ] || kill "$maker" 2>/dev/null || true
	[ -z "$work" ] || rm -rf "$work"
}

main() {
	parse "$@"
	mkdir -p "$cache"
	exec 9>"$cache/debug.lock"
	flock 9
	work=$(mktemp -d "$cache/debug-work.XXXXXX")
	trap end EXIT
	choose_source
	need_debug_kernel
	need_modules
	if [ -n "$output" ]; then
		mkdir -p "$output"
		cp "$product"/*.ko "$output/"
	fi
	printf '%s\n' "$kernel"
}

main "$@"; exit
