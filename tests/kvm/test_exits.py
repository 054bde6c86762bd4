#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Holds ringvmm's count of exits against what happens outside of it.

usage: test_exits.py RINGVMM DIRECTORY-OF-IMAGES strace|ticks

strace: the number of returns from KVM_RUN that strace sees is the number that --stats reports, and the sum of its rows.
ticks:  an RTC tick costs one exit with posted writes and two without; KVM's own counters stand beside them.
"""
import collections
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

SKIPPED = 77
PASSED = 0x43  # the images' verdict, 0x21, as an exit status
PARAMS = 0xFF00
EMULATED = int(os.environ.get('RINGVMM_TEST_SLOW') or 1) > 1
COALESCE = os.environ.get('RINGVMM_TEST_BACKEND') or 'auto'


def skip(why):
    print('skipped:', why)
    sys.exit(SKIPPED)


class Runner:
    def __init__(self, ringvmm, images, scratch):
        self.ringvmm, self.images, self.scratch = ringvmm, images, scratch
        self.stats = os.path.join(scratch, 'stats')

    def image(self, name, *params):
        with open(os.path.join(self.images, name + '.bin'), 'rb') as file:
            data = bytearray(file.read())
        struct.pack_into('<%dI' % len(params), data, PARAMS, *params)
        path = os.path.join(self.scratch, 'image')
        with open(path, 'wb') as file:
            file.write(data)
        return path

    def run(self, image, *options, before=()):
        """Runs it to its end and returns its statistics."""
        if os.path.exists(self.stats):
            os.unlink(self.stats)
        command = [*before, self.ringvmm, 'run', '--firmware', image, '--serial', 'null', '--debugcon', 'null',
                   '--debug-exit', '0x501', '--stats', 'json:' + self.stats, *options]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        if done.returncode != PASSED or not os.path.exists(self.stats):
            if before and 'ptrace' in done.stderr:
                skip('strace may not trace here: ' + done.stderr.strip())
            sys.exit('%s\nstatus %d: %s%s' % (' '.join(command), done.returncode, done.stdout, done.stderr))
        with open(self.stats, encoding='utf-8') as file:
            return json.load(file)


def count_kvm_run(trace):
    """Returns from KVM_RUN by thread, in a log of strace -f. A call that was interrupted in the log has two lines."""
    begun = re.compile(r'^(\d+) +ioctl\(\d+, KVM_RUN\b(.*)$')
    resumed = re.compile(r'^(\d+) +<\.\.\. ioctl resumed>.*= -?\d')
    returns, inside, first = collections.Counter(), set(), None
    with open(trace, encoding='utf-8', errors='replace') as file:
        for line in file:
            first = first or line.split()[0]
            match = begun.match(line)
            if match and '<unfinished' in match.group(2):
                inside.add(match.group(1))
            elif match and '= ?' not in match.group(2):
                returns[match.group(1)] += 1
            else:
                match = resumed.match(line)
                if match and match.group(1) in inside:
                    inside.discard(match.group(1))
                    returns[match.group(1)] += 1
    returns.pop(first, None)  # the main thread runs only the scratch VM by which the back end is probed
    return returns


def check_sum(stats):
    total = sum(row['samples'] for row in stats['rows'])
    if total != stats['exits']:
        sys.exit('the rows add up to %d samples, but there were %d exits:\n%s' %
                 (total, stats['exits'], json.dumps(stats['rows'], indent=1)))


def check_strace(runner):
    if not shutil.which('strace'):
        skip('strace is not installed')
    trace = os.path.join(runner.scratch, 'trace')
    cases = [
        ('1 CPU', ('ticks', 500), ()),
        ('1 CPU, --coalesce off', ('ticks', 500), ('--coalesce', 'off')),
        ('4 CPUs', ('smp', 3), ('--cpus', '4')),
        ('10 resets, more writes than the ring holds', ('reset', 0, 10, 400), ()),
        ('5 triple faults, 2 CPUs', ('reset', 3, 5, 10), ('--cpus', '2')),
        ('serial port, reads and writes', ('serial',), ()),
    ]
    for name, image, options in cases:
        if '--coalesce' not in options:
            options += ('--coalesce', COALESCE)
        stats = runner.run(runner.image(*image), *options,
                           before=('strace', '-f', '-e', 'trace=ioctl', '-e', 'signal=none', '-o', trace))
        seen = sum(count_kvm_run(trace).values())
        print('%s: %d exits, strace saw %d' % (name, stats['exits'], seen))
        if seen != stats['exits'] or not seen:
            sys.exit('they differ')
        check_sum(stats)


def check_ticks(runner):
    few, many = (5000, 25000) if not EMULATED else (1000, 6000)
    for coalesce, expected in ((COALESCE, 1.0), ('off', 2.0)):
        exits = []
        for ticks in (few, many):
            stats = runner.run(runner.image('ticks', ticks), '--coalesce', coalesce)
            check_sum(stats)
            for ring in stats['rings']:
                if ring['bad']:
                    sys.exit('bad entries in a ring: %s' % ring)
            exits.append(stats['exits'])
        per_tick = (exits[1] - exits[0]) / (many - few)
        print('--coalesce %s (%s): %.4f exits per tick' % (coalesce, stats['backend'], per_tick))
        if coalesce == 'auto' and stats['backend'] == 'off':
            skip('this host has no back end with a ring')
        if abs(per_tick - expected) > 0.005:
            sys.exit('not %.2f' % expected)
        kvm = stats['kvm']
        # Names of Linux's kvm_vcpu_stats_desc. A KVM without VT-x or SVM counts its exits as emulated instructions.
        missing = [name for name in ('exits', 'io_exits', 'mmio_exits', 'insn_emulation') if name not in kvm]
        if missing or kvm['exits'] + kvm['insn_emulation'] < exits[1]:
            sys.exit('KVM\'s own counters are missing or too small: %s' % kvm)


def main():
    if len(sys.argv) != 4 or sys.argv[3] not in ('strace', 'ticks'):
        sys.exit(__doc__)
    try:
        os.close(os.open('/dev/kvm', os.O_RDWR))
    except OSError as error:
        skip('/dev/kvm: %s' % error.strerror)
    with tempfile.TemporaryDirectory(prefix='ringvmm-test-') as scratch:
        runner = Runner(sys.argv[1], sys.argv[2], scratch)
        (check_strace if sys.argv[3] == 'strace' else check_ticks)(runner)


if __name__ == '__main__':
    main()
