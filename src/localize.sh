#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# localize.sh OUTPUT LIBRARY... -- COMPILER... - one archive of several, in which only what is public has a global name:
# a program that is linked with it may have functions of its own named as ours inside.
set -eu
output=$1
shift
libraries=
while [ "$1" != -- ]; do
	libraries="$libraries $1"
	shift
done
shift
# shellcheck disable=SC2086
"$@" -r -nostdlib -o "$output.o" -Wl,--whole-archive $libraries -Wl,--no-whole-archive
objcopy --localize-hidden "$output.o"
rm -f "$output"
ar rcs "$output" "$output.o"
rm -f "$output.o"
