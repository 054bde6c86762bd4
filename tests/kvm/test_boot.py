#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Kernels booted directly: each kind prints what it was given, and a reset boots it again.

usage: test_boot.py RINGVMM DIRECTORY

DIRECTORY has the kernels made of boot/ (multiboot, pvh, linux) and the firmware kernel.bin. RINGVMM_TEST_BACKEND=v1|mmio2
picks the back end.
"""
import os
import struct
import subprocess
import sys
import tempfile

SKIPPED = 77
PASSED = 0x43  # the payload's verdict, 0x21, as an exit status
DEADLINE_S = 60
BACK_END = os.environ.get('RINGVMM_TEST_BACKEND') or 'auto'
EXIT = ['--serial', 'null', '--debugcon', 'stdio', '--debug-exit', '0x501', '--coalesce', BACK_END]
PAGE = 4096
MIB = 1 << 20
TABLES = 0x8000  # kept at the end of memory for ACPI
RSDP = '%x' % int.from_bytes(b'RSD PTR ', 'little')


def skip(why):
    print('skipped:', why)
    sys.exit(SKIPPED)


def run(ringvmm, *args):
    """Returns the exit status and what the guest said, by name; a name that comes again makes a list."""
    command = [ringvmm, 'run', *args, *EXIT]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE_S, check=False)
    except subprocess.TimeoutExpired as late:
        sys.exit('%s: no end within %d s; it said:\n%s' % (' '.join(command), DEADLINE_S, late.stdout))
    if done.stderr:
        sys.exit('%s: said %s' % (' '.join(command), done.stderr.decode()))
    said = {}
    for line in done.stdout.decode(errors='replace').splitlines():
        name, _, value = line.partition(' ')
        said.setdefault(name, []).append(value)
    return done.returncode, said


def expect(what, seen, wanted):
    if seen != wanted:
        sys.exit('%s: %r, and should be %r' % (what, seen, wanted))


def checksum(data):
    value = 0
    for byte in data:
        value = ((value << 1 | value >> 31) + byte) & 0xffffffff
    return value


def expected_map(memory):
    """The ranges of a machine with so many MiB, all of it below 4 GiB."""
    return ['0 9fc00 1', '9fc00 400 2', 'f0000 10000 2', '100000 %x 1' % ((memory - 1) * MIB - TABLES),
            '%x %x 4' % (memory * MIB - TABLES, TABLES), 'feffc000 4000 2']


def check_common(kind, said, boots, memory, cpus, initrd, long_mode):
    for name, wanted in [('boot', ['%x' % (i + 1) for i in range(boots)]), ('map', expected_map(memory) * boots),
                         ('cr0', ['80000011' if long_mode else '11'] * boots), ('interrupts', ['0'] * boots),
                         ('cs', ['10'] * boots), ('ds', ['18'] * boots), ('ss', ['18'] * boots),
                         ('fw_cfg-cpus', ['%x' % cpus] * boots), ('started', ['%x' % (cpus - 1)] * boots),
                         ('spoilt', ['0'] * boots), ('end', ['']),
                         ('rsdp-text', [RSDP] * boots), ('smbios-text', ['%x' % int.from_bytes(b'_SM_', 'little')] * boots)]:
        expect('%s, %s' % (kind, name), said.get(name), wanted)
    if initrd is None:
        expect('%s, module' % kind, said.get('module'), None)
        return
    addr = (memory * MIB - TABLES - len(initrd)) // PAGE * PAGE
    expect('%s, module' % kind, said.get('module'), ['%x' % addr] * boots)
    expect('%s, module-size' % kind, said.get('module-size'), ['%x' % len(initrd)] * boots)
    expect('%s, module-sum' % kind, said.get('module-sum'), ['%x' % checksum(initrd)] * boots)


FIXED = {  # what a kind says beside that
    'multiboot': {'magic': '2badb002', 'flags': '24d', 'lower': '27f', 'upper': 'fbe0', 'loader': "'ringvmm'"},
    'pvh': {'magic': '336ec578', 'version': '1', 'flags': '0', 'rsdp-there': RSDP},
    'linux': {'sentinel': '0', 'loader': 'ff', 'version': '20f', 'header': '53726448',
              'hole': 'ffffffff', 'rsdp-there': RSDP},
}


def boot(ringvmm, images, kind, initrd_path, initrd):
    kernel = os.path.join(images, kind)
    name = kernel + ' ' if kind == 'multiboot' else ''
    status, said = run(ringvmm, '--kernel', kernel, '--initrd', initrd_path, '--append', 'a=1 reset', '--cpus', '3')
    expect(kind + ', status', status, PASSED)
    check_common(kind, said, 2, 64, 3, initrd, kind == 'linux')
    expect(kind + ', cmdline', said['cmdline'], ["'%sa=1 reset'" % name] * 2)
    for key, value in FIXED[kind].items():
        expect('%s, %s' % (kind, key), said.get(key), [value] * 2)
    if kind == 'multiboot':
        expect('module-name', said['module-name'], ["'%s'" % initrd_path] * 2)

    status, said = run(ringvmm, '--kernel', kernel, '--memory', '32M')
    expect(kind + ', status', status, PASSED)
    check_common(kind, said, 1, 32, 1, None, kind == 'linux')
    expect(kind + ', cmdline', said['cmdline'], ["'%s'" % name.strip()])

    status, said = run(ringvmm, '--kernel', kernel, '--append', 'reset', '--no-reboot')
    expect(kind + ', status with --no-reboot', status, 0)
    expect(kind + ', boots with --no-reboot', said['boot'], ['1'])
    print('%s: registers, map, command line, module, reset' % kind)


def places(ringvmm, images):
    """The registers that ACPI's tables name are, after a reset too, where the board has them, wherever the guest has put
    them."""
    for machine, ecam, moved in (('i440fx', '0', '0'), ('q35', 'e0000001', 'd0000001')):
        status, said = run(ringvmm, '--kernel', os.path.join(images, 'pvh'), '--append', 'reset', '--machine', machine)
        expect('%s, status' % machine, status, PASSED)
        expect('%s, power management' % machine, said['pm-base'], ['601', '1281', '601'])
        expect('%s, MMCONFIG' % machine, said['ecam'], [ecam, moved, ecam])
    print('places: where the tables say, after a reset too')


def firmware(ringvmm, images, initrd_path, initrd):
    """With --firmware the kernel is in fw_cfg."""
    kernel = os.path.join(images, 'linux')
    with open(kernel, 'rb') as file:
        data = file.read()
    status, said = run(ringvmm, '--firmware', os.path.join(images, 'kernel.bin'), '--kernel', kernel, '--initrd',
                       initrd_path, '--append', 'from firmware')
    expect('firmware, status', status, PASSED)
    word = lambda at, of: ['%08x' % struct.unpack_from('<I', of, at)]
    expect('fw_cfg', said, {'setup-size': ['00000400'], 'kernel-size': ['%08x' % (len(data) - 0x400)],
                            'initrd-size': ['%08x' % len(initrd)], 'cmdline-size': ['%08x' % len('from firmware\0')],
                            'setup': word(0x202, data), 'kernel': word(0x400, data), 'initrd': word(0, initrd),
                            'cmdline': ['from firmware']})
    print('firmware: the kernel in fw_cfg')


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        os.close(os.open('/dev/kvm', os.O_RDWR))
    except OSError as error:
        skip('/dev/kvm: %s' % error.strerror)
    initrd = bytes(i * 7 % 251 for i in range(100001))
    with tempfile.TemporaryDirectory(prefix='ringvmm-test-') as scratch:
        path = os.path.join(scratch, 'initrd')
        with open(path, 'wb') as file:
            file.write(initrd)
        for kind in FIXED:
            boot(sys.argv[1], sys.argv[2], kind, path, initrd)
        places(sys.argv[1], sys.argv[2])
        firmware(sys.argv[1], sys.argv[2], path, initrd)


if __name__ == '__main__':
    main()
