# SPDX-License-Identifier: BSD-2-Clause
"""In the rig: Debian's kernel booted directly, by OVMF, or from a disk by GRUB, and its shell asked whether all is as it should
be.

usage: inside.py direct|ovmf|disk|hpet BUILD
"""
import calendar
import hashlib
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time

SLOW = int(os.environ.get('RINGVMM_TEST_SLOW') or 3)
BOOT_S, COMMAND_S = 40 * SLOW, 10 * SLOW
EVIDENCE_S = 5
MEMORY_MIB = 256
TABLES = 0x8000  # for ACPI, at the end of memory
# noxsave: the rig's emulator does not let KVM see XSETBV. The rest is speed.
CMDLINE = ('console=ttyS0 noxsave panic=-1 loglevel=4 mitigations=off no5lvl audit=0 cryptomgr.notests 8250.nr_uarts=1 '
           'initcall_blacklist=load_system_certificate_list,jent_mod_init,bpf_tcp_ca_kfunc_init,bpf_dummy_struct_ops_init')
MAP = ['0000000000000000-0x000000000009fbff] usable', '000000000009fc00-0x000000000009ffff] reserved',
       '00000000000f0000-0x00000000000fffff] reserved', '0000000000100000-0x%016x] usable' % ((MEMORY_MIB << 20) - TABLES - 1),
       '%016x-0x%016x] ACPI NVS' % ((MEMORY_MIB << 20) - TABLES, (MEMORY_MIB << 20) - 1),
       '00000000feffc000-0x00000000feffffff] reserved']
# What Linux warns of though all is well: i440fx has no MMCONFIG, and no guest has its processors' frequencies.
KNOWN = ("PNP0A03:00: fail to add MMCONFIG information, can't access extended configuration space under this bridge",
         'amd_pstate: the _CPC object is not present in SBIOS or ACPI disabled')


def say(*words):
    print(*words, flush=True)


def own_folder():
    """Where direct.sh has put what is booted."""
    return 'linux-guest-' + sys.argv[1]


class Failed(Exception):
    """What was expected, and what came."""


class Guest:
    """A run of ringvmm with its serial line here. Its statistics go to $OUT."""
    runs = 0

    def __init__(self, build, kernel, *options, folder=None, append=''):
        guest = os.path.join(build, folder or own_folder())
        self.title = '%s %s' % (kernel or 'disk', ' '.join(options))
        self.command = [os.path.join(build, 'ringvmm'), 'run', '--memory', '%dM' % MEMORY_MIB, *options]
        if kernel:
            self.command += ['--kernel', os.path.join(guest, kernel), '--initrd', os.path.join(guest, 'initrd'), '--append',
                             CMDLINE + append]
        Guest.runs += 1
        self.run = Guest.runs
        if '--stats' not in options:
            self.command += ['--stats', 'json:' + os.path.join(os.environ['OUT'], 'stats.%d' % self.run)]
        self.cpus = int(options[options.index('--cpus') + 1]) if '--cpus' in options else 1
        self.machine = options[options.index('--machine') + 1] if '--machine' in options else 'i440fx'
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

    def ask(self, command, seconds=COMMAND_S):
        """What a command in the guest prints."""
        self.type('echo "<<<"; %s; echo ">>>"' % command)
        self.wait_for(b'<<<', COMMAND_S)
        return self.wait_for(b'>>>', seconds).strip('\n')

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


    def stop(self):
        """Ends a run that has not ended by itself, and keeps what tells why: where its threads are, then its statistics."""
        if self.process.poll() is None:
            with open(os.path.join(os.environ['OUT'], 'threads.%d' % self.run), 'w', encoding='utf-8') as file:
                file.write(threads(self.process.pid))
            self.process.send_signal(signal.SIGINT)
            try:
                out, err = self.process.communicate(timeout=EVIDENCE_S)
                say('      ended by SIGINT; see $OUT/threads.%d and its statistics; then it said %r %r' % (self.run, out[-500:], err))
            except subprocess.TimeoutExpired:
                say('      SIGINT did not end it within %d s; see $OUT/threads.%d' % (EVIDENCE_S, self.run))
                self.process.kill()
        self.process.wait()


def threads(pid):
    """Of each thread its name, what it waits for in the kernel, and its system call with arguments."""
    lines = []
    for task in sorted(os.listdir('/proc/%d/task' % pid), key=int):
        seen = [task]
        for name in ('comm', 'wchan', 'syscall', 'stat', 'stack'):
            try:
                with open('/proc/%d/task/%s/%s' % (pid, task, name), encoding='utf-8', errors='replace') as file:
                    seen.append(name + ': ' + file.read().strip())
            except OSError as error:
                seen.append('%s: %s' % (name, error))
        lines.append('\n  '.join(seen))
    return '\n'.join(lines) + '\n'


def check(what, seen, holds):
    if not holds:
        raise Failed('%s: %r' % (what, seen))


def check_acpi(guest, pm_base):
    """Tables, interrupts and ports are as the tables say."""
    tables = guest.ask('ls /sys/firmware/acpi/tables').split()
    check('ACPI tables', tables, set('APIC DSDT FACP FACS SSDT WAET'.split()) <= set(tables))
    cpus = guest.ask('nproc; ls -d /sys/bus/acpi/devices/ACPI0007:* | wc -l').split()
    check('CPUs, and their devices', cpus, cpus == [str(guest.cpus)] * 2)
    interrupts = guest.ask('grep IO-APIC /proc/interrupts')  # the PIT is off: the local APIC's timer is there
    for wanted in ('IO-APIC +4-edge +ttyS0', 'IO-APIC +8-edge +rtc0', 'IO-APIC +9-fasteoi +acpi'):
        check('the interrupt ' + wanted, interrupts, re.search(wanted, interrupts))
    ports = guest.ask('grep -E "ACPI|rtc|QEMU0002|serial" /proc/ioports')
    for first, last, wanted in ((pm_base, pm_base + 3, 'ACPI PM1a_EVT_BLK'), (pm_base + 4, pm_base + 5, 'ACPI PM1a_CNT_BLK'),
                                (pm_base + 8, pm_base + 11, 'ACPI PM_TMR'), (0x70, 0x71, 'rtc'), (0x3f8, 0x3ff, 'serial'),
                                (0x510, 0x51b, 'QEMU0002:00')):
        wanted = '%04x-%04x : %s' % (first, last, wanted)
        check('the ports ' + wanted, ports, wanted in ports)
    identity = guest.ask('cat /sys/class/dmi/id/sys_vendor /sys/class/dmi/id/product_name').split()
    check('SMBIOS', identity, identity == ['ringvmm', guest.machine])
    if guest.machine == 'q35':
        check('MMCONFIG', tables, 'MCFG' in tables)
        memory = guest.ask('grep ECAM /proc/iomem')
        check('MMCONFIG where it is', memory, re.search('([be])0000000-\\1fffffff : PCI ECAM 0000 .bus 00-ff.', memory))
        check('the ports of GPE0', ports, '%04x-%04x : ACPI GPE0_BLK' % (pm_base + 0x20, pm_base + 0x2f) in ports)


def check_direct(guest, blob):
    """What only a direct boot has, and what each has."""
    cmdline = guest.ask('cat /proc/cmdline')
    check('the command line', cmdline, cmdline == CMDLINE)
    ranges = re.findall(r'BIOS-e820: \[mem 0x(.*)', guest.ask('dmesg | grep BIOS-e820'))
    # By PVH, Linux itself adds all that is missing below 1 MiB.
    check('the memory map', ranges, ranges == MAP or [ranges[0], *ranges[2:]] == [MAP[0], *MAP[3:]])
    check_guest(guest, blob, 0x600)


def check_guest(guest, blob, pm_base):
    digest = guest.ask('sha256sum /blob').split()[0]
    check('the bytes in the initrd', digest, digest == blob)
    total = int(guest.ask('grep MemTotal /proc/meminfo').split()[1])
    check('KiB of memory', total, MEMORY_MIB * 1024 * 0.7 < total < MEMORY_MIB * 1024)
    source = guest.ask('cat /sys/devices/system/clocksource/clocksource0/current_clocksource')
    check('the clock source', source, source == 'kvm-clock')
    clock, before = int(guest.ask('cat /sys/class/rtc/rtc0/since_epoch')), time.time()
    check('the clock in seconds from the host\'s', clock - before, abs(clock - before) < 10 * SLOW)
    bridge = guest.ask('cat /sys/bus/pci/devices/0000:00:00.0/device')
    check('the host bridge', bridge, bridge == ('0x29c0' if guest.machine == 'q35' else '0x1237'))
    troubles = guest.ask('dmesg | grep -E "WARNING:|BUG:|Oops|Call Trace"')
    check('no trouble in the log', troubles, troubles == '')
    troubles = [line for line in guest.ask('dmesg -r | grep -E "^<[0-4]>" | grep -iE "acpi|pci|pnp|dmi|rsdp|ioapic"').splitlines()
                if not any(known in line for known in KNOWN)]
    check('no warning about ACPI or PCI', troubles, troubles == [])
    check_acpi(guest, pm_base)
    answer = guest.ask('echo $((6 * 7))')
    check('the shell', answer, answer == '42')


def check_rtc(guest):
    """Alarm, update and periodic interrupts through Linux's driver; and hwclock."""
    answer = guest.ask('rtc')
    check('the real-time clock', answer, [line.split()[-1] for line in answer.splitlines()] == ['ok'] * 3)
    say('      ' + answer.replace('\n', '; '))
    clock, before = guest.ask('hwclock -u -r'), time.time()  # "Sat Nov 21 19:15:23 2026  0.000000 seconds"
    shown = calendar.timegm(time.strptime(clock[:24], '%a %b %d %H:%M:%S %Y'))
    check('hwclock', clock, abs(shown - before) < 10 * SLOW)


def press_power_button(guest):
    """SIGTERM: the guest hears of it as of a button, and powers off by itself."""
    names = guest.ask('insmod /button.ko; insmod /evdev.ko; cat /sys/class/input/event0/device/name')
    check('the power button', names, names == 'Power Button')
    guest.ask('exec 3</dev/input/event0')
    guest.type('head -c 24 <&3 >/dev/null; poweroff -f')  # 24: struct input_event
    guest.process.terminate()
    guest.end(0)


def reboot_and_power_off(guest, blob):
    """Boots, reboots and powers off: the second boot is a whole one."""
    guest.up()
    check_direct(guest, blob)
    check_rtc(guest)
    guest.type('echo spoilt >/blob; reboot -f')
    guest.up()
    check_direct(guest, blob)
    press_power_button(guest)


def reboot_ends(guest, blob):
    """--no-reboot: the guest's reboot is the end of the run."""
    guest.up()
    check_direct(guest, blob)
    guest.type('reboot -f')
    guest.end(0)


def power_off(guest, blob):
    guest.up()
    check_direct(guest, blob)
    guest.type('poweroff -f')
    guest.end(0)


def by_firmware(guest, blob):
    """OVMF finds kernel, initrd and command line in fw_cfg; Linux is an EFI program then."""
    guest.up()
    check_guest(guest, blob, 0x600 if guest.machine == 'q35' else 0xb000)
    cmdline = guest.ask('cat /proc/cmdline')
    check('the command line', cmdline, cmdline.startswith(CMDLINE))
    firmware = guest.ask('ls /sys/firmware')
    check('started by EFI', firmware, 'efi' in firmware.split())
    press_power_button(guest)


def from_disk(guest, blob):
    """GRUB reads kernel and initrd by the firmware's own driver; Linux then writes to the same disk."""
    guest.up()
    check_guest(guest, blob, 0xb000 if guest.machine == 'i440fx' and 'ovmf' in guest.command else 0x600)
    firmware = guest.ask('ls /sys/firmware')
    check('started by EFI or not', firmware, ('efi' in firmware.split()) == ('ovmf' in guest.command))
    done = guest.ask('insmod /virtio_blk.ko && mkdir /mnt && mount -t ext4 /dev/vda2 /mnt && cp /blob /mnt/ && umount /mnt && '
                     'mount -t ext4 /dev/vda2 /mnt && sha256sum /mnt/blob && umount /mnt && sync')
    check('the file on the disk', done, done.split()[:1] == [blob])
    guest.type('reboot -f')
    guest.end(0)


def disk_runs(build):
    runs = []
    for name, *options in (('seabios', '--cpus', '4', '--coalesce', 'mmio2'),
                           ('ovmf', '--machine', 'q35', '--cpus', '2', '--coalesce', 'v1')):
        image = os.path.join(os.environ['OUT'], 'disk.' + name)
        shutil.copy(os.path.join(build, own_folder(), 'disk'), image)
        runs.append((from_disk, None, '--firmware', name, *options, '--no-reboot', '--disk', image))
    return runs


def by_hpet(guest, _):
    """The HPET is found and keeps the time, and the RTC has its interrupt beside it."""
    guest.up()
    tables = guest.ask('ls /sys/firmware/acpi/tables').split()
    check('ACPI tables', tables, 'HPET' in tables)
    sources = '/sys/devices/system/clocksource/clocksource0/'
    available = guest.ask('cat %savailable_clocksource' % sources).split()
    check('clock sources', available, 'hpet' in available)
    current = guest.ask('echo hpet >%scurrent_clocksource; cat %scurrent_clocksource' % (sources, sources))
    check('the clock source', current, current == 'hpet')
    first, began = float(guest.ask('cut -d" " -f1 /proc/uptime')), time.monotonic()
    guest.ask('sleep 3')
    second, took = float(guest.ask('cut -d" " -f1 /proc/uptime')), time.monotonic() - began
    check('seconds by the HPET, and by the host', (second - first, took), abs(second - first - took) < 0.3 * SLOW)
    guest.ask('echo +2 >/sys/class/rtc/rtc0/wakealarm; sleep 4')
    alarm = guest.ask('cat /sys/class/rtc/rtc0/wakealarm; grep -E "rtc0$" /proc/interrupts')  # the first is empty then
    check('an alarm that has come', alarm, re.match(r'^ *8: +[1-9]', alarm))
    log = guest.ask('dmesg | grep -i hpet')
    check('where it is', log, 'HPET id: 0x8086a201 base: 0xfed00000' in log)
    guest.type('poweroff -f')
    guest.end(0)


def runs_of(what, build):
    if what == 'hpet':
        return [(by_hpet, 'vmlinuz', '--hpet', 'on', '--coalesce', 'mmio2'),
                (by_hpet, 'vmlinuz', '--hpet', 'on', '--coalesce', 'v1', '--machine', 'q35')]
    if what == 'disk':
        return disk_runs(build)
    if what == 'ovmf':
        return [(by_firmware, 'vmlinuz', '--firmware', 'ovmf', '--no-reboot'),
                (by_firmware, 'vmlinuz', '--machine', 'q35', '--firmware', 'ovmf', '--no-reboot')]
    runs = [(reboot_and_power_off, 'vmlinuz', '--coalesce', 'mmio2'),
            (reboot_ends, 'vmlinuz', '--machine', 'q35', '--coalesce', 'v1', '--cpus', '2', '--no-reboot')]
    if os.path.exists(os.path.join(build, own_folder(), 'vmlinux')):
        runs.append((power_off, 'vmlinux', '--coalesce', 'mmio2'))
    return runs


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in ('direct', 'ovmf', 'disk', 'hpet'):
        sys.exit(__doc__)
    what, build = sys.argv[1:]
    with open(os.path.join(build, own_folder(), 'blob'), 'rb') as file:
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
            guest.stop()
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
