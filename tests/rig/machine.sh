# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# The emulated machine: QEMU's arguments, the streams, the end. Read in by `run`; images.sh sets $base, $disk, $initramfs.

# With a host thread for each CPU, QEMU 7.2 corrupts nested guests and their host within minutes (docs/rig.md, Limits).
# With --icount, one guest instruction is one nanosecond of the machine's clock; the clock and the random numbers depend on nothing outside.
set_accelerator() {
	if [ "$icount" = 1 ]; then
		accelerator=(-accel "tcg,thread=single,tb-size=256" -icount "shift=0,sleep=off" -smp 1 -seed 1
			-rtc "base=2026-01-01T00:00:00,clock=vm")
	else
		accelerator=(-accel "tcg,thread=$threads,tb-size=256" -smp "$cpus" -rtc base=utc)
	fi
}

# mitigations: they cost emulation time and defend nothing here. no5lvl: `-cpu max` has five-level paging, a fifth more work
# in each page walk. tsc=reliable: no watchdog compares it with slower clocks. nokaslr, norandmaps: runs that repeat.
# The initcalls left out check certificates, test a random number generator and read BPF's type data: half a billion
# instructions of the boot, and nothing here uses what they make.
kernel_line="console=ttyS0 loglevel=7 panic=-1 oops=panic mitigations=off no5lvl tsc=reliable no_timer_check nokaslr norandmaps \
nowatchdog cryptomgr.notests audit=0 random.trust_cpu=on i8042.nokbd i8042.noaux 8250.nr_uarts=1 rdinit=/init \
initcall_blacklist=load_system_certificate_list,jent_mod_init,bpf_tcp_ca_kfunc_init,bpf_dummy_struct_ops_init"

# The debug kernel's: every report of KASAN, not only the first; and what `session` writes to the console is not rationed.
debug_line="kasan_multi_shot printk.devkmsg=on"

# port NUMBER NAME FILE - a virtio-serial port whose bytes the machine writes to a file: no reader can slow it down or lose any.
port() {
	ports+=(-chardev "file,id=$2,path=${3//,/,,}" -device "virtserialport,nr=$1,chardev=$2,name=rig.$2")
}

# The emulator changes a CPU's pending interrupts in VMRUN and at each exit without its lock, so that an interrupt that comes in
# that moment is lost: most often the timer's, and the machine then sleeps for ever. Another interrupt brings it to light, so one
# comes from outside each second (docs/rig.md, Limits). With --icount the CPU's own thread runs the timers, and none is lost.
beat() {
	while sleep 1 && kill -0 "$1"; do echo; done
}

start_beat() {
	[ "$icount" = 0 ] || return 0
	beat "$machine" </dev/null >"$work/beat.in" 2>/dev/null &
	beating=$!
}

stop_beat() {
	[ -z "${beating:-}" ] || kill "$beating" 2>/dev/null || true
	beating=
}

set_ports() {
	ports=(-device "virtio-serial-pci,max_ports=8")
	if [ "$mode" = shell ]; then
		ports+=(-chardev "stdio,id=terminal,mux=on,signal=off" -device "virtconsole,nr=0,chardev=terminal")
	fi
	: >"$work/stdout" >"$work/stderr" >"$work/status" >"$work/out.tar"
	port 1 out "$work/stdout"
	port 2 err "$work/stderr"
	port 3 status "$work/status"
	port 4 files "$work/out.tar"
	[ "$icount" = 0 ] || return 0
	mkfifo "$work/beat.in" "$work/beat.out"
	ports+=(-chardev "pipe,id=beat,path=${work//,/,,}/beat" -device "virtserialport,nr=5,chardev=beat,name=rig.beat")
}

# Writes to the base image go to a file of this run alone (snapshot=on), in $TMPDIR.
drive() { printf 'if=none,id=%s,format=raw,cache=unsafe,file=%s,%s' "$1" "${2//,/,,}" "$3"; }

start_machine() {
	local limit=() line=$kernel_line
	[ "$which" != debug ] || line="$line $debug_line"
	set_accelerator
	set_ports
	[ "$timeout" = 0 ] || limit=(timeout --foreground -k 5 "$timeout")
	# The parent's death ends the machine: a killed run leaves nothing behind.
	TMPDIR=$work setpriv --pdeathsig TERM "${limit[@]}" qemu-system-x86_64 "${accelerator[@]}" -cpu max -m "$memory" \
		-machine "q35,hpet=off" -nodefaults -no-user-config -display none -no-reboot \
		-kernel "$kernel/linux" -initrd "$initramfs" -append "$line" \
		-chardev "file,id=console,path=${work//,/,,}/console.log" -serial chardev:console \
		-drive "$(drive base "$base" snapshot=on)" -device virtio-blk-pci,drive=base \
		-drive "$(drive project "$disk" snapshot=off)" -device virtio-blk-pci,drive=project \
		"${ports[@]}" <&0 2>"$work/qemu.log" &
	machine=$!
	start_beat
}

# Copies a file that still grows to a stream, until the machine has ended.
follow() { exec tail -n +1 -f -s 0.1 --pid="$machine" "$1"; }

start_streams() {
	streams=()
	[ "$mode" != shell ] || return 0
	follow "$work/stdout" &
	streams+=($!)
	[ "$merged" = 1 ] || {
		follow "$work/stderr" >&2 &
		streams+=($!)
	}
}

# Sets $ended to the machine's own exit status (124: timeout), or to 141 when nobody reads the output any more.
wait_for_machine() {
	local first=
	ended=0
	wait -n -p first "$machine" "${streams[@]}" || ended=$?
	if [ "$first" != "$machine" ]; then
		stop_machine
		ended=141
	fi
	wait "${streams[@]}" 2>/dev/null || true
}

# Ends the machine, whatever it is doing.
stop_machine() {
	[ -n "${machine:-}" ] || return 0
	kill -TERM "$machine" 2>/dev/null || true
	wait "$machine" 2>/dev/null || true
	machine=
}

# What comes back: the console, and what the command wrote under $OUT.
bring_back() {
	[ ! -f "$work/console.log" ] || mv -f "$work/console.log" "$out/console.log"
	[ ! -s "$work/out.tar" ] || tar -C "$out" -xf "$work/out.tar" --no-same-owner 2>"$work/tar.log" ||
		say "what came back is incomplete: $(tail -n 1 "$work/tar.log")"
}

# How the kernel's reports begin: BUG: (KASAN, sleeping, spinlocks) and BUG kmalloc-.. (slab), WARNING: (lockdep, RCU, WARN_ON),
# INFO: trying to register (lockdep), UBSAN:, and what `session` says about leaks. RCU stalls are none: a busy host makes them.
problem='(BUG[: ]|WARNING: |UBSAN: |Oops: |kernel BUG at |INFO: trying to register|(list_add|list_del) corruption|rig: PROBLEM: )'

# Sets $problems to 1 when the kernel has reported any, and says how the first begins and what others there are.
find_problems() {
	local found first
	found=$(grep -aonE "^\[ *[0-9.]+\] .*$problem.*" "$out/console.log") || return 0
	problems=1
	first=${found%%:*}
	say "the kernel has reported $(wc -l <<<"$found") problems; $out/console.log, from line $first:"
	sed -n "$first,$((first + 24))p" "$out/console.log" | tr -d '\r' >&2
	say "all that begin so:"
	cut -d: -f2- <<<"$found" | tr -d '\r' | sed 's/^\[ *[0-9.]*\] *//' | sort | uniq -c | sort -rn | head -n 20 >&2
}

# The command's exit status; 1 when that is 0 and there are $problems. Where there is none, a line that says why.
result() {
	local status
	status=$(sed -n 's/^status \([0-9]*\)$/\1/p' "$work/status")
	if [ -n "$status" ]; then
		[ "$status" != 0 ] || status=$problems
		return "$status"
	elif [ "$ended" = 124 ] || [ "$ended" = 137 ]; then
		say "timeout: the command had not ended after $timeout s (--timeout); console: $out/console.log"
		return 124
	elif [ "$ended" = 141 ]; then
		return 141
	elif [ -s "$work/qemu.log" ]; then
		say "the emulator failed: $(grep -v 'terminating on signal' "$work/qemu.log" | tail -n 3)"
	else
		say "the machine went down before the command ended; $out/console.log says:"
		grep -aE 'Kernel panic|BUG:|Oops|RIP:|rig: ' "$out/console.log" | tail -n 4 >&2
	fi
	return 125
}
