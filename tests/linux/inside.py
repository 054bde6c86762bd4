# SPDX-License-Identifier: BSD-2-Clause
"""In the rig: Debian's kernel booted directly or by OVMF, and its shell asked whether all is as it should be.

usage: inside.py direct|ovmf BUILD
"""
import hashlib
import os
import re
import select
import signal
import subprocess
import sys
import time

SLOW = int(os.environ.get('RINGVMM_TEST_SLOW') or 3)
BOOT_S, COMMAND_S = 40 * SLOW, 10 * SLOW
MEMORY_MIB = 256
# noxsave: the rig's emulator does not let KVM see XSETBV. nolapic: docs/boot.md, "Without ACPI". The rest is speed.
CMDLINE = ('console=ttyS0 noxsave nolapic panic=-1 loglevel=4 mitigations=off no5lvl audit=0 cryptomgr.notests 8250.nr_uarts=1 '
           'initcall_blacklist=load_system_certificate_list,jent_mod_init,bpf_tcp_ca_kfunc_init,bpf_dummy_struct_ops_init')
MAP = ['0000000000000000-0x000000000009fbff] usable', '000000000009fc00-0x000000000009ffff] reserved',
       '00000000000f0000-0x00000000000fffff] reserved', '0000000000100000-0x%016x] usable' % ((MEMORY_MIB << 20) - 1),
       '00000000feffc000-0x00000000feffffff] reserved']
# The power-off of a PC, as ACPI would do it: PMBASE and its enable bit in the configuration of 00:01.3 (82371AB data sheet,
# 7.1), which firmware would have set; then SLP_EN in PM1_CNT, at PMBASE + 4.
POWER_OFF = (r"cd /sys/bus/pci/devices/0000:00:01.3; printf '\001\006' | dd of=config bs=2 seek=32 2>/dev/null; "
             r"printf '\001' | dd of=config bs=1 seek=128 2>/dev/null; ports 0x605 0x20")


def say(*words):
    print(*words, flush=True)


class Failed(Exception):
    """What was expected, and what came."""


class Guest:
    """A run of ringvmm with its serial line here."""

    def __init__(self, build, kernel, *options):
        guest = os.path.join(build, 'linux-guest')
        self.title = '%s %s' % (kernel, ' '.join(options))
        self.command = [os.path.join(build, 'ringvmm'), 'run', '--memory', '%dM' % MEMORY_MIB, '--kernel',
                        os.path.join(guest, kernel), '--initrd', os.path.join(guest, 'initrd'), '--append', CMDLINE, *options]
        self.began = time.monotonic()
        # pylint: disable=consider-using-with
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.said = b''
        self.seen = 0  # up to where it has been looked at

    def wait_for(self, text, seconds):
        """Until the text has come, behind what was seen; returns what came before it."""
        end = time.monotonic() + seconds
        while True:
            at = self.said.find(text, self.seen)
            if at >= 0:
                before, self.seen = self.said[self.seen:at], at + len(text)
                return before.decode(errors='replace').replace('\r', '')
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise Failed('%r did not come within %d s' % (text, seconds))
            more = os.read(self.process.stdout.fileno(), 65536)
            if not more:
                raise Failed('%r did not come: the run ended' % text)
            self.said += more

    def type(self, line):
        self.process.stdin.write(line.encode() + b'\n')
        self.process.stdin.flush()

    def ask(self, command):
        """What a command in the guest prints."""
        self.type('echo "<<<"; %s; echo ">>>"' % command)
        self.wait_for(b'<<<', COMMAND_S)
        return self.wait_for(b'>>>', COMMAND_S).strip('\n')

    def up(self):
        began = time.monotonic()
        self.wait_for(b'guest is up', BOOT_S)
        return time.monotonic() - began

    def end(self, expected):
        try:
            out, err = self.process.communicate(timeout=COMMAND_S)
        except subprocess.TimeoutExpired as late:
            raise Failed('no end within %d s' % COMMAND_S) from late
        self.said += out
        if (self.process.returncode, err) != (expected, b''):
            raise Failed('status %d, not %d; it said: %s' % (self.process.returncode, expected, err.decode(errors='replace')))


def check(what, seen, holds):
    if not holds:
        raise Failed('%s: %r' % (what, seen))


def check_direct(guest, blob):
    """What only a direct boot has, and what each has."""
    cmdline = guest.ask('cat /proc/cmdline')
    check('the command line', cmdline, cmdline == CMDLINE)
    ranges = re.findall(r'BIOS-e820: \[mem 0x(.*)', guest.ask('dmesg | grep BIOS-e820'))
    # By PVH, Linux itself adds all that is missing below 1 MiB.
    check('the memory map', ranges, ranges == MAP or [ranges[0], *ranges[2:]] == [MAP[0], *MAP[3:]])
    check_guest(guest, blob)


def check_guest(guest, blob):
    digest = guest.ask('sha256sum /blob').split()[0]
    check('the bytes in the initrd', digest, digest == blob)
    total = int(guest.ask('grep MemTotal /proc/meminfo').split()[1])
    check('KiB of memory', total, MEMORY_MIB * 1024 * 0.7 < total < MEMORY_MIB * 1024)
    source = guest.ask('cat /sys/devices/system/clocksource/clocksource0/current_clocksource')
    check('the clock source', source, source == 'kvm-clock')
    clock, before = int(guest.ask('cat /sys/class/rtc/rtc0/since_epoch')), time.time()
    check('the clock in seconds from the host\'s', clock - before, abs(clock - before) < 10 * SLOW)
    bridge = guest.ask('cat /sys/bus/pci/devices/0000:00:00.0/device')
    check('the host bridge', bridge, bridge == ('0x29c0' if 'q35' in guest.title else '0x1237'))
    troubles = guest.ask('dmesg | grep -E "WARNING:|BUG:|Oops|Call Trace"')
    check('no trouble in the log', troubles, troubles == '')
    answer = guest.ask('echo $((6 * 7))')
    check('the shell', answer, answer == '42')


def reboot_and_power_off(guest, blob):
    """Boots, reboots and powers off: the second boot is a whole one."""
    guest.up()
    check_direct(guest, blob)
    guest.type('echo spoilt >/blob; reboot -f')
    guest.up()
    check_direct(guest, blob)
    guest.type(POWER_OFF)
    guest.end(0)


def reboot_ends(guest, blob):
    """--no-reboot: the guest's reboot is the end of the run."""
    guest.up()
    check_direct(guest, blob)
    cpus = guest.ask('nproc')
    check('CPUs found without ACPI', cpus, cpus == '1')
    guest.type('reboot -f')
    guest.end(0)


def power_off_halts(guest, blob):
    """Without ACPI the kernel knows no way to power off; it halts, and a signal ends the run."""
    guest.up()
    check_direct(guest, blob)
    guest.type('poweroff -f')
    guest.wait_for(b'System halted', COMMAND_S)
    guest.process.send_signal(signal.SIGTERM)
    guest.end(128 + signal.SIGTERM)


def by_firmware(guest, blob):
    """OVMF finds kernel, initrd and command line in fw_cfg; Linux is an EFI program then."""
    guest.up()
    check_guest(guest, blob)
    cmdline = guest.ask('cat /proc/cmdline')
    check('the command line', cmdline, cmdline.startswith(CMDLINE))
    firmware = guest.ask('ls /sys/firmware')
    check('started by EFI', firmware, 'efi' in firmware.split())
    guest.type('reboot -f')
    guest.end(0)


def runs_of(what, build):
    if what == 'ovmf':
        return [(by_firmware, 'vmlinuz', '--firmware', 'ovmf', '--no-reboot')]
    runs = [(reboot_and_power_off, 'vmlinuz', '--coalesce', 'mmio2'),
            (reboot_ends, 'vmlinuz', '--machine', 'q35', '--coalesce', 'v1', '--cpus', '2', '--no-reboot')]
    if os.path.exists(os.path.join(build, 'linux-guest', 'vmlinux')):
        runs.append((power_off_halts, 'vmlinux', '--coalesce', 'mmio2'))
    return runs


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in ('direct', 'ovmf'):
        sys.exit(__doc__)
    what, build = sys.argv[1:]
    with open(os.path.join(build, 'linux-guest', 'blob'), 'rb') as file:
        blob = hashlib.sha256(file.read()).hexdigest()
    failed = 0
    for steps, *options in runs_of(what, build):
        guest = Guest(build, *options)
        try:
            steps(guest, blob)
            say('ok    %-20s %5.1f s  %s' % (steps.__name__, time.monotonic() - guest.began, guest.title))
        except Failed as failure:
            failed += 1
            say('FAIL  %-20s %s: %s' % (steps.__name__, guest.title, failure))
            say(guest.said.decode(errors='replace'))
        finally:
            if guest.process.poll() is None:
                guest.process.kill()
            guest.process.wait()
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
