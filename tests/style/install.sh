#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# `ninja install` works, with a staged DESTDIR too, and what it installs runs.
set -eu
build=$1
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
DESTDIR=$stage meson install -C "$build" --no-rebuild >/dev/null
program=$(find "$stage" -type f -name ringvmm -perm -u+x)
[ -n "$program" ] || {
	echo "no ringvmm was installed"
	exit 1
}
"$program" --version
find "$stage" -name 'ringvmm.1*' | grep -q . || {
	echo "no manual page was installed"
	exit 1
}
if ! find "$stage" -type f -name ringd -perm -u+x | grep -q . || ! find "$stage" -name ringd.socket | grep -q .; then
	echo "no ringd was installed, or not its units"
	exit 1
fi
if command -v man >/dev/null; then
	for page in ringvmm.1 ringd.8; do
		warnings=$(LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$(find "$stage" -name "$page*" | head -n 1)" 2>&1 >/dev/null)
		[ -z "$warnings" ] || {
			echo "$warnings"
			exit 1
		}
	done
fi
