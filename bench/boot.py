#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""How long Linux takes to its first process, in ringvmm and in QEMU: the same kernel, q35, serial port and virtio disk.

usage: boot.py [--rounds N] BUILD

Starts the rig (tests/rig/run --icount, where a millisecond is a million instructions, of everything together) and runs both there,
by turns. Prints the time from the start of the process to its end, which the guest's first process is, and the exits to user
space by port. Both boot directly; QEMU does that by SeaBIOS and an option ROM.
Exit status: 0; 1 a boot failed, or ringvmm takes longer than QEMU; 77 there is no rig.
"""
import collections
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
RIG = os.path.join(os.path.dirname(HERE), 'tests', 'rig', 'run')
CMDLINE = ('console=ttyS0 noxsave panic=-1 quiet mitigations=off no5lvl audit=0 cryptomgr.notests 8250.nr_uarts=1 '
           'initcall_blacklist=load_system_certificate_list,jent_mod_init,bpf_tcp_ca_kfunc_init,bpf_dummy_struct_ops_init')
UP = 'sysrq: Resetting'  # the last words of boot_init's kernel
LIMIT_S = 20  # of the machine's clock: ten times what it takes
TRACING = '/sys/kernel/tracing'
EVENTS = ('kvm/kvm_exit', 'kvm/kvm_userspace_exit')


def fail(text):
    sys.exit('boot.py: ' + text)


# ---- outside: what the guest is made of ----

def prepare(build, folder):
    done = subprocess.run([RIG, '--guest', folder], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode == 77:
        print('SKIP: ' + done.stdout.strip().splitlines()[-1])
        sys.exit(77)
    if done.returncode:
        fail('%s --guest: %s' % (RIG, done.stdout))
    with tempfile.TemporaryDirectory(prefix='ringvmm-bench-') as tree:
        for source, name in ((os.path.join(build, 'bench', 'boot_init'), 'init'), (os.path.join(folder, 'virtio_blk.ko'), 'virtio_blk.ko')):
            subprocess.run(['cp', source, os.path.join(tree, name)], check=True)
        names = b'init\nvirtio_blk.ko\n'
        with open(os.path.join(folder, 'boot-initrd'), 'wb') as initrd:
            subprocess.run([os.path.join(folder, 'busybox'), 'cpio', '-o', '-H', 'newc'], cwd=tree, input=names, stdout=initrd,
                           stderr=subprocess.DEVNULL, check=True)


def outside(build, rounds):
    folder = os.path.join(build, 'boot-guest')
    prepare(build, folder)
    command = [RIG, '--icount', '--kernel', 'mmio2', '--build', build, '--out', os.path.join(build, 'rig-out-boot'), '--timeout', '3000', '--',
               'python3', os.path.abspath(__file__), '--inside', '--rounds', str(rounds), build]
    sys.exit(subprocess.run(command, check=False).returncode)


# ---- inside the rig ----

class Peer:
    """A VMM, and where its guest's console goes."""

    def __init__(self, command, console):
        self.command, self.console = command, console

    def run(self):
        """Boots once; returns the seconds from the process's start to its end, which the guest's first process is."""
        began = time.monotonic()
        try:
            done = subprocess.run(self.command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=LIMIT_S)
            status, said = done.returncode, done.stdout + done.stderr
        except subprocess.TimeoutExpired:
            status, said = 'none after %d s' % LIMIT_S, ''
        took = time.monotonic() - began
        with open(self.console, encoding='ascii', errors='replace') as console:
            text = console.read()
        if status != 0 or not text.rstrip().endswith(UP):
            fail('%s\nstatus %s: %s\nits guest said: %s' % (' '.join(self.command), status, said, text))
        return took


def peers(build, scratch):
    guest = os.path.join(build, 'boot-guest')
    disk = os.path.join(scratch, 'disk')
    with open(disk, 'wb') as file:
        file.truncate(16 << 20)
    console = {name: os.path.join(scratch, name) for name in ('ringvmm', 'qemu')}
    kernel, initrd = (os.path.join(guest, name) for name in ('vmlinuz', 'boot-initrd'))
    ringvmm = [os.path.join(build, 'ringvmm'), 'run', '--machine', 'q35', '--memory', '256M', '--no-reboot',
               '--serial', 'file:' + console['ringvmm'], '--disk', disk,
               '--kernel', kernel, '--initrd', initrd, '--append', CMDLINE]
    qemu = ['qemu-system-x86_64', '-machine', 'q35,accel=kvm,hpet=off,usb=off,sata=off,smbus=off', '-cpu', 'host', '-m', '256',
            '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot',
            '-serial', 'file:' + console['qemu'], '-drive', 'if=none,id=disk,format=raw,file=' + disk,
            '-device', 'virtio-blk-pci,disable-legacy=on,drive=disk',
            '-kernel', kernel, '-initrd', initrd, '-append', CMDLINE]
    return {'ringvmm': Peer(ringvmm, console['ringvmm']), 'QEMU q35': Peer(qemu, console['qemu'])}


def write(path, text):
    with open(os.path.join(TRACING, path), 'w', encoding='ascii') as file:
        file.write(text)


def exits_of(peer):
    """Exits to user space by port, as KVM's own trace events have them: the same way for both."""
    if not os.path.exists(os.path.join(TRACING, 'events')):
        subprocess.run(['mount', '-t', 'tracefs', 'none', TRACING], check=True)
    write('trace', '')
    write('buffer_size_kb', '65536')
    for event in EVENTS:
        write('events/%s/enable' % event, '1')
    peer.run()
    for event in EVENTS:
        write('events/%s/enable' % event, '0')
    counts, last = collections.Counter(), {}
    with open(os.path.join(TRACING, 'trace'), encoding='ascii', errors='replace') as file:
        for line in file:
            thread = line.split('[')[0]
            if match := re.search(r'kvm_exit: .*reason (\S+) .*info1 (0x[0-9a-f]+) info2 (0x[0-9a-f]+)', line):
                info = [int(value, 16) for value in match.groups()[1:]]  # AMD's manual, volume 2, 15.10.2 and 15.25.6
                last[thread] = ('port 0x%x %s' % (info[0] >> 16, 'read' if info[0] & 1 else 'written') if match[1] == 'io' else
                                'memory 0x%x000' % (info[1] >> 12))
            elif match := re.search(r'kvm_userspace_exit: reason (\w+)', line):
                counts[last.get(thread, '?') if match[1] in ('KVM_EXIT_IO', 'KVM_EXIT_MMIO') else match[1]] += 1
    return counts


def inside(build, rounds):
    with tempfile.TemporaryDirectory(prefix='ringvmm-bench-') as scratch:
        both = peers(build, scratch)
        times = {name: [] for name in both}
        for _ in range(rounds):
            for name, peer in both.items():
                times[name].append(peer.run())
        exits = {name: exits_of(peer) for name, peer in both.items()}
    medians = {name: statistics.median(values) for name, values in times.items()}
    print('| | Minstructions to the first process | against QEMU | exits to user space |\n|---|---|---|---|')
    for name, median in medians.items():
        print('| %s | %.0f | %.3f | %d |' % (name, median * 1e3, median / medians['QEMU q35'], sum(exits[name].values())))
    print('\n| exits to user space at | %s |\n|---|%s' % (' | '.join(exits), '---|' * len(exits)))
    total = sum(exits.values(), collections.Counter())
    for where, _ in total.most_common(24):
        print('| %s | %s |' % (where, ' | '.join(str(exits[name][where]) for name in exits)))
    with open(os.path.join(os.environ.get('OUT', scratch), 'boot.json'), 'w', encoding='utf-8') as file:
        json.dump({'seconds': times, 'exits': exits}, file)
    return medians['ringvmm'] <= medians['QEMU q35']


def main():
    arguments = sys.argv[1:]
    here = arguments[:1] != ['--inside']
    arguments = arguments if here else arguments[1:]
    rounds = 3
    if arguments[:1] == ['--rounds'] and len(arguments) > 1 and arguments[1].isdigit():
        rounds, arguments = int(arguments[1]), arguments[2:]
    if len(arguments) != 1 or arguments[0].startswith('-') or rounds < 1:
        sys.exit(__doc__)
    build = os.path.realpath(arguments[0])
    if here:
        outside(build, rounds)
    if not inside(build, rounds):
        fail('ringvmm takes longer than QEMU')


if __name__ == '__main__':
    main()
