#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# headers.sh SOURCE BUILD COMPILER... - each public header by itself, in C and in C++, with all warnings as errors, and beside
# the kernel's headers whose macros could clash. A C++ program is linked with the shared library and runs.
set -eu
cd "$1"
build=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
warnings="-Wall -Wextra -Wpedantic -Werror"
kernel="linux/kvm.h linux/pci_regs.h linux/pci.h linux/qemu_fw_cfg.h linux/virtio_pci.h"
cpp=$(command -v c++ || true)

# unit HEADER... - a translation unit that includes these
unit() {
	for header in "$@"; do
		echo "#include <$header>"
	done
	echo "int main(void); int main(void) { return 0; }"
}

checked=0
headers=$(cd include && ls ringd/*.h ringd/models/*.h)
[ "$(echo "$headers" | wc -l)" -ge 17 ] # all of them are found
for header in $headers; do
	for others in "" "$kernel"; do
		# shellcheck disable=SC2086
		unit $others "$header" "$header" >"$work/one.c"
		# shellcheck disable=SC2086
		"$@" -std=c11 $warnings -Iinclude -fsyntax-only "$work/one.c"
		checked=$((checked + 1))
		# shellcheck disable=SC2086
		[ -z "$cpp" ] || "$cpp" -x c++ -std=c++11 $warnings -Wold-style-cast -Iinclude -fsyntax-only "$work/one.c"
	done
done
echo "$checked C translation units"
[ -n "$cpp" ] || {
	echo "SKIP: no C++ compiler for the other half"
	exit 77
}
{
	for header in $headers; do
		echo "#include <$header>"
	done
	cat <<-'END'
		#include <cstdio>
		#include <cstring>
		int main()
		{
		    ringd_config config = {};
		    config.backend = RINGD_BACKEND_OFF;
		    config.vm_fd = config.vcpu_fd = config.cpu = -1;
		    ringd *rd;
		    ringd_dev *rtc;
		    if (ringd_create(&config, &rd) || ringd_add(rd, &mc146818_ops, nullptr, nullptr, &rtc))
		        return 1;
		    ringd_write(rtc, MC146818_INDEX, 0, 1, 0x0d);
		    unsigned valid = static_cast<unsigned>(ringd_read(rtc, MC146818_DATA, 0, 1));
		    ringd_destroy(rd);
		    std::printf("libringd %s, register D 0x%02x\n", ringd_version(), valid);
		    return valid != 0x80 || std::strcmp(ringd_version(), RINGD_VERSION) != 0 || RINGD_RING_SLOTS != 170;
		}
	END
} >"$work/all.cc"
# shellcheck disable=SC2086
"$cpp" -std=c++11 $warnings -Iinclude -o "$work/all" "$work/all.cc" "$build/src/libringd.so.0" -Wl,-rpath,"$build/src"
"$work/all"
