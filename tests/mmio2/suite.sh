#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Runs the MMIO2 suite in the rig, on two CPUs.
#   suite.sh [--debug] BUILD [ARGUMENT OF mmio2_suite]...
#   --debug   on the rig's debug kernel, with ten times the time; what that kernel reports is a failure, too
set -u
# shellcheck source=tests/rig/need.sh
. "$(dirname "$0")/../rig/need.sh"

kernel=mmio2 slow=1 timeout=300 out=mmio2-out
if [ "${1-}" = --debug ]; then
	kernel=debug slow=10 timeout=7200 out=mmio2-out-debug
	shift
fi
build=$(realpath "$1")
shift
need_rig "$kernel"
"$rig/run" --kernel "$kernel" --cpus 2 --build "$build" --out "$build/$out" --timeout "$timeout" -- \
	"$build/tests/mmio2/mmio2_suite" --slow "$slow" "$@"
status=$?
# The suite found no MMIO2 where it has to be.
[ "$status" != 77 ] || {
	echo "FAIL: the modules of kmod/build.sh do not work in the rig"
	exit 1
}
exit "$status"
