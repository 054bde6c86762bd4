#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The arrows between the layers go one way only: vmm -> ringd -> the device interface <- devices.
set -eu
cd "$1"
status=0
forbid() { # WHAT PATTERN FILE...
	what=$1 pattern=$2
	shift 2
	if grep -nE "$pattern" "$@"; then
		echo "$what"
		status=1
	fi
}
forbid 'device models reach nothing outside' \
	'#include[ \t]*[<"](linux/|ev\.h|sys/|unistd|pthread|fcntl|signal|time\.h|vmm/|ringd/(ringd|kvm_mmio2)\.h|ringd/[a-z_]*\.h")' \
	src/devices/*.[ch] include/ringd/models/*.h
forbid 'src/ringd must not know the VMM or a device model' '#include[ \t]*[<"](vmm/|devices/|ringd/models/)' src/ringd/*.[ch]
forbid 'ringvmm is built on the public headers of libringd alone' '#include[ \t]*"(ringd|devices)/' src/vmm/*.[ch]
forbid 'src/common is for all: it includes nothing of ours' '#include[ \t]*("|<ringd/)' src/common/*.[ch]
forbid 'include/ is public: it includes nothing from src/' '#include[ \t]*"' include/ringd/*.h include/ringd/models/*.h
forbid 'src/client is for strangers: public headers and its own' '#include[ \t]*"(vmm|devices|ringd|daemon)/' src/client/*.[ch]
forbid 'src/daemon must not know the VMM' '#include[ \t]*"vmm/' src/daemon/*.[ch]
for file in $(find src include bench tests examples -name '*.[ch]' -o -name '*.S'); do
	head -n 1 "$file" | grep -q 'SPDX-License-Identifier: BSD-2-Clause' || {
		echo "$file: no SPDX line at its head"
		status=1
	}
done
exit $status
