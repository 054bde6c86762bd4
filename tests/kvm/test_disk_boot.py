#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""From which disk SeaBIOS boots: bootindex, and disks that have no boot sector.

usage: test_disk_boot.py RINGVMM

RINGVMM_TEST_BACKEND=v1|mmio2 picks the back end.
"""
import os
import signal
import subprocess
import sys
import tempfile
import time

SKIPPED = 77
DEADLINE_S = 60
WANTED = os.environ.get('RINGVMM_TEST_BACKEND') or 'auto'
NOTHING = b'No bootable device'
EXIT_PORT = 0x501


def boot_sector(verdict):
    """mov dx, EXIT_PORT; mov al, verdict; out dx, al; hlt"""
    code = bytes([0xBA, EXIT_PORT & 0xFF, EXIT_PORT >> 8, 0xB0, verdict, 0xEE, 0xF4])
    return code.ljust(510, b'\0') + b'\x55\xAA'


class Runner:
    """Starts machines with disks that end them, each with a status of its own."""

    def __init__(self, ringvmm, scratch):
        self.ringvmm, self.scratch = ringvmm, scratch

    def disk(self, name, verdict=None):
        path = os.path.join(self.scratch, name)
        with open(path, 'wb') as file:
            file.write((boot_sector(verdict) if verdict else b'').ljust(1 << 20, b'\0'))
        return path

    def start(self, machine, log, *disks):
        command = [self.ringvmm, 'run', '--machine', machine, '--firmware', 'seabios', '--serial', 'null', '--debugcon', 'file:' + log,
                   '--debug-exit', hex(EXIT_PORT), '--coalesce', WANTED]
        for disk in disks:
            command += ['--disk', disk]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def boot(self, what, machine, expected, *disks, said=''):
        """Up to the end that a boot sector makes, or to SeaBIOS's finding none."""
        log = os.path.join(self.scratch, 'log')
        process = self.start(machine, log, *disks)
        end = time.monotonic() + DEADLINE_S
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
            if expected is None and os.path.exists(log):
                with open(log, 'rb') as file:
                    if NOTHING in file.read():
                        break
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=DEADLINE_S)
        wanted = 128 + signal.SIGTERM if expected is None else expected << 1 | 1
        if (process.returncode, err, out) != (wanted, said, ''):
            with open(log, 'rb') as file:
                sys.exit('%s, %s: status %d, not %d; it said %r, not %r; log: %s' %
                         (machine, what, process.returncode, wanted, err, said, file.read().decode(errors='replace')))
        os.unlink(log)
        print('ok    %s, %s' % (machine, what))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if not os.access('/dev/kvm', os.R_OK | os.W_OK) or not os.path.exists('/usr/share/seabios/bios-256k.bin'):
        print('skipped: no /dev/kvm, or no SeaBIOS')
        sys.exit(SKIPPED)
    with tempfile.TemporaryDirectory(prefix='ringvmm-test-') as scratch:
        runner = Runner(sys.argv[1], scratch)
        a, b, blank = runner.disk('a', 0x21), runner.disk('b', 0x22), runner.disk('blank')
        for machine in ('i440fx', 'q35'):
            runner.boot('the first disk', machine, 0x21, a, b)
            runner.boot('the one with an index', machine, 0x22, a, b + ',bootindex=7')
            runner.boot('the lower index', machine, 0x22, a + ',bootindex=5', blank, b + ',bootindex=2')
        note = 'ringvmm: --disk %s: no boot sector (the bytes 55 AA at 510): the firmware will not boot from it' % blank
        runner.boot('one disk that cannot', 'q35', None, blank, said=note + '\n')
        runner.boot('the first by its index cannot', 'i440fx', None, b + ',bootindex=1', blank + ',bootindex=0',
                    said=note + '; SeaBIOS tries one disk, the first unless bootindex= names another\n')


if __name__ == '__main__':
    main()
