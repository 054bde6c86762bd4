#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# embed.sh TREE BUILD PAYLOAD - as somebody else's project: libringd is installed below a scratch directory, and the examples
# are built with what pkg-config says, shared and static, and run; embed-daemon.c with the installed ringd, which is killed
# under it. Without /dev/kvm they are only built (77).
set -eu
tree=$1 build=$2 payload=$3
stage=$(mktemp -d)
daemon=''
finish() {
	[ -z "$daemon" ] || kill -9 "$daemon" 2>/dev/null || :
	rm -rf "$stage"
}
trap finish EXIT
fail() {
	echo "$*"
	exit 1
}
command -v pkg-config >/dev/null || {
	echo "SKIP: pkg-config is not installed"
	exit 77
}
DESTDIR=$stage meson install -C "$build" --no-rebuild >/dev/null
pc=$(find "$stage" -name libringd.pc)
[ -n "$pc" ] || fail "no libringd.pc was installed"
export PKG_CONFIG_LIBDIR="${pc%/*}" PKG_CONFIG_SYSROOT_DIR="$stage"
libdir=${pc%/pkgconfig/*}

# Nothing of the source tree is on the path: a copy of the example stands alone.
mkdir "$stage/project"
cp "$tree/examples/embed-inprocess.c" "$tree/examples/embed-daemon.c" "$stage/project"
cd "$stage/project"
lines=$(wc -l <embed-inprocess.c)
[ "$lines" -lt 200 ] || fail "the example has $lines lines"
lines=$(wc -l <embed-daemon.c)
[ "$lines" -lt 250 ] || fail "the daemon's example has $lines lines"
warnings="-O2 -Wall -Wextra -Werror"
# shellcheck disable=SC2046,SC2086
cc $warnings -o shared embed-inprocess.c $(pkg-config --cflags --libs libringd)
# shellcheck disable=SC2046,SC2086
cc $warnings -static -o static embed-inprocess.c $(pkg-config --cflags --libs --static libringd)
# shellcheck disable=SC2046,SC2086
cc $warnings -o shared-daemon embed-daemon.c $(pkg-config --cflags --libs libringd)
# shellcheck disable=SC2046,SC2086
cc $warnings -static -o static-daemon embed-daemon.c $(pkg-config --cflags --libs --static libringd)
readelf -d shared | grep -q 'NEEDED.*\[libringd\.so\.0\]' || fail "the shared one does not need libringd.so.0"
! readelf -d static | grep -q NEEDED || fail "the static one needs shared libraries"
cat >version.c <<'END'
#include <ringd/ringd.h>
#include <stdio.h>
int main(void) { return puts(ringd_version()) < 0; }
END
# shellcheck disable=SC2046
cc -o version version.c $(pkg-config --cflags --libs libringd)
[ "$(LD_LIBRARY_PATH=$libdir ./version)" = "$(pkg-config --modversion libringd)" ] || fail "the versions differ"

if ! [ -r /dev/kvm ] || ! [ -w /dev/kvm ]; then
	echo "SKIP: built; there is no /dev/kvm to run it"
	exit 77
fi
[ -e "$payload" ] || {
	echo "SKIP: built; the guest (bench/tick.bin) is not there"
	exit 77
}
# exits_of PROGRAM BACKEND - runs 20,000 ticks and prints the exits
exits_of() {
	output=$(LD_LIBRARY_PATH=$libdir "./$1" "$payload" 20000 "$2") || fail "$1 $2: status $?: $output"
	echo "$1: $output" >&2
	echo "$output" | sed -n 's/^20000 ticks, \([0-9]*\) exits, .*/\1/p'
}
for program in shared static; do
	exits=$(exits_of "$program" auto)
	case $(LD_LIBRARY_PATH=$libdir "./$program" "$payload" 1 auto) in
	"back end off"*) echo "this KVM has no posted writes" ;;
	*)
		[ "${exits:-0}" -ge 20000 ] || fail "$program: $exits exits for 20000 ticks"
		[ "$exits" -lt 21000 ] || fail "$program: $exits exits for 20000 ticks"
		;;
	esac
done
exits=$(exits_of shared off)
[ "${exits:-0}" -ge 40000 ] || fail "off: $exits exits for 20000 ticks of two accesses"
for wrong in "" "/dev/null" "$payload 0" "$payload 5 fast"; do
	status=0
	# shellcheck disable=SC2086
	LD_LIBRARY_PATH=$libdir ./shared $wrong 2>/dev/null >&2 || status=$?
	[ "$status" = 2 ] || fail "'$wrong' gives status $status"
done

# The daemon as installed; it dies three times under each guest.
ringd=$(find "$stage" -path '*sbin/ringd')
[ -x "$ringd" ] || fail "no ringd was installed"
start_ringd() {
	"$ringd" --socket "$stage/socket" &
	daemon=$!
}
start_ringd
for program in shared-daemon static-daemon; do
	until [ -S "$stage/socket" ]; do sleep 0.02; done
	sleep 0.3 # till it listens
	LD_LIBRARY_PATH=$libdir "./$program" "$stage/socket" 30000 >"$stage/out" 2>"$stage/err" &
	guest=$!
	for _ in 1 2 3; do
		sleep 0.1
		kill -9 "$daemon"
		wait "$daemon" 2>/dev/null || :
		start_ringd
	done
	wait "$guest" || fail "$program: status $?: $(cat "$stage/err")"
	cat "$stage/out"
	grep -q '^60000 accesses, the daemon came back [1-9]' "$stage/out" || fail "$program: $(cat "$stage/out" "$stage/err")"
done
