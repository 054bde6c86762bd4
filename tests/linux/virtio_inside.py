# SPDX-License-Identifier: BSD-2-Clause
"""In the rig: Debian's kernel with a disk and a console of virtio, booted directly.

usage: virtio_inside.py BUILD

By messages (MSI-X), and once by the functions' pins, which the ACPI tables say where they lead. With messages also a second disk,
with the load of tests/linux/load.
"""
import os
import shutil
import sys
import time

import sparse
from inside import SLOW, Failed, Guest, check, say

LOAD_S = 60 * SLOW

# A tree of files, written, read back after the caches are empty, partly removed, and its freed blocks discarded.
WORK = ('mount -t ext4 -o discard /dev/vda /mnt && mkdir /mnt/a && cp -r /bin /mnt/a/ && '
        'dd if=/dev/urandom of=/mnt/random bs=64k count=128 2>/dev/null && sha256sum /mnt/random >/mnt/sum && sync && '
        'for i in $(seq 200); do echo $i >/mnt/a/$i; done; cp /mnt/random /mnt/copy && umount /mnt && '
        'echo 3 >/proc/sys/vm/drop_caches; mount -t ext4 -o discard /dev/vda /mnt && sha256sum -c /mnt/sum && '
        'cmp /mnt/random /mnt/copy && rm -r /mnt/copy /mnt/a && ls /mnt && umount /mnt')


def steps(guest, console, kind):
    guest.up()
    found = guest.ask('insmod /virtio_blk.ko; cat /sys/block/vda/size /sys/block/vda/serial; echo; ls /sys/class/tty | grep hvc0')
    check('the drivers\' devices', found, found.split() == [str(48 << 11), 'rig0', 'hvc0'])
    began = time.monotonic()
    done = guest.ask(WORK)
    check('files', done, done.split() == ['/mnt/random:', 'OK', 'lost+found', 'random', 'sum'])
    took = time.monotonic() - began
    loaded = load(guest) if guest.command.count('--disk') == 2 else 0
    guest.ask('echo from Linux >/dev/hvc0')
    with open(console, 'rb') as file:
        said = file.read()
    check('the console', said, said == b'from Linux\r\n')
    interrupts = guest.ask('grep virtio /proc/interrupts')
    check('interrupts', interrupts, interrupts and all(kind in line for line in interrupts.splitlines()))
    troubles = guest.ask('dmesg | grep -E "WARNING:|BUG:|Oops|Call Trace|I/O error|EXT4-fs error"')
    check('no trouble in the log', troubles, troubles == '')
    guest.type('reboot -f')
    guest.end(0)
    return took, loaded


def load(guest):
    began = time.monotonic()
    done = guest.ask('/load /dev/vdb', LOAD_S)
    check('the load', done, done.endswith('all as written'))
    say('      ' + done.replace('\n', '; '))
    return time.monotonic() - began


def killed(guest):
    """SIGKILL in the midst of writing: what is on the disk is what a power cut leaves."""
    guest.up()
    guest.ask('insmod /virtio_blk.ko && mount -t ext4 /dev/vda /mnt && echo mounted')
    guest.type('i=0; while :; do i=$((i + 1)); mkdir /mnt/d$i; dd if=/dev/urandom of=/mnt/d$i/f bs=16k count=4 2>/dev/null; '
               '[ $((i % 8)) = 0 ] && sync && rm -r /mnt/d$((i - 4)); [ $i = 40 ] && echo under way; done')
    guest.wait_for(b'under way', 120)
    guest.process.kill()
    guest.process.wait()


def main():
    build, out = sys.argv[1], os.environ['OUT']
    guests = os.path.join(build, 'virtio-guest')
    failed = 0
    for machine, backend, append, kind in (('i440fx', 'mmio2', '', 'MSI'), ('i440fx', 'v1', '', 'MSI'),
                                           ('q35', 'mmio2', ' pci=nomsi', 'IO-APIC')):
        title = machine + '-' + backend
        disk, console = os.path.join(out, 'disk.' + title), os.path.join(out, 'console')
        shutil.copy(os.path.join(guests, 'disk'), disk)
        options = ['--machine', machine, '--coalesce', backend, '--no-reboot', '--disk', disk + ',serial=rig0', '--virtio-console',
                   'file:' + console]
        large = os.path.join(out, 'large.' + title)
        if kind == 'MSI':
            sparse.unpack(os.path.join(guests, 'large.packed'), large)
            options += ['--disk', large]
        guest = Guest(build, 'vmlinuz', *options, folder='virtio-guest', append=append)
        try:
            took = steps(guest, console, kind)
            say('ok    %s: %5.1f s, of files %5.1f s, of the load %5.1f s' % (title, time.monotonic() - guest.began, *took))
        except Failed as failure:
            failed += 1
            say('FAIL  %s: %s' % (title, failure))
            say(guest.said.decode(errors='replace'))
        finally:
            guest.stop()
        if kind == 'MSI':
            sparse.pack(large, large + '.packed')
            os.unlink(large)
    disk = os.path.join(out, 'killed')
    shutil.copy(os.path.join(guests, 'disk'), disk)
    guest = Guest(build, 'vmlinuz', '--disk', disk, folder='virtio-guest')
    try:
        killed(guest)
        say('ok    killed while it wrote')
    except Failed as failure:
        failed += 1
        say('FAIL  killed while it wrote: %s' % failure)
        say(guest.said.decode(errors='replace'))
        guest.stop()
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
