#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""SeaBIOS with its debug console posted: each character of its log came through a ring or, that being full, by an exit.

usage: test_seabios.py RINGVMM MACHINE

Boots Debian's SeaBIOS to its last line, ends the run by SIGTERM, and holds the log against --stats json.
RINGVMM_TEST_BACKEND=v1|mmio2 picks the back end.
"""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

SKIPPED = 77
DEADLINE_S = 60
WANTED = os.environ.get('RINGVMM_TEST_BACKEND') or 'auto'
LAST = b'No bootable device'
UUID = '6ba7b810-9dad-11d1-80b4-00c04fd430c8'
FIRST = b'SeaBIOS (version '
PORT = '0x402'


def skip(why):
    print('skipped:', why)
    sys.exit(SKIPPED)


def read(path):
    if not os.path.exists(path):
        return b''
    with open(path, 'rb') as file:
        return file.read()


def boot(ringvmm, machine, scratch):
    """Returns the log and the statistics."""
    log, stats = os.path.join(scratch, 'log'), os.path.join(scratch, 'stats')
    command = [ringvmm, 'run', '--machine', machine, '--firmware', 'seabios', '--serial', 'null', '--debugcon', 'file:' + log,
               '--uuid', UUID, '--coalesce', WANTED, '--stats', 'json:' + stats]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    end = time.monotonic() + DEADLINE_S
    while LAST not in read(log) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    try:
        said = process.communicate(timeout=DEADLINE_S)[0].decode(errors='replace')
    except subprocess.TimeoutExpired:
        process.kill()
        sys.exit('%s: no end within %d s after SIGTERM' % (' '.join(command), DEADLINE_S))
    if LAST not in read(log) or process.returncode != 128 + signal.SIGTERM or said:
        sys.exit('%s\nstatus %d, said: %s\nits log:\n%s' %
                 (' '.join(command), process.returncode, said, read(log).decode(errors='replace')))
    return read(log), json.loads(read(stats))


def check(what, holds, seen):
    if not holds:
        sys.exit('not so: %s\nseen: %s' % (what, json.dumps(seen, indent=1)))


def check_stats(log, stats):
    rings = stats['rings']
    check('the back end is ' + WANTED, WANTED in ('auto', stats['backend']), stats['backend'])
    for ring in rings:
        check('no bad entry', ring['bad'] == 0, ring)
    rows = [row for row in stats['rows'] if row['where'] == PORT and row['posting']]
    check('the debug console is one posted row', len(rows) == 1, stats['rows'])
    row = rows[0]
    check('each of the log\'s %d characters is a posted write, or an exit at a full ring' % len(log),
          row['posted'] > 0 and row['posted'] + row['full_exits'] == len(log), row)
    entries, thread = (sum(ring['entries'] - ring['entries_vcpu'] * part for ring in rings) for part in (0, 1))
    posted = sum(row['posted'] for row in stats['rows'])
    check('the rings\' entries are the rows\' posted writes, %d' % posted, entries == posted, rings)
    check('the ring thread replayed some', thread > 0, rings)
    if stats['backend'] == 'mmio2':  # the console's own ring: no other device's exit, and no read of its own, drains it
        own = [ring for ring in rings if ring['entries'] == row['posted']]
        check('a ring has the console\'s entries alone, and the ring thread replayed some of them',
              any(ring['entries_vcpu'] < ring['entries'] for ring in own), rings)
    return entries, thread


def check_tables(ringvmm, machine, scratch, log):
    """SeaBIOS uses the machine's tables, not those that it would make itself, which have an RSDT alone."""
    tables = os.path.join(scratch, 'tables')
    subprocess.run([ringvmm, 'run', '--machine', machine, '--uuid', UUID, '--dump-tables', tables], check=True)
    size = os.path.getsize(os.path.join(tables, 'dsdt.dat'))
    for wanted in (b'(via xsdt)', b'(len %d)' % size, b'ACPI: no PS/2 keyboard', b'Copying SMBIOS',
                   b'Machine UUID ' + UUID.encode()):
        check('its log has "%s"' % wanted.decode(), wanted in log, log.decode(errors='replace'))
    for wrong in (b'parse_', b'parse error', b'internal error', b'WARNING'):
        check('its log has no "%s"' % wrong.decode(), wrong not in log, log.decode(errors='replace'))


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        os.close(os.open('/dev/kvm', os.O_RDWR))
    except OSError as error:
        skip('/dev/kvm: %s' % error.strerror)
    with tempfile.TemporaryDirectory(prefix='ringvmm-test-') as scratch:
        log, stats = boot(sys.argv[1], sys.argv[2], scratch)
        check_tables(sys.argv[1], sys.argv[2], scratch, log)
    if WANTED == 'auto' and stats['backend'] == 'off':
        skip('this host has no back end with a ring')
    check('the log begins with SeaBIOS\'s version', log.startswith(FIRST), log[:80].decode(errors='replace'))
    entries, thread = check_stats(log, stats)
    print(log.splitlines()[0].decode(errors='replace'))
    print([line for line in log.splitlines() if LAST in line][0].decode(errors='replace'))
    print('back end %s: %d entries replayed, %d of them by the ring thread, 0 bad; log %d bytes; %d exits' %
          (stats['backend'], entries, thread, len(log), stats['exits']))


if __name__ == '__main__':
    main()
