#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The tests of the whole machine, with its clock and its PCI bus in the daemon.
set -eu
daemon=$1
shift
directory=$(mktemp -d)
"$daemon" --socket "$directory/socket" &
pid=$!
finish() {
	kill "$pid" 2>/dev/null || :
	wait "$pid" || :
	rm -rf "$directory"
}
trap finish EXIT
until [ -S "$directory/socket" ]; do sleep 0.02; done
RINGVMM_TEST_DEVICE_MODEL=unix:$directory/socket "$@"
