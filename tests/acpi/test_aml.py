#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The ACPI tables before ACPICA, whose code is in Linux too: iasl takes each apart and compiles the result without a
remark; acpiexec loads the AML and calls its methods.

usage: test_aml.py DUMP

DUMP is the program of dump.c. Skipped (77) without iasl and acpiexec (Debian: acpica-tools).
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

SKIPPED = 77
AML = ('dsdt', 'ssdt')
# board, CPUs, MiB of memory, MMCONFIG's base (0: as after a reset), options
MACHINES = [
    ('i440fx', 1, 64, 0, ['firmware']),
    ('i440fx', 64, 8192, 0, ['hpet', 'input', 'display']),
    ('q35', 1, 64, 0, ['firmware']),
    ('q35', 64, 1048576, 0xb0000000, ['hpet', 'input', 'display']),
]
LINKS = 'ABCDEFGH'


def run(command):
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=60)
    return result.returncode, result.stdout.decode(errors='replace')


def need(condition, what, said=''):
    if not condition:
        sys.exit('not so: %s\n%s' % (what, said))


def recompile(path):
    """Returns the source that iasl makes of a table."""
    source = os.path.splitext(path)[0] + '.dsl'
    status, said = run(['iasl', '-d', path])
    need(status == 0 and os.path.exists(source), 'iasl takes %s apart' % path, said)
    need(not re.search('invalid|error|warning|incorrect', said, re.I), 'iasl finds no fault with %s' % path, said)
    status, said = run(['iasl', '-we', '-p', os.path.splitext(path)[0] + '-again', source])
    need(status == 0 and '0 Errors, 0 Warnings, 0 Remarks' in said, 'iasl compiles %s without a remark' % source, said)
    with open(source, encoding='utf-8') as file:
        return file.read()


def evaluate(folder, *calls):
    """Calls objects in one run of the interpreter, and returns what each is, a number or bytes."""
    tables = [os.path.join(folder, name + '.dat') for name in AML]
    status, said = run(['acpiexec', '-b', ';'.join('evaluate ' + call for call in calls)] + tables)
    need(status == 0 and not re.search('ACPI (Error|Warning|Exception)|AE_', said), 'acpiexec runs the AML', said)
    results = []
    for part in said.split('\nEvaluating ')[1:]:
        number = re.search(r'\[Integer\] = ([0-9A-F]+)', part)
        rows = re.findall(r'[0-9A-F]{4}: ((?:[0-9A-F]{2} )+)', part)
        results.append(int(number.group(1), 16) if number else bytes.fromhex(''.join(rows)))
    need(len(results) == len(calls), 'each call has a result', said)
    return results


def routes(source, name):
    """The rows of a _PRT: (slot, pin) -> the link's name, or the IOAPIC's input."""
    begin = re.search(r'Name \(%s, Package' % name, source)
    need(begin, 'the DSDT has a ' + name)
    rows = re.findall(r'Package \(0x04\)\s*\{\s*(\w+),\s*(\w+),\s*(\w+),\s*(\w+)\s*\}',
                      source[begin.end():source.index('Name (', begin.end()) if name != 'PRTA' else None])
    number = {'Zero': 0, 'One': 1}
    found = {}
    for address, pin, link, index in rows:
        slot, function = divmod(number.get(address) or int(address, 16), 0x10000)
        need(function == 0xffff, 'a row is for all functions', address)
        key = slot, number[pin] if pin in number else int(pin, 16)
        need(key not in found, 'a pin has one row', repr(key))
        found[key] = link if link.startswith('LNK') else number[index] if index in number else int(index, 16)
    return found


def check_routes(board, source):
    """docs/devices/acpi.md, "Interrupts of PCI slots"."""
    if board == 'i440fx':
        wanted = {(d, p): 'LNK' + LINKS[(d - 1 + p) % 4] for d in range(32) for p in range(4)}
        wanted[1, 0] = 'LNKS'
        need(routes(source, '_PRT') == wanted, 'the slots of i440fx lead where they should', repr(routes(source, '_PRT')))
        return
    wanted = {(d, p): 4 + (d + p) % 4 if d < 25 else p for d in range(32) for p in range(4)}
    for name, form in (('PRTP', lambda line: 'LNK' + LINKS[line]), ('PRTA', lambda line: 16 + line)):
        need(routes(source, name) == {key: form(line) for key, line in wanted.items()},
             'the slots of q35 lead where they should in ' + name, repr(routes(source, name)))


def interrupt(number):
    """The descriptor of a link device: level, active high, shared."""
    return bytes([0x89, 6, 0, 9, 1, number, 0, 0, 0, 0x79, 0])


def check_links(folder, board):
    letters = LINKS[:4 if board == 'i440fx' else 8]
    possible = bytes([0x89, 14, 0, 9, 3]) + b''.join(bytes([n, 0, 0, 0]) for n in (5, 10, 11)) + b'\x79\0'
    link = '\\_SB.LNK%s.'
    choose = link + '_SRS (%s)'
    # Each to an interrupt of its own: no two share a register. The first is switched off again.
    got = evaluate(folder, *(choose % (letter, interrupt(3 + i).hex(' ')) for i, letter in enumerate(letters)),
                   *(link % letter + '_CRS' for letter in letters), link % 'A' + '_DIS', link % 'A' + '_CRS')
    need(got[len(letters):2 * len(letters)] == [interrupt(3 + i) for i in range(len(letters))] and got[-1] == interrupt(0),
         'each link has a register of its own', repr(got))
    for letter in letters[0], letters[-1]:
        steps = ('_DIS', '_STA', '_SRS (%s)' % interrupt(11).hex(' '), '_STA', '_CRS', '_PRS', '_DIS', '_STA')
        got = evaluate(folder, *(link % letter + step for step in steps))
        need(got[1] == 9 and got[3:6] == [11, interrupt(11), possible] and got[7] == 9,
             'link %s is set, read and switched off' % letter, repr(got))


def check_root(folder, machine):
    board, _, megabytes, ecam, options = machine
    calls = ['\\_SB.PCI0._CRS', '\\_SB.PCI0.ISA.KBD._STA', '\\_SB.PCI0.ISA.MOU._STA', '\\_SB.HPET._STA', '\\_S5']
    crs, keyboard, mouse, hpet, _ = evaluate(folder, *calls)
    there = 15 if 'input' in options else 0
    need((keyboard, mouse, hpet) == (there, there, 15 if 'hpet' in options else 0), '_STA is what the machine has')
    ecam = ecam or 0xe0000000
    windows = [(0x80000000, 0xfebfffff)] if board == 'i440fx' else \
        [(first, last) for first, last in ((0x80000000, ecam - 1), (ecam + 0x10000000, 0xfebfffff)) if first < last]
    for first, last in windows:
        row = b''.join(n.to_bytes(4, 'little') for n in (first, last, 0, last - first + 1))
        need(row in crs, '_CRS has the window %#x' % first, crs.hex())
    need(crs.count(b'\x87\x17\0') == 1 + len(windows), '_CRS has no other window below 4 GiB', crs.hex())
    high = (1 << 32) + max(0, megabytes - 2048 << 20)
    high += -high % (1 << 30)
    need(b'\x8a\x2b\0' in crs and high.to_bytes(8, 'little') in crs, '_CRS has the window %#x' % high, crs.hex())


def check_osc(folder):
    uuid, other = '5B 4D DB 33 F7 1F 1C 40 96 57 74 41 C0 3D D7 66', '00 ' * 15 + '00'
    call = '\\_SB.PCI0._OSC (%s) %d 3 (00 00 00 00 1F 00 00 00 %02X 00 00 00)'
    wanted = ((uuid, 1, 0x1f, 0x10, 0x1c), (uuid, 1, 0x14, 0, 0x14), (uuid, 2, 0x1c, 8, 0x1c), (other, 1, 0x1f, 4, 0x1f))
    got = evaluate(folder, *(call % row[:3] for row in wanted))
    for row, answer in zip(wanted, got):
        need((answer[0], answer[8]) == row[3:], '_OSC grants what it should', '%r: %s' % (row, answer.hex()))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for tool in ('iasl', 'acpiexec'):
        if not shutil.which(tool):
            print('skipped: no %s here (Debian: acpica-tools)' % tool)
            sys.exit(SKIPPED)
    for machine in MACHINES:
        with tempfile.TemporaryDirectory(prefix='ringvmm-test-') as scratch:
            folder = os.path.join(scratch, 'tables')
            board, cpus, megabytes, ecam, options = machine
            status, said = run([sys.argv[1], folder, board, str(cpus), str(megabytes), '%x' % ecam] + options)
            need(status == 0, 'the tables are written', said)
            tables = sorted(name for name in os.listdir(folder) if name not in ('rsdp.dat', 'smbios.dat'))  # not iasl's
            sources = {name: recompile(os.path.join(folder, name)) for name in tables}
            check_routes(board, sources['dsdt.dat'])
            check_root(folder, machine)
            check_links(folder, board)
            if board == 'q35':
                check_osc(folder)
            print('ok %s, %d CPUs: %s' % (board, cpus, ' '.join(name[:-4] for name in tables)))


if __name__ == '__main__':
    main()
