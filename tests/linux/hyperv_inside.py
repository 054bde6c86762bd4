# SPDX-License-Identifier: BSD-2-Clause
"""In the rig: Debian's kernel with Hyper-V's enlightenments, and on four CPUs.

usage: hyperv_inside.py BUILD
"""
import sys
import time

from inside import MEMORY_MIB, Failed, Guest, check, say

CLOCKS = '/sys/devices/system/clocksource/clocksource0/'
TSC_PAGE = 'hyperv_clocksource_tsc_page'
HUGE_PAGES = MEMORY_MIB // 2 + 3


def common(guest):
    """Its CPUs are up, each a core of one package, and its log is clean."""
    guest.up()
    cpus = guest.ask('nproc; grep -c "^flags.* x2apic" /proc/cpuinfo').split()
    check('CPUs, and those with x2APIC', cpus, cpus == [str(guest.cpus)] * 2)
    places = guest.ask('cd /sys/devices/system/cpu; cat cpu[0-9]*/topology/core_id cpu[0-9]*/topology/thread_siblings_list '
                       'cpu[0-9]*/topology/physical_package_id; cd /').split()
    numbers = [str(cpu) for cpu in range(guest.cpus)]
    check('cores, threads, packages', places, places == numbers * 2 + ['0'] * guest.cpus)
    troubles = guest.ask('dmesg | grep -E "WARNING:|BUG:|Oops|Call Trace|Firmware Bug|unchecked MSR"')
    check('no trouble in the log', troubles, troubles == '')


def detected(guest, name):
    line = guest.ask('dmesg | grep "Hypervisor detected"')
    check('the hypervisor', line, line.endswith('Hypervisor detected: ' + name))


def hyperv_alone(guest):
    """Without KVM's leaves Linux takes Hyper-V's, and its clock is the reference TSC page. Through a reboot."""
    for turn in range(2):
        common(guest)
        detected(guest, 'Microsoft Hyper-V')
        clocks = guest.ask('cat %savailable_clocksource %scurrent_clocksource' % (CLOCKS, CLOCKS)).split()
        check('the clock sources', clocks, TSC_PAGE in clocks[:-1] and clocks[-1] == TSC_PAGE)
        privileges = guest.ask('dmesg | grep "Hyper-V: privilege flags"')
        check('what it may use', privileges, 'low 0x2a7f' in privileges and 'hints 0x42c' in privileges)
        took = guest.ask('a=$(cut -d. -f1 /proc/uptime); sleep 2; b=$(cut -d. -f1 /proc/uptime); echo $((b - a))')
        check('seconds in two seconds', took, took in ('2', '3'))
        timers = guest.ask('grep -E "HVS|Hyper-V stimer0" /proc/interrupts')
        check('interrupts of the synthetic timer', timers, sum(int(word) for word in timers.split() if word.isdigit()) > 0)
        guest.type('reboot -f' if turn == 0 else 'poweroff -f')
    guest.end(0)


def huge_pages():
    """Of the rig's: all, and those that nobody has touched."""
    with open('/proc/meminfo', encoding='ascii') as file:
        values = dict(line.split(':') for line in file)
    return int(values['HugePages_Total']), int(values['HugePages_Free'])


def kvm_beside(guest):
    """With both, Linux takes KVM's, which is behind Hyper-V's. Its memory is the pool's, all of it."""
    common(guest)
    detected(guest, 'KVM')
    check('huge pages, and those that are free', huge_pages(), huge_pages() == (HUGE_PAGES, HUGE_PAGES - MEMORY_MIB // 2))
    guest.type('poweroff -f')
    guest.end(0)


RUNS = [(hyperv_alone, '--hyperv', 'on', '--cpu', 'host,-kvm', '--cpus', '2'),
        (kvm_beside, '--hyperv', 'on', '--machine', 'q35', '--cpus', '4', '--hugepages', '--prefault', '--mlock',
         '--halt-poll', '0')]


def main():
    build, failed = sys.argv[1], 0
    with open('/proc/sys/vm/nr_hugepages', 'w', encoding='ascii') as file:
        file.write(str(HUGE_PAGES))
    for steps, *options in RUNS:
        guest = Guest(build, 'vmlinuz', *options, folder='hyperv-guest')
        try:
            steps(guest)
            say('ok    %-14s %5.1f s  %s' % (steps.__name__, time.monotonic() - guest.began, ' '.join(options)))
        except Failed as failure:
            failed += 1
            say('FAIL  %-14s %s: %s' % (steps.__name__, ' '.join(options), failure))
            say(guest.said.decode(errors='replace'))
        finally:
            guest.stop()
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
