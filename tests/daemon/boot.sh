#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# SeaBIOS comes up with its clock and its PCI bus in the daemon (on q35 with its clock there: that machine's bus stays in
# the process), and its log is the same to the letter, though the daemon is killed under it again and again.
set -eu
vmm=$1 daemon=$2
if ! [ -r /dev/kvm ] || ! [ -w /dev/kvm ] || ! [ -r /usr/share/seabios/bios-256k.bin ]; then
	echo "skipped: no /dev/kvm, or no SeaBIOS"
	exit 77
fi
directory=$(mktemp -d)
daemon_pid='' guest=''
finish() {
	for pid in $daemon_pid $guest; do
		kill -9 "$pid" 2>/dev/null || :
	done
	rm -rf "$directory"
}
trap finish EXIT

start_daemon() {
	"$daemon" --socket "$directory/socket" &
	daemon_pid=$!
}

# LOG OPTION...: starts a guest that logs there
start_guest() {
	log=$1
	shift
	"$vmm" run --serial null --debugcon "file:$log" "$@" </dev/null &
	guest=$!
}

last_line() {
	grep -q 'Retrying in 60 seconds\.' "$1" 2>/dev/null
}

end_guest() {
	sleep 0.2 # the end of the last line
	kill -INT "$guest"
	wait "$guest" || :
	guest=''
}

if "$vmm" run --device-model "unix:$directory/nobody" --serial null </dev/null 2>"$directory/err"; then
	echo "it ran without a daemon"
	exit 1
fi
grep -q "start 'ringd" "$directory/err"

# MACHINE [MODEL]...: the same log with the daemon and without, and these models are there, no others
boot() {
	machine=$1
	shift
	start_guest "$directory/here" --machine "$machine"
	tries=0
	until last_line "$directory/here"; do
		tries=$((tries + 1))
		[ $tries -lt 600 ] || { echo "SeaBIOS does not come up here"; exit 1; }
		sleep 0.1
	done
	end_guest

	start_daemon
	until [ -S "$directory/socket" ]; do sleep 0.02; done
	sleep 0.1
	start_guest "$directory/there" --machine "$machine" --device-model "unix:$directory/socket" \
		--stats "table:$directory/stats"
	tries=0 kills=0
	until last_line "$directory/there"; do
		tries=$((tries + 1))
		[ $tries -lt 1200 ] || { echo "SeaBIOS does not come up with the daemon"; exit 1; }
		sleep 0.05
		if [ $kills -lt 20 ]; then
			kill -9 "$daemon_pid"
			wait "$daemon_pid" 2>/dev/null || :
			start_daemon
			kills=$((kills + 1))
		fi
	done
	end_guest
	kill -9 "$daemon_pid"
	wait "$daemon_pid" 2>/dev/null || :
	daemon_pid=''
	cmp "$directory/here" "$directory/there"
	grep -o 'daemon-[a-z]*=[0-9]*' "$directory/stats" | sort -u
	if grep -q 'daemon-failures=[1-9]' "$directory/stats"; then
		exit 1
	fi
	grep -q 'daemon-returns=[1-9]' "$directory/stats"
	there=$(grep -c 'daemon-returns=' "$directory/stats")
	[ "$there" = $# ] || { echo "$there models in the daemon, not $#: $*"; exit 1; }
	echo "$machine: $kills kills"
	rm "$directory/here" "$directory/there" "$directory/stats" "$directory/socket"
}

boot i440fx rtc pci
boot q35 rtc
