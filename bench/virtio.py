#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What a virtio request costs, doorbell to interrupt, one at a time: a posted doorbell, an ioeventfd, and an exit.

usage: virtio.py [--requests N] [--aio auto|io_uring|threads] [BUILD]

For each back end that works here: time, exits to user space and wake-ups of the ring thread a request, as the difference of
two runs. The guest (tests/kvm/firmware/virtio.c) sleeps in HLT until the interrupt (MSI-X) of each request. In the rig
with --icount a microsecond is 1000 instructions, of everything together: guest, kernel, ring thread, disk.
"""
import json
import os
import struct
import subprocess
import sys
import tempfile
import time

PARAMS = 0xFF00
HOW = (('posted (mmio2)', 'mmio2', 0), ('ioeventfd (v1)', 'v1', 0), ('exit (off, 4 bytes wide)', 'off', 1))
OPERATIONS = (('entropy, 64 bytes', 6), ('disk, read of 4 KiB', 7), ('disk, write of 4 KiB', 8))
PASSED = 0x43


def image(build, scratch, *params):
    with open(os.path.join(build, 'tests/kvm/virtio.bin'), 'rb') as file:
        data = bytearray(file.read())
    struct.pack_into('<%dI' % len(params), data, PARAMS, *params)
    path = os.path.join(scratch, 'image')
    with open(path, 'wb') as file:
        file.write(data)
    return path


def run(build, scratch, backend, aio, *params):
    """Seconds, and the statistics; None where the back end does not work."""
    disk, stats = os.path.join(scratch, 'disk'), os.path.join(scratch, 'stats')
    with open(disk, 'wb') as file:
        file.write(bytes(1 << 20))
    command = [os.path.join(build, 'ringvmm'), 'run', '--firmware', image(build, scratch, *params), '--serial', 'null',
               '--debug-exit', '0x501', '--coalesce', backend, '--virtio-rng', 'on', '--disk', disk + ',aio=' + aio, '--teardown', 'sync',
               '--stats', 'json:' + stats]
    began = time.monotonic()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    took = time.monotonic() - began
    if done.returncode == 2:
        return None
    if done.returncode != PASSED:
        sys.exit('%s\nstatus %d: %s' % (' '.join(command), done.returncode, done.stderr))
    with open(stats, encoding='utf-8') as file:
        return took, json.load(file)


def main():
    arguments = sys.argv[1:]
    requests, aio = 2000, 'auto'
    if arguments[:1] == ['--requests']:
        requests, arguments = int(arguments[1]), arguments[2:]
    if arguments[:1] == ['--aio']:
        aio, arguments = arguments[1], arguments[2:]
    build = arguments[0] if arguments else 'build'
    few, many = requests // 10, requests + requests // 10
    print('| request | doorbell | us a request | exits | wake-ups |\n|---|---|---|---|---|')
    with tempfile.TemporaryDirectory(prefix='ringvmm-bench-') as scratch:
        for title, what in OPERATIONS:
            for doorbell, backend, wide in HOW:
                runs = [run(build, scratch, backend, aio, what, count, wide) for count in (few, many)]
                if None in runs:
                    continue
                (took, before), (took_many, after) = runs
                each = [(b - a) / (many - few) for a, b in ((took * 1e6, took_many * 1e6), (before['exits'], after['exits']),
                                                            (before['ring_thread_wakeups'], after['ring_thread_wakeups']))]
                print('| %s | %s | %.2f | %.3f | %.2f |' % (title, doorbell, *each), flush=True)


if __name__ == '__main__':
    main()
