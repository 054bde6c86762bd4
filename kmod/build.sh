#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Builds kvm.ko, kvm-amd.ko and kvm-intel.ko with MMIO2 for a Debian 6.12 kernel.
#
# usage: kmod/build.sh [OPTION]...
#   --kernel RELEASE    what `uname -r` says there, e.g. 6.12.117+deb12-cloud-amd64 (default: the newest 6.12 in the archive)
#   --flavour FLAVOUR   with no --kernel: cloud-amd64 (the default), amd64 or rt-amd64
#   --output FOLDER     put the modules there (default: only into the cache)
#   --rig               the variant for an emulated machine under QEMU 7.2: see rig.patch
#   --with-fault NAME   put a fault of the third posting back, for tests of the tests; may be repeated (--list-faults)
#   --list-faults       names and meanings of the faults
#   --clean             delete everything that this program has cached
#
# Prints the folder with the modules as its last line. What Debian packages hold is unpacked into
# ${XDG_CACHE_HOME:-$HOME/.cache}/ringvmm/kmod and never installed. Headers and source that are installed and of the right
# version are used where they are, so a machine that has both needs no network. Exit status: 0, 1 (the build failed) or
# 2 (a wrong option, or something that must be there first is not).
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/ringvmm/kmod
[[ $cache == /* ]] || cache=$PWD/$cache # dkms.conf's
modules=(kvm kvm-amd kvm-intel)
release='' flavour=cloud-amd64 output='' rig='' faults=()
private_lists=

say() { printf '%s\n' "$*" >&2; }
fail() {
	say "kmod/build.sh: $*"
	exit 2
}
usage() { sed -n '/^# usage:/,/^$/{/^#/{s/^# \{0,1\}//;p}}' "$0"; }

list_faults() {
	local patch
	for patch in "$here"/faults/*.patch; do
		printf '%-20s %s\n' "$(basename "$patch" .patch)" "$(head -n 1 "$patch")"
	done
}

parse_options() {
	while [ $# -gt 0 ]; do
		case $1 in
		--kernel | --flavour | --output | --with-fault)
			[ $# -ge 2 ] || fail "$1 needs a value"
			;;
		esac
		case $1 in
		--kernel) release=$2 && shift ;;
		--flavour) flavour=$2 && shift ;;
		--output) output=$2 && shift ;;
		--rig) rig=1 ;;
		--with-fault)
			[ -e "$here/faults/$2.patch" ] || fail "no fault '$2'; there are: $(list_faults | awk '{printf "%s ", $1}')"
			faults+=("$2") && shift
			;;
		--list-faults) list_faults && exit 0 ;;
		--clean) rm -rf "$cache" && exit 0 ;;
		-h | --help) usage && exit 0 ;;
		*) fail "unknown option '$1' (--help says what there is)" ;;
		esac
		shift
	done
	case $release in
	'' | 6.12.*-amd64) ;;
	*) fail "--kernel $release: only Debian's 6.12 kernels for amd64, such as 6.12.117+deb12-cloud-amd64" ;;
	esac
}

need_tools() {
	local tool missing=
	for tool in apt-cache apt-get bc cmp dpkg dpkg-deb flock make patch sha256sum xz; do
		command -v "$tool" >/dev/null || missing="$missing $tool"
	done
	[ -z "$missing" ] || fail "missing:$missing (on Debian: apt-get install bc diffutils make patch util-linux xz-utils)"
}

# apt_ TOOL ARGUMENT... - apt with package lists of our own once refresh_lists has made them.
apt_() {
	local tool=$1
	shift
	local options=(-q -o APT::Sandbox::User="$(id -un)")
	[ -z "$private_lists" ] || options+=(-o Dir::State::lists="$private_lists" -o Dir::Cache="$cache/apt")
	"$tool" "${options[@]}" "$@"
}

# The machine's package lists may be absent or name packages that the archive has replaced; renewing them needs root, so
# new ones go into the cache. Fails when that has been done already.
refresh_lists() {
	[ -z "$private_lists" ] || return 1
	private_lists=$cache/lists
	mkdir -p "$private_lists/partial" "$cache/apt/archives/partial"
	say "fetching package lists"
	apt_ apt-get update >"$cache/apt.log" 2>&1 || fail "apt-get update failed: $(tail -n 3 "$cache/apt.log")"
}

# field PACKAGE FIELD - of the newest version that the archive has.
field() { apt_ apt-cache show --no-all-versions "$1" 2>/dev/null | sed -n "s/^$2: //p" | head -n 1; }

# Meta packages: Debian 12 has 6.12 beside its own 6.1, in Debian 13 it is the plain one.
newest_release() {
	local meta found
	for meta in "linux-headers-6.12-$flavour" "linux-headers-$flavour"; do
		found=$(field "$meta" Depends | grep -o "linux-headers-6\.12\.[^ ,]*-$flavour" | head -n 1 || true)
		if [ -n "$found" ]; then
			printf '%s\n' "${found#linux-headers-}"
			return
		fi
	done
	return 1
}

# The version of the kernel's packages, and what the headers package needs.
resolve() {
	if [ -z "$release" ]; then
		release=$(newest_release) || { refresh_lists && release=$(newest_release); } ||
			fail "this machine's Debian archive has no 6.12 kernel of flavour $flavour"
	fi
	local package=linux-headers-$release show
	if installed "$package" >/dev/null; then
		headers=/usr/src/$package
		version=$(installed "$package")
		depends=$(dpkg-query -W -f='${Depends}' "$package")
		return
	fi
	show=$(field "$package" Version)
	[ -n "$show" ] || { refresh_lists && show=$(field "$package" Version); } || true
	[ -n "$show" ] || fail "the archive has no package $package: is $release still current? (default: the newest)"
	version=$show
	depends=$(field "$package" Depends)
	headers=$cache/headers/$release/usr/src/$package
}

installed() { dpkg-query -W -f='${db:Status-Status} ${Version}\n' "$1" 2>/dev/null | sed -n 's/^installed //p' | grep .; }

# download PACKAGE - of $version, into $scratch.
download() {
	say "downloading $1 $version"
	(cd "$scratch" && apt_ apt-get download "$1=$version") >"$cache/apt.log" 2>&1 && return
	refresh_lists && (cd "$scratch" && apt_ apt-get download "$1=$version") >"$cache/apt.log" 2>&1 && return
	fail "cannot download $1 $version: $(tail -n 2 "$cache/apt.log")"
}

# needed PATTERN - the package of that name among what the headers package depends on.
needed() { grep -o "$1" <<<"$depends" | head -n 1 || true; }

fetch_headers() {
	[ ! -e "$headers/Makefile" ] || return 0
	local package folder=$cache/headers/$release
	rm -rf "$folder" "$folder.new"
	for package in "linux-headers-$release" "$(needed 'linux-headers-[^ ,]*-common[^ ,]*')" "$(needed 'linux-kbuild-[^ ,]*')"; do
		[ -n "$package" ] || fail "linux-headers-$release depends on packages that this program does not know: $depends"
		download "$package"
		dpkg -x "$scratch/${package}_"*.deb "$folder.new"
	done
	# The package's Makefile names the common headers by the path that they have when installed.
	sed -i "s,/usr/src/,$folder/usr/src/,g" "$folder.new/usr/src/linux-headers-$release/Makefile"
	mv "$folder.new" "$folder"
}

# KVM's two folders, as Debian has patched them.
fetch_source() {
	source=$cache/source/$version
	[ ! -d "$source" ] || return 0
	local tar=(tar -xJ -C "$source.new" --strip-components=1 --wildcards 'linux-source-6.12/arch/x86/kvm' 'linux-source-6.12/virt/kvm')
	rm -rf "$source.new"
	mkdir -p "$source.new"
	if [ "$(installed linux-source-6.12 || true)" = "$version" ] && [ -e /usr/src/linux-source-6.12.tar.xz ]; then
		"${tar[@]}" </usr/src/linux-source-6.12.tar.xz
	else
		download linux-source-6.12
		say "unpacking KVM's source"
		dpkg-deb --fsys-tarfile "$scratch/linux-source-6.12_"*.deb |
			tar -xO ./usr/src/linux-source-6.12.tar.xz | "${tar[@]}"
		rm -f "$scratch/linux-source-6.12_"*.deb
	fi
	mv "$source.new" "$source"
}

# apply PATCH FOLDER - all of it or nothing, and no guessing.
apply() {
	patch -s -p1 -F 0 -d "$2" <"$1" >"$scratch/patch.log" 2>&1 ||
		fail "$(basename "$1") does not fit the source of $version: $(head -n 5 "$scratch/patch.log")"
}

# Debian's source with our files and patches, as a tree to be built.
stage_tree() {
	local fault makefile=$scratch/tree/arch/x86/kvm/Makefile
	cp -r "$source" "$scratch/tree"
	cp "$here"/coalesced_mmio2.[ch] "$scratch/tree/virt/kvm/"
	apply "$here/hook.patch" "$scratch/tree"
	[ -z "$rig" ] || apply "$here/rig.patch" "$scratch/tree"
	for fault in ${faults[@]+"${faults[@]}"}; do
		apply "$here/faults/$fault.patch" "$scratch/tree"
	done
	# The two paths into the kernel's tree lead to the copies. KVM's trace headers are found by way of include/trace,
	# whose parent's parent must be the copies' as well.
	# shellcheck disable=SC2016
	sed -i -e 's,\$(srctree)/arch/x86/kvm,$(src) -I $(src)/../../../include/trace,' \
		-e 's,\$(srctree)/virt/kvm,$(src)/../../../virt/kvm,' "$makefile"
	mkdir -p "$scratch/tree/include/trace"
}

# Copies only what differs, so that make compiles only that: a variant costs a few seconds after the first build.
update_tree() {
	local file
	mkdir -p "$tree"
	(cd "$scratch/tree" && find . -type d -print0) | (cd "$tree" && xargs -0 mkdir -p)
	while IFS= read -r file; do
		cmp -s "$scratch/tree/$file" "$tree/$file" || cp "$scratch/tree/$file" "$tree/$file"
	done < <(cd "$scratch/tree" && find . -type f)
}

build_tree() {
	local log=$tree.log jobs=${RINGVMM_JOBS:-$(nproc)}
	say "building for $release"
	# BTF needs pahole and is of no use here.
	make -C "$headers" M="$tree/arch/x86/kvm" CONFIG_DEBUG_INFO_BTF_MODULES= -j "$jobs" modules >"$log" 2>&1 || {
		grep -E 'error|Error|\*\*\*' "$log" | head -n 20 >&2 || true
		say "kmod/build.sh: the build failed; all of it: $log"
		exit 1
	}
}

collect() {
	local module new=$product.new.$$
	rm -rf "$new"
	mkdir -p "$new"
	for module in "${modules[@]}"; do
		strip --strip-debug -o "$new/$module.ko" "$tree/arch/x86/kvm/$module.ko"
	done
	printf '%s\n' "$release" >"$new/release"
	rm -rf "$product"
	mv "$new" "$product"
}

need_compiler() {
	local compiler
	compiler=$(needed 'gcc-[0-9][0-9]*')
	[ -z "$compiler" ] || command -v "x86_64-linux-gnu-$compiler" >/dev/null ||
		fail "$release is built with $compiler, which is missing: apt-get install $compiler"
}

# What a product depends on: everything of ours that goes into it, the package's version and the variant.
product_key() {
	{
		cat "$here"/build.sh "$here"/*.patch "$here"/coalesced_mmio2.[ch]
		for fault in ${faults[@]+"${faults[@]}"}; do cat "$here/faults/$fault.patch"; done
		printf '%s\n' "$version" "$release" "rig=$rig" "${faults[*]-}"
	} | sha256sum | cut -c 1-16
}

main() {
	parse_options "$@"
	need_tools
	mkdir -p "$cache/products" "$cache/trees" "$cache/source" "$cache/headers"
	exec 9>"$cache/lock"
	flock 9
	resolve
	product=$cache/products/$release-$(product_key)
	tree=$cache/trees/$release
	if [ ! -d "$product" ]; then
		need_compiler
		scratch=$(mktemp -d "$cache/scratch.XXXXXX")
		trap 'rm -rf "$scratch"' EXIT
		fetch_headers
		fetch_source
		stage_tree
		update_tree
		build_tree
		collect
	fi
	if [ -n "$output" ]; then
		mkdir -p "$output"
		cp "$product"/*.ko "$product/release" "$output/"
		product=$output
	fi
	printf '%s\n' "$product"
}

main "$@"
