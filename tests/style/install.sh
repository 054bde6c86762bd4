#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# install.sh ROOT BUILD - `ninja install` works, with a staged DESTDIR too, and what it installs runs; the manual pages are
# sound, and each function of libringd has one.
set -eu
root=$1 build=$2
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
	find "$stage" -type f -path '*/man/*' >"$stage/pages"
	while read -r page; do
		warnings=$(LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null)
		[ -z "$warnings" ] || {
			echo "$page: $warnings"
			exit 1
		}
	done <"$stage/pages"
fi
"$root/tests/libringd/man.py" "$root" "$stage"
