#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# All C files are as clang-format 14 leaves them.
set -eu
cd "$1"
command -v clang-format >/dev/null || {
	echo "SKIP: clang-format is not installed"
	exit 77
}
version=$(clang-format --version | sed 's/.*version \([0-9]*\).*/\1/')
[ "$version" = 14 ] || {
	echo "SKIP: clang-format is version $version; other versions than 14 format differently"
	exit 77
}
find src include bench tests examples -name '*.[ch]' 2>/dev/null | sort | xargs clang-format --dry-run -Werror
