# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# Read in by the tests that run in the rig: where things are, and the end of a test where there is no rig.
rig=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck disable=SC2034 # for who reads this in
project=$(cd "$rig/../.." && pwd)

# need_rig KERNEL - fills the rig's cache, or ends the test as skipped.
need_rig() {
	local why status=0
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
