#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The example runs its guest to the end, though the daemon is killed under it again and again.
set -eu
example=$1 daemon=$2 rounds=${3:-60000}
if ! [ -r /dev/kvm ] || ! [ -w /dev/kvm ]; then
	echo "skipped: no /dev/kvm"
	exit 77
fi
directory=$(mktemp -d)
pid=
finish() {
	[ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || :
	rm -rf "$directory"
}
trap finish EXIT
start() {
	"$daemon" --socket "$directory/socket" &
	pid=$!
}
start
while [ ! -S "$directory/socket" ]; do sleep 0.02; done
sleep 0.1
"$example" "$directory/socket" "$rounds" >"$directory/out" 2>"$directory/err" &
guest=$!
for _ in 1 2 3 4 5; do
	sleep 0.1
	kill -9 "$pid"
	wait "$pid" 2>/dev/null || :
	start
done
wait "$guest"
cat "$directory/out" "$directory/err"
grep -q "^$((rounds * 2)) accesses, the daemon came back [1-9]" "$directory/out"
