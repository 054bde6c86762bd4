# SPDX-License-Identifier: BSD-2-Clause
"""In the rig: Debian's kernel with a disk and a console of virtio, booted directly.

usage: virtio_inside.py BUILD

There are no ACPI tables for a direct boot, so Linux does not know where the functions' pins lead. What firmware would have
done is done by hand: the PIRQ lines of slots 3 and 4 (PIIX3: C and D, ICH9: H and E) are routed to interrupts 11 and 10, these
get a level, and the functions' interrupt line registers say so. Then Linux is told to look at the functions anew.
"""
import os
import shutil
import sys
import time

from inside import Failed, Guest, check, say

ROUTES = {'i440fx': r"printf '\013\012' | dd of=0000:00:01.0/config bs=2 seek=49 2>/dev/null; ",
          'q35': r"printf '\013' | dd of=0000:00:1f.0/config bs=1 seek=107 2>/dev/null; "
                 r"printf '\012' | dd of=0000:00:1f.0/config bs=1 seek=104 2>/dev/null; "}
LINES = (r"cd /sys/bus/pci/devices; %s"
         r"printf '\013' | dd of=0000:00:03.0/config bs=1 seek=60 2>/dev/null; "
         r"printf '\012' | dd of=0000:00:04.0/config bs=1 seek=60 2>/dev/null; ports 0x4d1 0x0c; "
         r"echo 1 >0000:00:03.0/remove; echo 1 >0000:00:04.0/remove; echo 1 >/sys/bus/pci/rescan")
# A tree of files, written, read back after the caches are empty, partly removed, and its freed blocks discarded.
WORK = ('mount -t ext4 -o discard /dev/vda /mnt && mkdir /mnt/a && cp -r /bin /mnt/a/ && '
        'dd if=/dev/urandom of=/mnt/random bs=64k count=128 2>/dev/null && sha256sum /mnt/random >/mnt/sum && sync && '
        'for i in $(seq 200); do echo $i >/mnt/a/$i; done; cp /mnt/random /mnt/copy && umount /mnt && '
        'echo 3 >/proc/sys/vm/drop_caches; mount -t ext4 -o discard /dev/vda /mnt && sha256sum -c /mnt/sum && '
        'cmp /mnt/random /mnt/copy && rm -r /mnt/copy /mnt/a && ls /mnt && umount /mnt')


def steps(guest, machine, console):
    guest.up()
    guest.ask(LINES % ROUTES[machine])
    found = guest.ask('insmod /virtio_blk.ko; cat /sys/block/vda/size /sys/block/vda/serial; echo; ls /sys/class/tty | grep hvc0')
    check('the drivers\' devices', found, found.split() == [str(48 << 11), 'rig0', 'hvc0'])
    began = time.monotonic()
    done = guest.ask(WORK)
    check('files', done, done.split() == ['/mnt/random:', 'OK', 'lost+found', 'random', 'sum'])
    took = time.monotonic() - began
    guest.ask('echo from Linux >/dev/hvc0')
    with open(console, 'rb') as file:
        said = file.read()
    check('the console', said, said == b'from Linux\r\n')
    interrupts = guest.ask('grep virtio /proc/interrupts')
    check('interrupts', interrupts, len(interrupts.splitlines()) == 2)
    troubles = guest.ask('dmesg | grep -E "WARNING:|BUG:|Oops|Call Trace|I/O error|EXT4-fs error"')
    check('no trouble in the log', troubles, troubles == '')
    guest.type('reboot -f')
    guest.end(0)
    return took


def main():
    build, out = sys.argv[1], os.environ['OUT']
    failed = 0
    for machine, backend in (('i440fx', 'mmio2'), ('i440fx', 'v1'), ('q35', 'mmio2')):
        title = machine + '-' + backend
        disk, console = os.path.join(out, 'disk.' + title), os.path.join(out, 'console')
        shutil.copy(os.path.join(build, 'virtio-guest', 'disk'), disk)
        guest = Guest(build, 'vmlinuz', '--machine', machine, '--coalesce', backend, '--no-reboot', '--disk', disk + ',serial=rig0',
                      '--virtio-console', 'file:' + console, '--stats', 'json:' + os.path.join(out, 'stats.' + title),
                      folder='virtio-guest')
        try:
            took = steps(guest, machine, console)
            say('ok    %s: %5.1f s, of files %5.1f s' % (title, time.monotonic() - guest.began, took))
        except Failed as failure:
            failed += 1
            say('FAIL  %s: %s' % (title, failure))
            say(guest.said.decode(errors='replace'))
        finally:
            if guest.process.poll() is None:
                guest.process.kill()
            guest.process.wait()
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
