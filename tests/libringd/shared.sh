#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# shared.sh PROGRAM LIBRARY - ringvmm, linked with the shared libringd, uses nothing that an embedder does not have, and
# loads it from there.
set -eu
program=$1 library=$2
fail() {
	echo "$*"
	exit 1
}
readelf -d "$program" | grep -q 'NEEDED.*\[libringd\.so\.0\]' || fail "$program is not linked with libringd.so.0"
readelf -d "$library" | grep -q 'SONAME.*\[libringd\.so\.0\]' || fail "$library is not called libringd.so.0"
for symbol in ringd_read mc146818_ops; do
	readelf -W --dyn-syms "$program" | grep -q " $symbol@LIBRINGD_0" || fail "$program does not ask for $symbol@LIBRINGD_0"
done
! nm --defined-only "$program" | grep -q ' [TtDdBb] \(ring_replay\|serve_timer\)$' || fail "$program holds parts of libringd"
LD_BIND_NOW=1 "$program" --version
LD_BIND_NOW=1 "$program" doctor >/dev/null || [ $? -le 1 ] || fail "doctor does not run"
