#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Virtio devices of the real program, driven by a bare driver (firmware/virtio.c) and by SeaBIOS.

usage: test_virtio.py RINGVMM DIRECTORY-OF-IMAGES [PART-OF-A-NAME]

RINGVMM_TEST_BACKEND=v1|mmio2 picks the back end.
"""
import json
import os
import struct
import subprocess
import sys
import tempfile
import time

SKIPPED = 77
PASSED = 0x43  # the verdict 0x21 as an exit status
DEADLINE_S = 120
PARAMS = 0xFF00
WANTED = os.environ.get('RINGVMM_TEST_BACKEND') or 'auto'
SLOW = int(os.environ.get('RINGVMM_TEST_SLOW') or 1) > 1
CHECK, RANDOM, READS, WRITES, RESETS, STREAM, RANDOM_BY_IRQ, READS_BY_IRQ, WRITES_BY_IRQ = range(9)  # enum what of firmware/virtio.c
MACHINES = ('i440fx', 'q35')
BACKENDS = (WANTED, 'off')  # off has doorbells as ioeventfds, like v1, wherever this runs


def read(path):
    with open(path, 'rb') as file:
        return file.read()


class Skip(Exception):
    """A test that cannot run here, and why."""


class Runner:
    def __init__(self, ringvmm, images, scratch):
        self.ringvmm, self.images, self.scratch = ringvmm, images, scratch
        self.log, self.stats = self.path('log'), self.path('stats')

    def path(self, name):
        return os.path.join(self.scratch, name)

    def image(self, *params):
        data = bytearray(read(os.path.join(self.images, 'virtio.bin')))
        struct.pack_into('<%dI' % len(params), data, PARAMS, *params)
        return self.file('image', data)

    def file(self, name, data):
        with open(self.path(name), 'wb') as file:
            file.write(data)
        return self.path(name)

    def run(self, firmware, *options, status=PASSED, data=b'', feed=None):
        """Runs to the end; returns standard output, the log, and the statistics."""
        command = [self.ringvmm, 'run', '--firmware', firmware, '--serial', 'null', '--debugcon', 'file:' + self.log,
                   '--debug-exit', '0x501', '--stats', 'json:' + self.stats, *options]
        if '--coalesce' not in options:
            command += ['--coalesce', WANTED]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if feed:
            feed(process)
        try:
            out, err = process.communicate(data, DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            sys.exit('%s: no end within %d s; its log: %r' % (' '.join(command), DEADLINE_S, read(self.log)))
        if process.returncode != status or err:
            sys.exit('%s\nstatus %d, said %r, log %r' % (' '.join(command), process.returncode, err, read(self.log)))
        return out, read(self.log), json.loads(read(self.stats))


def check(what, holds, *seen):
    if not holds:
        sys.exit('not so: %s; seen: %r' % (what, seen))


def counters(stats, label):
    return next(device['counters'] for device in stats['devices'] if device['name'] == label)


def test_devices(runner):
    """Each device, its registers and doorbells, moved and broken and reset."""
    for machine in MACHINES:
        for coalesce in BACKENDS:
            disk = runner.file('disk', bytes(1 << 20))
            out, log, stats = runner.run(runner.image(CHECK, 9), '--machine', machine, '--coalesce', coalesce,
                                         '--virtio-rng', 'on', '--virtio-console', 'stdio',
                                         '--disk', disk + ',serial=ring0', data=b'abcdefghi')
            check('all three were there', log == b'rng\nring0\nblk\nconsole\n', log)
            check('the console led both ways', out == b'the console speaks\nabcdefghi', out)
            image = read(disk)
            wanted = b''.join(struct.pack('<I', i ^ 0x5A5A1234) for i in range(0, 4096, 4))
            wanted = wanted[:512] + bytes(1024) + wanted[1536:]
            check('the disk has what was written', image[1536:1536 + 4096] == wanted, image[1536:1536 + 64])
            check('and nothing else', not any(image[:1536]) and not any(image[1536 + 4096:]))
            disk = counters(stats, 'disk0')
            check('errors were told', disk['errors'] == 4 and disk['faults'] == 0, disk)


def test_doorbells_do_not_exit(runner):
    """A request costs no exit for its doorbell: fewer exits than requests, polling counted."""
    count = 200 if SLOW else 2000
    for coalesce in BACKENDS:
        disk = runner.file('disk', bytes(1 << 20))
        for what in (RANDOM, READS, WRITES, RANDOM_BY_IRQ, READS_BY_IRQ, WRITES_BY_IRQ):
            _, _, stats = runner.run(runner.image(what, count), '--coalesce', coalesce, '--virtio-rng', 'on',
                                     '--disk', disk)
            label = 'virtio-rng' if what in (RANDOM, RANDOM_BY_IRQ) else 'disk0'
            seen = counters(stats, label)
            check('each request was served', seen['buffers'] == count, seen)
            notify = sum(row['samples'] for row in stats['rows']
                         if row['device'].startswith(label) and 'notify' in row['device'])
            check('doorbells do not exit', notify == 0, stats['rows'])
            check('nor does anything else', stats['exits'] < 200 + count / 10, stats['rows'])


def test_reset_with_requests_under_way(runner):
    """What was begun before a reset does not reach the memory of the machine after it."""
    disk = runner.file('disk', b'\xee' * (1 << 20))
    for aio in ('threads', 'auto'):
        for coalesce in BACKENDS:
            _, _, stats = runner.run(runner.image(RESETS, 8), '--coalesce', coalesce,
                                     '--disk', disk + ',aio=' + aio)
            check('it was reset', counters(stats, 'disk0')['reads'] > 0, stats)


def test_reader_stands_still(runner):
    """Nobody reads the console: the guest goes on, and what has no room is dropped."""
    held = []

    def hold(process):
        held.append(process)
        time.sleep(1)

    out, _, stats = runner.run(runner.image(STREAM, 2000), '--virtio-console', 'stdio', feed=hold)
    sent = counters(stats, 'virtio-console')['sent']
    check('all was taken of the guest', sent == 2000 * 4096, sent)
    check('some was dropped', 0 < len(out) < sent, len(out))


def test_read_only(runner):
    """A disk that may not be written is not; the guest gets an error."""
    disk = runner.file('disk', b'\x11' * (1 << 20))
    runner.run(runner.image(WRITES, 1), '--disk', disk + ',readonly=on', status=0xFD)
    check('nothing was written', read(disk) == b'\x11' * (1 << 20))
    runner.run(runner.image(READS, 5), '--disk', disk + ',readonly=on')


def test_full(runner):
    """The host has no room for what the guest writes: the guest gets an error, and the run goes on."""
    where = runner.path('full')
    os.mkdir(where)
    if os.geteuid() or subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=256k', 'none', where], capture_output=True,
                                      check=False).returncode:
        raise Skip('nothing may be mounted here')
    try:
        disk = os.path.join(where, 'disk')
        with open(disk, 'wb') as file:
            file.truncate(1 << 20)
        _, log, stats = runner.run(runner.image(WRITES, 1000), '--disk', disk, status=0xFD)
        check('the guest was told once', counters(stats, 'disk0')['errors'] == 1, log, stats)
        runner.run(runner.image(READS, 200), '--disk', disk)
    finally:
        subprocess.run(['umount', where], check=True)


def test_refused(runner):
    """A disk that is not there, is no disk, or is in use."""
    def refuse(*options):
        done = subprocess.run([runner.ringvmm, 'run', '--serial', 'null', *options], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=DEADLINE_S, check=False)
        lines = done.stderr.splitlines()
        check('one line, status 2', done.returncode == 2 and len(lines) == 1 and '--disk' in lines[0], done)

    refuse('--disk', runner.path('nowhere'))
    refuse('--disk', runner.scratch)
    refuse('--disk', runner.file('odd', bytes(1000)))
    refuse('--disk', runner.file('empty', b''))
    disk = runner.file('disk', bytes(1 << 20))
    refuse('--disk', disk, '--disk', disk)
    refuse('--disk', disk, '--device-model', 'unix:/nowhere')


def boot_sector(text):
    """Says the text on the debug console and ends the run."""
    code = b'\xba\x02\x04'  # mov dx, 0x402
    for letter in text:
        code += b'\xb0' + bytes([letter]) + b'\xee'  # mov al, letter; out dx, al
    code += b'\xba\x01\x05\xb0\x21\xee\xf4'  # mov dx, 0x501; mov al, 0x21; out dx, al; hlt
    return code.ljust(510, b'\0') + b'\x55\xaa'


def test_seabios(runner):
    """SeaBIOS finds the disk and boots from it."""
    if not os.path.exists('/usr/share/seabios/bios-256k.bin'):
        raise Skip('SeaBIOS is not installed')
    for machine in MACHINES:
        disk = runner.file('disk', boot_sector(b'booted from it\n') + bytes((1 << 20) - 512))
        _, log, stats = runner.run('seabios', '--machine', machine, '--disk', disk)
        check('the sector ran', log.endswith(b'booted from it\n'), log)
        check('the disk was read', counters(stats, 'disk0')['reads'] > 0, stats)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    try:
        os.close(os.open('/dev/kvm', os.O_RDWR))
    except OSError as error:
        print('skipped: /dev/kvm:', error)
        sys.exit(SKIPPED)
    done = 0
    for name, test in list(globals().items()):
        if not name.startswith('test_') or not all(part in name for part in sys.argv[3:]):
            continue
        with tempfile.TemporaryDirectory(prefix='ringvmm-test-') as scratch:
            start = time.monotonic()
            try:
                test(Runner(sys.argv[1], sys.argv[2], scratch))
            except Skip as why:
                print('SKIP %s: %s' % (test.__doc__, why), flush=True)
                continue
            done += 1
            print('ok   %s (%.1f s)' % (test.__doc__, time.monotonic() - start), flush=True)
    sys.exit(0 if done else SKIPPED)


if __name__ == '__main__':
    main()
