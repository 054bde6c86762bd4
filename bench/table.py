#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Runs bench/rtc_tick with all three patterns and prints one table of all back ends, in Markdown.

docs/figures.md has what it printed and the command. Made for the rig:
  tests/rig/run --icount --kernel mmio2 --timeout 3000 -- bench/table.py
Elsewhere the unit is the nanosecond, and what the kernel cannot do is left out.
"""
import argparse
import json
import subprocess
import sys
import tempfile

# Heading; pattern; ticks of a run. A storm is long, so that its start does not count.
PATTERNS = (('tick', 'rtc', 20000), ('PCI read', 'pci', 20000), ('storm', 'storm', 200000))
ROWS = (('exits', 'ringvmm-off'), ('v1', 'ringvmm-v1'), ('MMIO2, naive', 'ringvmm-naive'), ('MMIO2, moderated', 'ringvmm'),
        ('QEMU `pc`', 'qemu-pc'), ('floor', 'floor'))


def measure(options, pattern, ticks):
    """Runs rtc_tick, whose own tables go on to stderr, and returns its JSON."""
    command = [options.rtc_tick, '--pattern', pattern, '--ticks', str(ticks), '--rounds', str(options.rounds),
               '--only', ','.join(variant for _, variant in ROWS)]
    if options.ringvmm:
        command += ['--ringvmm', options.ringvmm]
    with tempfile.NamedTemporaryFile(suffix='.json') as file:
        done = subprocess.run([*command, '--json', file.name], stdout=sys.stderr, check=False)
        if done.returncode:
            sys.exit(done.returncode)
        return json.load(file)


def row(name, variant, results):
    cells = [name]
    for result in results:
        figures = result['variants'].get(variant)
        if not figures:
            cells += ['-', '-']
            continue
        time, exits = figures['ns_per_tick'], figures['exits_per_tick']
        cells.append('%.3f' % (time / 1000) if result['clock'] == 'instructions' else '%.0f' % time)
        cells.append('-' if exits is None else '%.5f' % exits)
    return '| %s |' % ' | '.join(cells)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, default=3, help='rounds of each pattern (default 3)')
    parser.add_argument('--rtc-tick', default='rtc_tick', metavar='PATH', help='the program (default: from PATH)')
    parser.add_argument('--ringvmm', metavar='PATH', help='the program (default: as rtc_tick finds it)')
    parser.add_argument('--quick', action='store_true', help='one round, and a tenth of the ticks: does it work?')
    options = parser.parse_args()
    if options.quick:
        options.rounds = 1
    results = [measure(options, pattern, ticks // 10 if options.quick else ticks) for _, pattern, ticks in PATTERNS]
    backend = results[0]['backend']
    unit = 'k-instructions' if results[0]['clock'] == 'instructions' else 'ns'
    print('| %s | %s |' % (unit, ' | '.join('%s | exits' % heading for heading, _, _ in PATTERNS)))
    print('|---%s|' % ('|---' * 2 * len(PATTERNS)))
    for name, variant in ROWS:
        if variant == 'ringvmm' and backend != 'mmio2':
            name = 'ringvmm (%s)' % backend
        print(row(name, variant, results))
    tick, storm = results[0]['ratios']['ringvmm_over_floor'], results[2]['variants']['ringvmm']
    exits = storm['exits_per_tick']
    print('\ntick, ringvmm over floor: %s; storm: %.0f %s a write on the mean, %s exits per 10,000 writes' % (
        '-' if tick is None else '%.3f' % tick, storm['ns_per_tick_mean'],
        'instructions' if unit != 'ns' else unit, '-' if exits is None else '%.2f' % (10000 * exits)))


if __name__ == '__main__':
    main()
