#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Pause, resume and reset of the real program by keys of its terminal, with posted writes and disk requests under way.

usage: test_pause.py RINGVMM DIRECTORY-OF-IMAGES [PART-OF-A-NAME]

RINGVMM_TEST_BACKEND=v1|mmio2 picks the back end.
"""
import json
import os
import pty
import random
import signal
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
SLOW = int(os.environ.get('RINGVMM_TEST_SLOW') or 1)
BACKENDS = (WANTED, 'off')
PAUSES = 20 if SLOW > 1 else 100
STILL_S = 0.02  # ten times the time after which a console looks for more output
LINES = 256  # of pause.S between two looks for a key: 1792 posted writes, ten times what a ring holds
READS_BY_IRQ, WRITES_BY_IRQ = 7, 8  # enum what of firmware/virtio.c
# In no hurry to replay: a ring is as good as never empty, but for what empties it.
LAZY = ('--max-replay-latency', '1000000')
PAUSED, GOES_ON, RESET = b'the machine is paused', b'the machine goes on', b'the machine is reset'


def read(path):
    with open(path, 'rb') as file:
        return file.read()


def check(what, holds, *seen):
    if not holds:
        sys.exit('not so: %s; seen: %r' % (what, seen))


def check_numbers(what, text, end):
    """All that pause.S has said: no character is missing, doubled or out of place. `end`: it came to its end."""
    if end:
        check(what + ' has come to its end', text.endswith(b'end\n'), text[-40:])
        text = text[:-4]
        check(what + ' ends behind a look for a key', text and len(text) % (7 * LINES) == 0, len(text))
    wanted = b''.join(b'%06x\n' % i for i in range(len(text) // 7 + 1))[:len(text)]
    if text != wanted:
        at = next(i for i in range(len(text)) if text[i] != wanted[i])
        sys.exit('%s: byte %d of %d: %r, not %r' % (what, at, len(text), text[at - 20:at + 20], wanted[at - 20:at + 20]))


class Machine:
    """A run on a terminal of its own."""

    def __init__(self, ringvmm, images, scratch, name, params, *options):
        data = bytearray(read(os.path.join(images, name + '.bin')))
        struct.pack_into('<%dI' % len(params), data, PARAMS, *params)
        self.log, self.stats = os.path.join(scratch, 'log'), os.path.join(scratch, 'stats')
        image = os.path.join(scratch, 'image')
        with open(image, 'wb') as file:
            file.write(data)
        self.said = b''
        self.master, slave = pty.openpty()
        os.set_blocking(self.master, False)
        self.process = subprocess.Popen(
            [ringvmm, 'run', '--firmware', image, '--debugcon', 'file:' + self.log, '--debug-exit', '0x501', '--stats',
             'json:' + self.stats, *options], stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)

    def listen(self):
        try:
            self.said += os.read(self.master, 65536)
        except (BlockingIOError, OSError):  # nothing now, or nothing any more
            pass
        return self.said

    def wait_for(self, what, condition):
        end = time.monotonic() + DEADLINE_S
        while not condition():
            check('%s, within %d s' % (what, DEADLINE_S), time.monotonic() < end, self.said[-200:])
            time.sleep(0.0005)

    def wait_said(self, text, count=1):
        """False: it has ended before."""
        self.wait_for(repr(text), lambda: self.listen().count(text) >= count or self.process.poll() is not None)
        return self.listen().count(text) >= count

    def type(self, keys):
        os.write(self.master, keys)

    def size(self):
        return os.path.getsize(self.log) if os.path.exists(self.log) else 0

    def pause(self, count=1):
        self.type(b'\x01p')
        return self.wait_said(PAUSED, count)

    def resume(self, count=1):
        self.type(b'\x01p')
        return self.wait_said(GOES_ON, count)

    def settle(self):
        """What was replayed until the pause is written out; returns how much that is. A guest that runs never settles."""
        sizes = [-1, self.size()]

        def settled():
            time.sleep(STILL_S * SLOW)
            sizes[:] = sizes[1], self.size()
            return sizes[0] == sizes[1]

        self.wait_for('a log that does not grow', settled)
        return sizes[1]

    def end(self, status):
        self.wait_for('the end', lambda: (self.listen(), self.process.poll())[1] is not None)
        check('status %d' % status, self.process.returncode == status, self.process.returncode, self.said)
        return read(self.log)


def test_hundred_pauses(start, chance):
    """A hundred pauses at any moment of a guest that only writes: each write is replayed once, in order, none meanwhile."""
    for coalesce in BACKENDS:
        with start('pause', [LINES], '--coalesce', coalesce) as machine:
            machine.wait_said(b'!')
            sizes = []
            for i in range(1, PAUSES + 1):
                time.sleep(chance.uniform(0, 0.01) * SLOW)
                check('it is paused', machine.pause(i), machine.said)
                sizes.append(machine.settle())
                time.sleep(chance.uniform(0, 0.01) * SLOW)
                check('nothing is replayed while paused', machine.size() == sizes[-1], sizes[-1], machine.size())
                check('it goes on', machine.resume(i), machine.said)
            machine.type(b'q')
            log = machine.end(PASSED)
            check_numbers(coalesce, log, end=True)
            check('it ran between', len(set(sizes)) > PAUSES // 2, sizes)


def test_pauses_in_a_row(start, chance):
    """Keys typed all at once: pauses that nobody sees lose nothing either."""
    for coalesce in BACKENDS:
        with start('pause', [LINES], '--coalesce', coalesce) as machine:
            machine.wait_said(b'!')
            for i in range(PAUSES):
                machine.type(b'\x01p\x01p' * chance.randint(1, 5))
                time.sleep(chance.uniform(0, 0.002) * SLOW)
            machine.type(b'q')
            check_numbers(coalesce, machine.end(PASSED), end=True)


def test_pauses_with_requests(start, chance):
    """A disk with requests under way: each is done once, and its interrupt comes."""
    requests = 200 if SLOW > 1 else 1500
    for coalesce in BACKENDS:
        for what in (READS_BY_IRQ, WRITES_BY_IRQ):
            disk = os.path.join(start.scratch, 'disk')
            with open(disk, 'wb') as file:
                file.write(bytes(1 << 20))
            pauses = 0
            with start('virtio', [what, requests], '--coalesce', coalesce, '--disk', disk) as machine:
                while machine.pause(pauses + 1):
                    pauses += 1
                    time.sleep(chance.uniform(0, 0.02) * SLOW)
                    if not machine.resume(pauses):  # the pause met the end, which the guest had asked for by then
                        break
                    time.sleep(chance.uniform(0, 0.005) * SLOW)
                machine.end(PASSED)
                check('it was paused, and again', pauses >= 5, pauses)
                device = next(each for each in json.loads(read(machine.stats))['devices'] if each['name'] == 'disk0')
                seen = device['counters']
                check('each request was served once', seen['buffers'] == requests and not seen['errors'], seen)


def test_reset_while_paused(start, chance):
    """A reset while paused: what was written before belongs to before, and the machine stays paused."""
    for coalesce in BACKENDS:
        with start('pause', [LINES], '--coalesce', coalesce, '--cpus', '4', *LAZY) as machine:
            machine.wait_said(b'!')
            ends = []
            for i in range(1, PAUSES // 4 + 1):
                time.sleep(chance.uniform(0, 0.01) * SLOW)
                machine.pause(i)
                ends.append(machine.settle())
                machine.type(b'\x01r')
                machine.wait_said(RESET, i)
                time.sleep(STILL_S * SLOW)
                check('it stays paused', machine.size() == ends[-1], ends[-1], machine.size())
                check('it goes on', machine.resume(i), machine.said)
            machine.type(b'q')
            log = machine.end(PASSED)
            for begin, end in zip([0] + ends[:-1], ends):
                check_numbers(coalesce + ', until a reset', log[begin:end], end=False)
            check_numbers(coalesce + ', after the last reset', log[ends[-1]:], end=True)
            check('it ran between', len(set(ends)) > PAUSES // 8, ends)


def test_reset(start, chance):
    """A reset by its key while the guest runs: what it said is there, and then it begins anew."""
    for coalesce in BACKENDS:
        with start('pause', [LINES], '--coalesce', coalesce) as machine:
            for i in range(1, PAUSES // 4 + 1):
                machine.wait_said(b'!', i)
                time.sleep(chance.uniform(0, 0.01) * SLOW)
                machine.type(b'\x01r')
                machine.wait_said(RESET, i)
            machine.wait_said(b'!', PAUSES // 4 + 1)
            machine.type(b'q')
            parts = machine.end(PASSED).split(b'000000\n')
            check('it began as often as it should', len(parts) == PAUSES // 4 + 2 and not parts[0], len(parts))
            for i, part in enumerate(parts[1:]):
                check_numbers('%s, part %d' % (coalesce, i), b'000000\n' + part, end=i == PAUSES // 4)


def test_reset_and_pause(start, chance):
    """A guest that resets all the time runs past none, also when it is paused and let go on in the moment of one."""
    with start('reset_only', [], '--coalesce', 'off') as machine:
        machine.wait_for('resets', lambda: machine.size() > 10)
        for _ in range(PAUSES):
            machine.type(b'\x01p\x01p' * 5)
            time.sleep(chance.uniform(0, 0.002) * SLOW)
        machine.type(b'\x01x')
        log = machine.end(0)
        check('nothing came behind one', log == b'.' * len(log), log.count(b'X'))


def test_end_while_paused(start, chance):
    """Ctrl-A x, SIGTERM and SIGINT end a machine that is paused, with what it wrote and no more."""
    ends = ((lambda machine: machine.type(b'\x01x'), 0),
            (lambda machine: machine.process.send_signal(signal.SIGTERM), 128 + signal.SIGTERM),
            (lambda machine: machine.process.send_signal(signal.SIGINT), 128 + signal.SIGINT))
    for coalesce in BACKENDS:
        for end, status in ends:
            with start('pause', [LINES], '--coalesce', coalesce, *LAZY) as machine:
                machine.wait_said(b'!')
                time.sleep(chance.uniform(0, 0.01) * SLOW)
                machine.pause()
                size = machine.settle()
                end(machine)
                log = machine.end(status)
                check('nothing came behind the pause', len(log) == size, len(log), size)
                check_numbers(coalesce, log, end=False)


def test_ticks(start, _):
    """The time of a pause is none of the PIT's: its ticks are not made up for."""
    with start('pit', []) as machine:
        machine.wait_said(b'!')
        machine.wait_for('ticks', lambda: machine.size() > 50)
        machine.pause()
        before = machine.settle()
        time.sleep(2)
        check('it goes on', machine.resume(), machine.said)
        begin = time.monotonic()
        time.sleep(0.5)
        machine.wait_for('ticks again', lambda: machine.size() > before + 50)
        after, most = machine.size() - before, (time.monotonic() - begin) * 1000 * 1.2 + 200
        check('no more than have passed since', after < most, after, most)
        machine.type(b'\x01x')
        machine.end(0)


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
            begin = time.monotonic()

            def start(*args, scratch=scratch):
                return Machine(sys.argv[1], sys.argv[2], scratch, *args)

            start.scratch = scratch
            test(start, random.Random(7))
            done += 1
            print('ok   %s (%.1f s)' % (test.__doc__, time.monotonic() - begin), flush=True)
    sys.exit(0 if done else SKIPPED)


if __name__ == '__main__':
    main()
