#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# SeaBIOS comes up with its clock and its PCI bus in the daemon, and its log is the same to the letter, though the daemon
# is killed under it again and again. RINGVMM_TEST_BACKEND: auto, mmio2, v1 or off.
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
	"$vmm" run --coalesce "${RINGVMM_TEST_BACKEND:-auto}" --serial null --debugcon "file:$log" "$@" </dev/null &
	guest=$!
}

# give_up WHERE LOG
give_up() {
	echo "SeaBIOS does not come up $1; its log ends:"
	tail -n 3 "$2" || :
	exit 1
}

last_line() {
	grep -q 'Retrying in 60 seconds\.' "$1" 2>/dev/null
}

end_guest() {
	sleep 0.2 # the end of the last line
	kill -TERM "$guest" # the shell has it ignore SIGINT
	wait "$guest" || :
	guest=''
}

if "$vmm" run --device-model "unix:$directory/nobody" --serial null </dev/null 2>"$directory/err"; then
	echo "it ran without a daemon"
	exit 1
fi
grep -q "start 'ringd" "$directory/err"

start_guest "$directory/here" --stats "table:$directory/here.stats"
tries=0
until last_line "$directory/here"; do
	tries=$((tries + 1))
	[ $tries -lt 400 ] || give_up here "$directory/here"
	sleep 0.1
done
end_guest

start_daemon
until [ -S "$directory/socket" ]; do sleep 0.02; done
sleep 0.1
start_guest "$directory/there" --device-model "unix:$directory/socket" --stats "table:$directory/stats"
tries=0 kills=0
until last_line "$directory/there"; do
	tries=$((tries + 1))
	[ $tries -lt 600 ] || give_up "with the daemon" "$directory/there"
	sleep 0.05
	if [ $kills -lt 20 ]; then
		kill -9 "$daemon_pid"
		wait "$daemon_pid" 2>/dev/null || :
		start_daemon
		kills=$((kills + 1))
	fi
done
end_guest
cmp "$directory/here" "$directory/there"
grep -o 'daemon-[a-z]*=[0-9]*' "$directory/stats" | sort -u
if grep -q 'daemon-failures=[1-9]' "$directory/stats"; then
	exit 1
fi
grep -q 'daemon-returns=[1-9]' "$directory/stats"
# On KVM's own rings in the daemon this process sees no posted write; else it hands them on.
if [ "${RINGVMM_TEST_BACKEND:-auto}" = mmio2 ]; then
	! grep '^0x70:POUT .* [1-9][0-9]*$' "$directory/stats" || exit 1
elif [ "${RINGVMM_TEST_BACKEND:-auto}" = v1 ]; then
	grep -q '^0x70:POUT .* [1-9][0-9]*$' "$directory/stats"
fi
# Each daemon that takes over tells where everything is; nothing is moved for that.
moved() {
	grep -o '^Windows moved and memory below 1 MiB switched: [1-9][0-9]* times$' "$1"
}
moved "$directory/here.stats"
[ "$(moved "$directory/here.stats")" = "$(moved "$directory/stats")" ] || {
	echo "with the daemon it is: $(moved "$directory/stats")"
	exit 1
}
# A daemon that stays away is waited for as long as the option says, once; then the guest goes on without it.
start_guest "$directory/alone" --device-model "unix:$directory/socket" --device-model-wait 100 --stats "table:$directory/stats"
until [ -s "$directory/alone" ]; do sleep 0.01; done
kill -9 "$daemon_pid"
wait "$daemon_pid" 2>/dev/null || :
daemon_pid=''
killed=$(date +%s)
sleep 1
end_guest
[ $(($(date +%s) - killed)) -lt 8 ] || { # 10 s is the default
	echo "the daemon was waited for too long"
	exit 1
}
grep -q 'daemon-failures=[1-9]' "$directory/stats" || {
	echo "no access was given up"
	exit 1
}
echo "$kills kills"

# On the other machine: the same log with the daemon and without, and the clock is there alone.
boot_q35() {
	rm -f "$directory/here" "$directory/there" "$directory/stats" "$directory/socket"
	start_guest "$directory/here" --machine q35
	tries=0
	until last_line "$directory/here"; do
		tries=$((tries + 1))
		[ $tries -lt 600 ] || give_up here "$directory/here"
		sleep 0.1
	done
	end_guest

	start_daemon
	until [ -S "$directory/socket" ]; do sleep 0.02; done
	sleep 0.1
	start_guest "$directory/there" --machine q35 --device-model "unix:$directory/socket" \
		--stats "table:$directory/stats"
	tries=0 kills=0
	until last_line "$directory/there"; do
		tries=$((tries + 1))
		[ $tries -lt 1200 ] || give_up "with the daemon" "$directory/there"
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
	[ "$there" = 1 ] || { echo "$there models in the daemon, not the clock alone"; exit 1; }
	echo "q35: $kills kills"
}

boot_q35
