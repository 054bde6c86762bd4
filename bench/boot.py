#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""How long Linux takes to its first process, in ringvmm and in QEMU: the same kernel, q35, serial port and virtio disk.

usage: boot.py [--rounds N] BUILD

Starts the rig (tests/rig/run --icount, where a millisecond is a million instructions, of everything together) and runs both there,
by turns. Prints the time from the start of the process to its end, which the guest's first process is, and the exits to user
space by port. Both boot directly; QEMU does that by SeaBIOS and an option ROM.
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
UP = 0x21 << 1 | 1
TRACING = '/sys/kernel/tracing'
EVENTS = ('kvm/kvm_pio', 'kvm/kvm_mmio', 'kvm/kvm_userspace_exit')


def fail(text):
    sys.exit('boot.py: ' + text)


# ---- outside: what the guest is made of ----

def prepare(build, folder):
    done = subprocess.run([RIG, '--guest', folder], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
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
    command = [RIG, '--icount', '--kernel', 'mmio2', '--build', build, '--out', os.path.join(build, 'boot-out'), '--timeout', '3000', '--',
               'python3', os.path.abspath(__file__), '--inside', '--rounds', str(rounds), build]
    sys.exit(subprocess.run(command, check=False).returncode)


# ---- inside the rig ----

def commands(build, scratch):
    guest = os.path.join(build, 'boot-guest')
    disk = os.path.join(scratch, 'disk')
    with open(disk, 'wb') as file:
        file.truncate(16 << 20)
    boot = [os.path.join(guest, 'vmlinuz'), os.path.join(guest, 'boot-initrd')]
    return {
        'ringvmm': [os.path.join(build, 'ringvmm'), 'run', '--machine', 'q35', '--memory', '256M', '--serial', 'null', '--debug-exit',
                    '0x501', '--disk', disk, '--kernel', boot[0], '--initrd', boot[1], '--append', CMDLINE],
        'QEMU q35': ['qemu-system-x86_64', '-machine', 'q35,accel=kvm,hpet=off,usb=off,sata=off,smbus=off', '-cpu', 'host', '-m', '256',
                     '-nodefaults', '-no-user-config', '-display', 'none', '-serial', 'null', '-device', 'isa-debug-exit,iobase=0x501,iosize=4',
                     '-drive', 'if=none,id=disk,format=raw,file=' + disk, '-device', 'virtio-blk-pci,disable-legacy=on,drive=disk',
                     '-kernel', boot[0], '-initrd', boot[1], '-append', CMDLINE],
    }


def run(command):
    began = time.monotonic()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    took = time.monotonic() - began
    if done.returncode != UP:
        fail('%s\nstatus %d, not %d: %s%s' % (' '.join(command), done.returncode, UP, done.stdout, done.stderr))
    return took


def write(path, text):
    with open(os.path.join(TRACING, path), 'w', encoding='ascii') as file:
        file.write(text)


def exits_of(command):
    """Exits to user space by port, as KVM's own trace events have them: the same way for both."""
    if not os.path.exists(os.path.join(TRACING, 'events')):
        subprocess.run(['mount', '-t', 'tracefs', 'none', TRACING], check=True)
    write('trace', '')
    write('buffer_size_kb', '65536')
    for event in EVENTS:
        write('events/%s/enable' % event, '1')
    run(command)
    for event in EVENTS:
        write('events/%s/enable' % event, '0')
    counts, last = collections.Counter(), {}
    with open(os.path.join(TRACING, 'trace'), encoding='ascii', errors='replace') as file:
        for line in file:
            thread = line.split('[')[0]
            if match := re.search(r'kvm_pio: pio_(\w+) at (0x[0-9a-f]+)', line):
                last[thread] = 'port %s' % match[2]
            elif match := re.search(r'kvm_mmio: mmio .*gpa (0x[0-9a-f]+)', line):
                last[thread] = 'memory 0x%x000' % (int(match[1], 16) >> 12)
            elif match := re.search(r'kvm_userspace_exit: reason (\w+)', line):
                counts[last.get(thread, '?') if match[1] in ('KVM_EXIT_IO', 'KVM_EXIT_MMIO') else match[1]] += 1
    return counts


def inside(build, rounds):
    with tempfile.TemporaryDirectory(prefix='ringvmm-bench-') as scratch:
        programs = commands(build, scratch)
        times = {name: [] for name in programs}
        for _ in range(rounds):
            for name, command in programs.items():
                times[name].append(run(command))
        exits = {name: exits_of(command) for name, command in programs.items()}
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
