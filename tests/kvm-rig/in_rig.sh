#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The doctor and the KVM tests in the rig.
#   in_rig.sh mmio2 BUILD   MMIO2's modules: the doctor picks mmio2; the suite kvm on mmio2
#   in_rig.sh v1 BUILD      the same modules: the suite kvm on v1, which is there beside mmio2
#   in_rig.sh stock BUILD   Debian's own modules: the doctor picks v1
# The suite takes two machines. With two CPUs and a busy host, QEMU 7.2's SVM leads SeaBIOS astray now and then, once in
# about fifty boots: with QEMU instead of ringvmm as well, and with Debian's own KVM. With one CPU none of 180 boots
# was, so the tests that boot firmware run there.
# RINGVMM_TEST_SLOW multiplies the tests' limits in time (10 here, 1 by default) and makes the longest ones shorter.
set -u
# shellcheck source=tests/rig/need.sh
. "$(dirname "$0")/../rig/need.sh"

what=$1
build=$(realpath "$2")
export RINGVMM_TEST_SLOW=${RINGVMM_TEST_SLOW:-10}

# boot KERNEL CPUS PART - ends the test unless all that PART (inside.py) is made of passes.
boot() {
	local status=0
	"$rig/run" --kernel "$1" --cpus "$2" --build "$build" --out "$build/rig-out-kvm-$what-$3" --timeout 280 -- \
		python3 "$project/tests/kvm-rig/inside.py" "$what" "$3" "$build" || status=$?
	[ "$status" = 0 ] || {
		echo "FAIL: $what, $3: exit status $status"
		exit 1
	}
}

case $what in
mmio2 | v1)
	need_rig mmio2
	boot mmio2 2 threads
	boot mmio2 1 firmware
	;;
stock)
	need_rig stock
	boot stock 2 doctor
	;;
*)
	echo "FAIL: '$what' is not mmio2, v1 or stock"
	exit 1
	;;
esac
