# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# Read in by suite.sh, faults.sh and other tests in the rig: where things are, and the end of the test where there is no rig.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(cd "$here/../.." && pwd)
rig=$project/tests/rig

# need_rig KERNEL - fills the rig's cache, or ends the test as skipped.
need_rig() {
	local why status=0
	if [ "$1" = debug ] && [ ! -x "$rig/debug-kernel.sh" ]; then
		echo "SKIP: the rig has no debug kernel"
		exit 77
	fi
	why=$("$rig/run" --prepare --kernel "$1" 2>&1) || status=$?
	case $status in
	0) ;;
	77)
		echo "SKIP: ${why##*$'\n'}"
		exit 77
		;;
	*)
		echo "FAIL: tests/rig/run --prepare --kernel $1: $why"
		exit 1
		;;
	esac
}
