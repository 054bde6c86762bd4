#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What a guest reads by CPUID, on this host's KVM: topology, taken-away features, whose leaves are at 0x40000000; and
Hyper-V's MSRs across a reset, where KVM has them.

Only features that a KVM without VT-x and SVM can hide too (docs/cpu.md).

usage: test_cpuid.py RINGVMM DIRECTORY-OF-IMAGES
"""
import os
import struct
import subprocess
import sys
import tempfile

SKIPPED = 77
PASSED = 0x43  # the verdict 0x21 as an exit status
USAGE = 2
DEADLINE_S = 60
PARAMS = 0xFF00
SIZE = 0x10000
X2APIC, HYPERVISOR, HTT = 1 << 21, 1 << 31, 1 << 28
LAHF = 1 << 0
KVM, HYPERV = b'KVMKVMKVM\0\0\0', b'Microsoft Hv'


def expect(what, seen, wanted):
    if seen != wanted:
        sys.exit('%s: %r, and should be %r' % (what, seen, wanted))


class Reader:
    def __init__(self, ringvmm, images, scratch):
        self.ringvmm, self.images, self.image = ringvmm, images, os.path.join(scratch, 'image')
        with open(os.path.join(images, 'cpuid.bin'), 'rb') as file:
            self.data = bytearray(file.read())

    def run(self, first, second, *options):
        struct.pack_into('<4I', self.data, len(self.data) - SIZE + PARAMS, *first, *second)
        with open(self.image, 'wb') as file:
            file.write(self.data)
        return self.start(self.image, *options)

    def start(self, image, *options):
        command = [self.ringvmm, 'run', '--firmware', image, '--serial', 'null', '--debugcon', 'stdio', '--debug-exit',
                   '0x501', *options]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE_S, check=False)

    def two(self, first, second, *options):
        """EAX, EBX, ECX and EDX of two leaves, each with its sub-leaf."""
        done = self.run(first, second, *options)
        expect('status and errors with %s' % (options,), (done.returncode, done.stderr), (PASSED, b''))
        return [[int(word, 16) for word in line.split()] for line in done.stdout.decode().splitlines()]


def vendor(leaf):
    return struct.pack('<3I', leaf[1], leaf[2], leaf[3])


def topology(reader):
    (_, ebx, ecx, edx), top = reader.two((1, 0), (0, 0), '--cpus', '3')
    expect('APIC ID and CPUs in leaf 1', ebx >> 16, 3)
    expect('more than one CPU in leaf 1', edx & HTT, HTT)
    expect('x2APIC and a hypervisor', ecx & (X2APIC | HYPERVISOR), X2APIC | HYPERVISOR)
    if top[0] >= 0xb:
        threads, cores = reader.two((0xb, 0), (0xb, 1), '--cpus', '3')
        expect('threads of a core', threads, [0, 1, 0x100, 0])
        expect('cores of the package', cores, [2, 3, 0x201, 0])
        expect('the end of the list', reader.two((0xb, 2), (0xb, 1), '--cpus', '3')[0], [0, 0, 2, 0])
    (_, ebx, _, _), _ = reader.two((1, 0), (0, 0))
    expect('APIC ID and CPUs of one', ebx >> 16, 1)


def features(reader):
    (_, _, ecx, _), (_, _, more, _) = reader.two((1, 0), (0x80000001, 0))
    expect('LAHF, which each CPU with VMX or SVM has', more & LAHF, LAHF)
    (_, _, without, _), (_, _, less, _) = reader.two((1, 0), (0x80000001, 0), '--cpu', 'host,-x2apic,-lahf_lm,+apic')
    expect('all but x2APIC', without, ecx & ~X2APIC)
    expect('all but LAHF', less, more & ~LAHF)
    done = reader.run((0, 0), (0, 0), '--cpu', 'host,+vmx')
    expect('status with +vmx', (done.returncode, done.stdout), (USAGE, b''))
    expect('line with +vmx', done.stderr.decode(), "ringvmm: --cpu: this host cannot give 'vmx' to a guest; leave +vmx out\n")


def hypervisors(reader):
    kvm, _ = reader.two((0x40000000, 0), (0, 0))
    expect('the hypervisor', vendor(kvm), KVM)
    none, _ = reader.two((0x40000000, 0), (0, 0), '--cpu', 'host,-kvm')
    expect('the hypervisor without KVM\'s leaves', vendor(none) == KVM, False)
    done = reader.run((0x40000000, 0), (0x40000100, 0), '--hyperv', 'on')
    if done.returncode == USAGE:  # KVM has nothing, or not all of it
        lines = done.stderr.decode().splitlines()
        expect('one line about --hyperv', (len(lines), lines[0].startswith("ringvmm: --hyperv: '")), (1, True))
        print('hyperv: %s' % lines[0])
        return
    hyperv, kvm = reader.two((0x40000000, 0), (0x40000100, 0), '--hyperv', 'on')
    expect('Hyper-V', (hyperv[0], vendor(hyperv)), (0x4000000a, HYPERV))
    expect('KVM behind it', (kvm[0], vendor(kvm)), (0x40000101, KVM))
    interface, access = reader.two((0x40000001, 0), (0x40000003, 0), '--hyperv', 'vpindex,time')
    expect('the interface', struct.pack('<I', interface[0]), b'Hv#1')
    expect('what may be used', access[0], 1 << 1 | 1 << 5 | 1 << 6 | 1 << 9)
    done = reader.start(os.path.join(reader.images, 'synic.bin'), '--hyperv', 'on')
    expect('status of the MSRs\' test', (done.returncode, done.stderr), (PASSED, b''))
    first, written, again = done.stdout.decode().splitlines()
    expect('MSRs as written', written, '12345678 00009001 00000030 00030000 00000777')
    expect('MSRs at power-on', first, '00000000 00000000 00010000 00000000 00000000')
    expect('MSRs after a reset', again, first)
    print('hyperv: leaves, MSRs across a reset')


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        os.close(os.open('/dev/kvm', os.O_RDWR))
    except OSError as error:
        print('skipped: /dev/kvm: %s' % error.strerror)
        sys.exit(SKIPPED)
    with tempfile.TemporaryDirectory(prefix='ringvmm-test-') as scratch:
        reader = Reader(sys.argv[1], sys.argv[2], scratch)
        for step in (topology, features, hypervisors):
            step(reader)
            print('%s: as it should be' % step.__name__)


if __name__ == '__main__':
    main()
