#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# compile.sh IASL OUTPUT NAME INPUT COMPILER... - one ACPI table as a C array `NAME`, from ACPI source language: through the C
# preprocessor, through iasl (any warning is an error), and byte by byte into a file to be compiled.
set -eu
iasl=$1 output=$2 name=$3 input=$4
shift 4
base=${output%.c}
rm -f "$base.aml"
"$@" -E -P -undef -nostdinc -x c -I"$(dirname "$input")" "$input" -o "$base.asl"
if ! "$iasl" -vs -we -p "$base" "$base.asl" >"$base.log" 2>&1 || ! [ -s "$base.aml" ]; then
	cat "$base.log" >&2
	exit 1
fi
{
	echo '/* Made by compile.sh. */'
	echo '#include "vmm/acpi_internal.h"'
	echo "const unsigned char ${name}[] = {"
	od -An -v -tx1 "$base.aml" | sed 's/ \([0-9a-f][0-9a-f]\)/0x\1,/g'
	echo '};'
	echo "const unsigned int ${name}_size = sizeof($name);"
} >"$output"
