#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The tests of the whole machine, with its clock and its PCI bus in the daemon: one that lives, or one that is killed
# every few tenths of a second.
set -eu
how=$1 daemon=$2
shift 2
directory=$(mktemp -d)
supervise() {
	local pid
	while [ ! -e "$directory/stop" ]; do
		"$daemon" --socket "$directory/socket" &
		pid=$!
		sleep "0.$((RANDOM % 4 + 1))"
		while [ "$how" = living ] && [ ! -e "$directory/stop" ]; do sleep 0.1; done
		kill -9 "$pid"
		wait "$pid" 2>/dev/null || :
	done
}
supervise &
supervisor=$!
finish() {
	touch "$directory/stop"
	wait "$supervisor" || :
	rm -rf "$directory"
}
trap finish EXIT
until [ -S "$directory/socket" ]; do sleep 0.02; done
RINGVMM_TEST_DEVICE_MODEL=unix:$directory/socket "$@"
