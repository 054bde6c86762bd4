# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=sh
# For run.sh and test.sh to read in: installs what is missing and builds. Sets $build.

say() { printf '%s\n' "$*" >&2; }
die() {
	say "ringvmm: $*"
	exit 2
}

# The packages of the list that are not installed yet.
missing_packages() {
	for package in "$@"; do
		dpkg-query -W -f='${Status}\n' "$package" 2>/dev/null | grep -q '^install ok installed$' || printf '%s ' "$package"
	done
}

# need PACKAGE... - installs what is missing; asks for nothing that is there.
need() {
	command -v dpkg-query >/dev/null || {
		say "ringvmm: this is not Debian; going on with what is installed (wanted: $*)"
		return 0
	}
	wanted=$(missing_packages "$@")
	[ -n "$wanted" ] || return 0
	as_root=
	if [ "$(id -u)" != 0 ]; then
		command -v sudo >/dev/null || die "packages are missing and this is neither root nor is there sudo: $wanted"
		as_root=sudo
	fi
	say "installing: $wanted"
	log=$(mktemp)
	# shellcheck disable=SC2086
	if ! { $as_root apt-get update -q && $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y \
		--no-install-recommends $wanted; } >"$log" 2>&1 </dev/null; then
		tail -n 20 "$log" >&2
		rm -f "$log"
		die "installing failed: $wanted"
	fi
	rm -f "$log"
}

# build_in FOLDER [MESON OPTION]... - configures once, compiles what has changed, and shows the output only when it fails.
build_in() {
	build=$1
	shift
	log=$(mktemp)
	if [ ! -e "$build/build.ninja" ]; then
		say "configuring $build"
		rm -rf "$build"
		if ! meson setup "$build" "$@" >"$log" 2>&1; then
			cat "$log" >&2
			rm -f "$log"
			die "the build could not be configured"
		fi
	fi
	if ! ninja -C "$build" >"$log" 2>&1; then
		cat "$log" >&2
		rm -f "$log"
		die "the build failed"
	fi
	rm -f "$log"
}

RUN_PACKAGES="gcc libc6-dev linux-libc-dev meson ninja-build pkg-config acpica-tools libev-dev libjansson-dev libseccomp-dev liburing-dev seabios"
# QEMU is the peer of the benchmarks; strace counts exits from outside.
BENCH_PACKAGES="qemu-system-x86 strace"
TEST_PACKAGES="ovmf grub-common grub-pc-bin grub-efi-amd64-bin mtools fdisk e2fsprogs clang libclang-rt-dev clang-format g++ libcmocka-dev strace python3 util-linux man-db"
