#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The daemon with guests in the emulated machine.
#   in_rig.sh rings BUILD    KVM's own rings in the daemon, which is killed under a storm of writes; the example
#   in_rig.sh boot BUILD     SeaBIOS with clock and PCI bus in a daemon that is killed, on mmio2 and on v1; the tests of
#                            the whole machine on mmio2. One CPU: tests/kvm-rig/in_rig.sh says why
#   in_rig.sh posted BUILD   a KVM that frees a ring with its one mapping, as posted: the loss is detected and counted
set -u
# shellcheck source=tests/rig/need.sh
. "$(dirname "$0")/../rig/need.sh"
what=$1
build=$(realpath "$2")
export RINGVMM_TEST_SLOW=${RINGVMM_TEST_SLOW:-4}
need_rig mmio2
modules=(--kernel mmio2)

in_rig() {
	local cpus=$1
	shift
	"$rig/run" "${modules[@]}" --cpus "$cpus" --build "$build" --out "$build/rig-out-daemon-$what" --timeout 300 -- \
		bash -c "$*" bash "$build" "$project/tests/daemon"
}

# shellcheck disable=SC2016
case $what in
rings)
	in_rig 2 '"$1/ringvmm" doctor | grep "^  ok  *daemon-safe rings  *yes: " &&
		"$1/tests/daemon/test_kvm_ring" "$1/ringd" && sh "$2/embed.sh" "$1/tests/daemon/embed-daemon" "$1/ringd" 4000'
	;;
boot)
	in_rig 1 'for back_end in mmio2 v1; do
		echo "$back_end"
		RINGVMM_TEST_BACKEND=$back_end sh "$2/boot.sh" "$1/ringvmm" "$1/ringd" || exit 1
	done
	RINGVMM_TEST_BACKEND=mmio2 "$2/machine.sh" living "$1/ringd" "$1/tests/kvm/test_machine" "$1/ringvmm" "$1/tests/kvm"'
	;;
posted)
	release=$(cat "${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/ringvmm/rig/release")
	product=$("$project/kmod/build.sh" --rig --kernel "$release" --with-fault one-mapping --with-fault unmap-frees | tail -n 1)
	[ -f "$product/kvm.ko" ] || {
		echo "FAIL: kmod/build.sh --with-fault one-mapping --with-fault unmap-frees"
		exit 1
	}
	modules=(--modules "$product")
	in_rig 1 '"$1/tests/daemon/test_kvm_ring" "$1/ringd" posted'
	;;
*)
	echo "FAIL: '$what' is not rings, boot or posted"
	exit 1
	;;
esac
