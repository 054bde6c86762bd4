# SPDX-License-Identifier: BSD-2-Clause
"""What the command line alone decides; needs no KVM."""

import errno
import os

import guests
import harness
from harness import QUIET, USAGE, Case

# arguments of run, and what the line must say: which option, which value, what would be right
BAD_VALUES = [
    (["--machine", "q36"], ["--machine 'q36'", "i440fx"]),
    (["--cpus", "0"], ["--cpus '0'", "not a number from 1 to 64"]),
    (["--cpus", "65"], ["--cpus '65'", "from 1 to 64"]),
    (["--cpus", "two"], ["--cpus 'two'", "from 1 to 64"]),
    (["--cpus", "-1"], ["--cpus '-1'", "from 1 to 64"]),
    (["--memory", "64"], ["--memory '64'", "needs its unit", "64M"]),
    (["--memory", "60T"], ["--memory '60T'", "not a size such as 64M"]),
    (["--memory", "0M"], ["--memory '0M'", "not from 1M to"]),
    (["--memory", "1500K"], ["--memory '1500K'", "not a multiple of 1M"]),
    (["--memory", "99999999999999999999G"], ["--memory '99999999999999999999G'", "not from 1M to"]),
    (["--firmware", ""], ["--firmware needs a value", "FILE|seabios"]),
    (["--uuid", "6ba7b810-9dad-11d1-80b4"], ["--uuid '6ba7b810-9dad-11d1-80b4'", "not a UUID such as"]),
    (["--dump-tables", ""], ["--dump-tables needs a value", "DIR"]),
    (["--no-reboot=yes"], ["--no-reboot takes no value", "'yes'"]),
    (["--serial", "tty"], ["--serial 'tty'", "stdio, null, pty, file:PATH or unix:PATH"]),
    (["--serial", "file:"], ["--serial 'file:'", "path is empty"]),
    (["--serial", "unix:" + "s" * 108], ["--serial", "ssss", "107 bytes"]),
    (["--debugcon", "pipe:x"], ["--debugcon 'pipe:x'", "stdio, null, pty, file:PATH or unix:PATH"]),
    (["--debugcon-port", "0x10000"], ["--debugcon-port '0x10000'", "0x0 to 0xffff"]),
    (["--debug-exit", "0xfffd"], ["--debug-exit '0xfffd'", "0x0 to 0xfffc"]),
    (["--debug-exit", "exit"], ["--debug-exit 'exit'", "not a port"]),
    (["--rtc", "base=yesterday"], ["--rtc base 'yesterday'", "utc, localtime or a date such as 2026-11-21"]),
    (["--rtc", "base=2023-02-29"], ["--rtc base '2023-02-29'", "no such day", "1970 to 2199"]),
    (["--rtc", "base=2200-01-01"], ["--rtc base '2200-01-01'", "1970 to 2199"]),
    (["--rtc", "clock=guest"], ["--rtc clock 'guest'", "host, vm"]),
    (["--rtc", "lost-ticks=slow"], ["--rtc lost-ticks 'slow'", "discard, slew", "did you mean 'slew'?"]),
    (["--rtc", "nvram="], ["--rtc: nvram needs a value", "nvram=FILE"]),
    (["--rtc", "bas=utc"], ["--rtc: unknown key 'bas'", "did you mean base=?"]),
    (["--rtc", "utc"], ["--rtc: unknown key 'utc'", "base=, clock=, lost-ticks=, nvram="]),
    (["--rtc", "base=utc,base=localtime"], ["--rtc base given twice", "'utc'", "'localtime'"]),
    (["--device-model", "tcp:9"], ["--device-model 'tcp:9'", "unix:PATH"]),
    (["--device-model", "unix:" + "p" * 108], ["--device-model 'unix:ppp", "longer than 107"]),
    (["--device-model-wait", "0"], ["--device-model-wait '0'", "milliseconds from 1 to 86400000"]),
    (["--device-model-wait", "10s"], ["--device-model-wait '10s'", "milliseconds"]),
    (["--coalesce", "v2"], ["--coalesce 'v2'", "auto, mmio2, v1, off", "did you mean 'v1'?"]),
    (["--max-replay-latency", "19"], ["--max-replay-latency '19'", "microseconds from 20 to 1000000"]),
    (["--max-replay-latency", "1ms"], ["--max-replay-latency '1ms'", "microseconds"]),
    (["--moderation", "yes"], ["--moderation 'yes'", "'on' or 'off'"]),
    (["--post", "rtc-dat"], ["--post 'rtc-dat'", "did you mean 'rtc-data'?"]),
    (["--post", "rtc-data,rtc-data"], ["--post", "'rtc-data' given twice"]),
    (["--ring-thread", "cpu=5000"], ["--ring-thread cpu '5000'", "from 0 to 1023"]),
    (["--ring-thread", "priority=100"], ["--ring-thread priority '100'", "from 0 to 99"]),
    (["--cpu", "qemu64"], ["--cpu 'qemu64'", "not host"]),
    (["--cpu", "host,-sse5"], ["--cpu: unknown feature 'sse5'", "did you mean 'sse'?"]),
    (["--cpu", "host,+\x1b[31m"], ["--cpu: unknown feature '\\x1b[31m'", "/proc/cpuinfo"]),
    (["--cpu", "host,-" + "a" * 200], ["--cpu: unknown feature '-aaa", "/proc/cpuinfo"]),
    (["--hyperv", "all"], ["--hyperv 'all'", "on, off, relaxed"]),
    (["--hyperv", "synic,time"], ["--hyperv: 'time' needs 'vpindex'"]),
    (["--hyperv", "off,ipi"], ["--hyperv: 'off' stands alone"]),
    (["--hugepages", "--memory", "3M"], ["--hugepages with --memory 3M", "2 MiB"]),
    (["--vcpu-priority", "high"], ["--vcpu-priority 'high'", "from 0 to 99"]),
    (["--halt-poll", "1us"], ["--halt-poll '1us'", "nanoseconds"]),
    (["--cpu-pm=on"], ["--cpu-pm takes no value", "'on'"]),
    (["--vcpu-affinity", "0-"], ["--vcpu-affinity '0-'", "0,2 or 0-3"]),
    (["--vcpu-affinity", "5000"], ["--vcpu-affinity '5000'", "1023"]),
    (["--vcpu-affinity", "0,1"], ["--vcpu-affinity lists 2 host CPUs for --cpus 1", "one for each"]),
    (["--teardown", "never"], ["--teardown 'never'", "async, sync"]),
    (["--stats", "csv"], ["--stats 'csv'", "table or json"]),
    (["--stats", "json:"], ["--stats 'json:'", "file name is empty"]),
    (["--cpus"], ["--cpus needs a value: --cpus N"]),
    (["--cpus", "--no-reboot"], ["--cpus needs a value"]),
]

UNKNOWN = [
    (["--memroy", "64M"], ["unknown option '--memroy'", "did you mean '--memory'?"]),
    (["--mem=64M"], ["unknown option '--mem'", "did you mean '--memory'?"]),
    (["--kernal", "bzImage"], ["unknown option '--kernal'", "did you mean '--kernel'?"]),
    (["-x"], ["unknown option '-x'", "ringvmm run --help"]),
    (["guest.img"], ["unexpected argument 'guest.img'", "ringvmm run --help"]),
    (["\x1b[31m"], ["unexpected argument '\\x1b[31m'"]),
]

TWICE = [
    (["--cpus", "1", "--cpus=2"], ["--cpus given twice: '1' and '2'"]),
    (["--no-reboot", "--no-reboot"], ["--no-reboot given twice"]),
    (["--serial", "file:log", "--debugcon", "file:log"], ["'log' given twice: as --serial and as --debugcon"]),
    (["--serial", "file:log", "--rtc", "nvram=log"], ["'log' given twice", "--serial", "nvram"]),
]

PORTS = [
    (["--debug-exit", "0x402"], ["port 0x402 given twice", "--debug-exit (0x402-0x405)", "--debugcon-port (0x402)"]),
    (["--debug-exit", "0x400"], ["port 0x402 given twice", "--debug-exit (0x400-0x403)"]),
    (["--debug-exit", "0x70"], ["port 0x70 given twice", "--debug-exit (0x70-0x73)", "the RTC (0x70-0x71)"]),
    (["--debugcon-port", "0x3f8"], ["port 0x3f8 given twice", "--debugcon-port (0x3f8)", "COM1 (0x3f8-0x3ff)"]),
]


KERNEL = [
    (["--initrd", "firmware.bin"], ["--initrd without --kernel"]),
    (["--append", "quiet"], ["--append without --kernel"]),
    (["--kernel", "firmware.bin", "--firmware", "seabios"], ["--kernel with --firmware seabios", "leave --firmware out"]),
    (["--kernel", "firmware.bin", "--flash", "vars"], ["--flash without firmware", "give --firmware too"]),
    (["--kernel", ""], ["--kernel needs a value"]),
    (["--kernel", "a", "--kernel", "b"], ["--kernel given twice: 'a' and 'b'"]),
]


class Usage(Case):
    def refuse_each(self, table):
        firmware = self.firmware(guests.ENDLESS)
        for args, parts in table:
            with self.subTest(args=args):
                own = [] if args[0].startswith("--firmware") else firmware
                quiet = [] if args[0] == "--serial" or "--serial" in args else QUIET
                self.refuse([*own, *quiet, *args], *parts)

    def test_bad_values(self):
        """a bad value of each option: which, what it is, what would be right"""
        self.refuse_each(BAD_VALUES)

    def test_unknown(self):
        """an unknown option is named, with a suggestion"""
        self.refuse_each(UNKNOWN)

    def test_twice(self):
        """an option or a file given twice"""
        self.refuse_each(TWICE)

    def test_ports(self):
        """a port given twice: to whom"""
        self.refuse_each(PORTS)

    def test_kernel(self):
        """kernel, initrd and command line that do not go together"""
        self.firmware(guests.ENDLESS)
        for args, parts in KERNEL:
            with self.subTest(args=args):
                self.refuse([*QUIET, *args], *parts)

    def test_command(self):
        """no command, an unknown one, an option in its place"""
        for args, parts in [
            ([], ["which command?", "ringvmm --help"]),
            (["rum"], ["no command 'rum'", "did you mean 'run'?"]),
            (["--cpus", "2"], ["unknown option '--cpus'", "a command comes first"]),
            (["help", "me"], ["no command 'me'"]),
            (["doctor", "--jsn"], ["unknown option '--jsn'", "did you mean '--json'?"]),
        ]:
            with self.subTest(args=args):
                self.check_refused(self.run_it(*args), *parts)

    def test_version(self):
        """--version and -V: one line"""
        for option in ("--version", "-V"):
            result = self.run_it(option)
            self.assertEqual((result.status, result.err), (0, ""))
            self.assertRegex(result.out, r"\Aringvmm \d+\.\d+\.\d+\n\Z")

    def test_help(self):
        """every help text: on standard output, 80 columns, status 0"""
        texts = {}
        for args in (["--help"], ["-h"], ["help"], ["run", "--help"], ["run", "-h"], ["help", "run"],
                     ["doctor", "--help"], ["help", "doctor"], ["help", "help"]):
            with self.subTest(args=args):
                result = self.run_it(*args)
                self.assertEqual((result.status, result.err), (0, ""))
                self.assertIn("Usage: ringvmm", result.out)
                texts[" ".join(args)] = result.out
                for line in result.out.splitlines():
                    self.assertLessEqual(len(line), 80, line)
                    self.assertEqual(line, line.rstrip())
        self.assertEqual(texts["run --help"], texts["help run"])
        self.assertEqual(texts["doctor --help"], texts["help doctor"])

    def test_closed_stdout(self):
        """help and version on a closed or full standard output: a line, status 2"""
        for args in (["--help"], ["--version"], ["run", "--help"], ["doctor", "--help"], ["doctor"]):
            with self.subTest(args=args):
                short = args[0].startswith("--")  # a text that fills a buffer fails early, and the cause is lost
                result = self.run_it(*args, stdout=None, preexec_fn=lambda: os.close(1))
                self.check_refused(result, "cannot write to standard output", os.strerror(errno.EBADF) if short else "")
                with open("/dev/full", "wb") as full:
                    result = self.run_it(*args, stdout=full)
                self.check_refused(result, "cannot write to standard output",
                                   os.strerror(errno.ENOSPC) if short else "")

    def test_broken_pipe(self):
        """help for a reader that has gone: no noise but the line"""
        read, write = os.pipe()
        os.close(read)
        result = self.run_it("run", "--help", stdout=write)
        os.close(write)
        self.assertIn(result.status, (USAGE, -13))

    def test_dry_run(self):
        """--dry-run: checks, says nothing, makes nothing, needs no KVM"""
        options = ["--dry-run", "--serial", "file:log", "--debugcon", "unix:socket", "--rtc", "nvram=cmos", "--stats",
                   "table:stats", "--coalesce", "mmio2", "--memory", "256M"]
        result = self.run_it("run", *self.firmware(guests.ENDLESS), *options, env=harness.without_kvm())
        self.assertEqual((result.status, result.out, result.err), (0, "", ""))
        self.assertEqual(os.listdir("."), ["firmware.bin"])
        self.refuse([*self.firmware(guests.ENDLESS), "-n", "--cpus", "0"], "--cpus '0'")

    def test_streams_closed(self):
        """all three standard streams closed: still status 2"""
        process = self.spawn("run", "--cpus", "0", stdin=None, stdout=None, stderr=None,
                             preexec_fn=lambda: os.closerange(0, 3))
        self.assertEqual(process.wait(5), USAGE)


class Files(Case):
    def test_firmware_missing(self):
        """firmware that is not there"""
        self.refuse(["--firmware", "no.bin", *QUIET], "--firmware 'no.bin'", "No such file")

    def test_firmware_directory(self):
        """firmware that is a directory"""
        os.mkdir("bios")
        self.refuse(["--firmware", "bios", *QUIET], "--firmware 'bios'", "not a regular file")

    def test_firmware_size(self):
        """empty, odd-sized and huge firmware: its size and what it must be"""
        for size in (0, 1, 65535, 65537, 100000, 17 << 20):
            with self.subTest(size=size):
                with open("odd.bin", "wb") as file:
                    file.truncate(size)
                self.refuse(["--firmware", "odd.bin", *QUIET], "--firmware 'odd.bin'", f"{size} bytes",
                            "multiple of 4 KiB, up to 16 MiB")

    def test_firmware_fifo(self):
        """firmware that is a FIFO does not make it wait"""
        os.mkfifo("bios")
        self.refuse(["--firmware", "bios", *QUIET], "--firmware 'bios'", "not a regular file")

    def test_firmware_unreadable(self):
        """firmware without read permission"""
        os.chmod(self.write("secret.bin", guests.ENDLESS), 0)
        self.refuse(["--firmware", "secret.bin", *QUIET], "--firmware 'secret.bin'", "Permission denied",
                    **self.nobody())

    def refuse_kernel(self, kernel, *parts, args=(), initrd=None):
        """Refused before there is a machine, and by --dry-run."""
        options = ["--kernel", self.write("kernel", kernel), *QUIET, *args]
        if initrd is not None:
            options += ["--initrd", self.write("initrd", initrd)]
        for more in ([], ["--dry-run"]):
            self.refuse([*options, *more], *parts, env=harness.without_kvm())

    def test_kernel_file(self):
        """a kernel or an initrd that cannot be read"""
        os.mkdir("there")
        os.mkfifo("fifo")
        self.write("empty", b"")
        self.write("good", guests.linux())
        os.chmod(self.write("secret", guests.linux()), 0)
        for option, before in (("--kernel", []), ("--initrd", ["--kernel", "good"])):
            for name, why in (("no", "No such file"), ("there", "not a regular file"), ("fifo", "not a regular file"),
                              ("empty", "it is empty")):
                with self.subTest(option=option, name=name):
                    self.refuse([*before, option, name, *QUIET], f"{option} '{name}'", why)
            self.refuse([*before, option, "secret", *QUIET], f"{option} 'secret'", "Permission denied", **self.nobody())

    def test_kernel_size(self):
        """a kernel that is no kernel for its size alone"""
        with open("huge", "wb") as file:
            file.truncate((1 << 30) + 1)
        self.refuse(["--kernel", "huge", *QUIET], "--kernel 'huge'", "1073741825 bytes", "at most 1024 MiB")

    def test_kernel_kind(self):
        """a file that is no kernel"""
        for kernel in (b"x", b"#!/bin/sh\n", bytes(100000), guests.ENDLESS, guests.linux()[:0x220]):
            with self.subTest(size=len(kernel)):
                self.refuse_kernel(kernel, "--kernel 'kernel'", "not a kernel: no Linux bzImage, no ELF file")
        self.refuse_kernel(guests.multiboot_header(0) + bytes(100), "a multiboot kernel that is no ELF file")

    def test_linux_broken(self):
        """a bzImage that is cut short, too old, or wants what is not there"""
        for change, parts in [
                ({"cut": 100}, ["cut short", "bytes, and its header says"]),
                ({"version": 0x209}, ["boot protocol 2.09 is too old", "2.10"]),
                ({"version": 0x105}, ["boot protocol 1.05 is too old"]),
                ({"loadflags": 0}, ["too old"]),
                ({"jump": 0x20}, ["setup header is too short"]),
                ({"alignment": 3}, ["alignment of 0x3"]),
                ({"alignment": 0}, ["alignment of 0x0"]),
                ({"alignment": 0x80000000}, ["alignment of 0x80000000"]),
                ({"relocatable": 0, "pref": 0x1000}, ["asks for the address 0x1000"]),
                ({"pref": 1 << 40}, ["asks for the address 0x10000000000"]),
                ({"pref": 0xfffffffe}, ["memory up to 0x"]),
                ({"init_size": 0xd0000000}, ["memory up to 0xd1000000"])]:
            with self.subTest(change=change):
                self.refuse_kernel(guests.linux(**change), "--kernel 'kernel'", *parts)

    def test_memory(self):
        """a kernel that does not fit, and an initrd that does not fit beside it"""
        self.refuse_kernel(guests.linux(init_size=48 << 20), "--memory '63M'", "too little for the kernel",
                           "takes up to 64M", args=["--memory", "63M"])
        self.refuse_kernel(guests.linux(), "--initrd 'initrd'", "9437184 bytes", "(--memory)", initrd=bytes(9 << 20),
                           args=["--memory", "8M"])
        self.refuse_kernel(guests.linux(), "--initrd 'initrd'", "4194304 bytes", "there is room for", initrd=bytes(4 << 20),
                           args=["--memory", "20M"])
        self.refuse_kernel(guests.linux(initrd_max=0x11fffff), "there is room for", initrd=bytes(2 << 20),
                           args=["--memory", "64M"])

    def test_append(self):
        """a command line that the kernel has no room for"""
        self.refuse_kernel(guests.linux(cmdline_size=100), "--append", "101 bytes; this kernel takes 100",
                           args=["--append", "x" * 101])
        self.refuse_kernel(guests.elf(pvh=True), "--append", "65536 bytes; this kernel takes 65535",
                           args=["--append", "x" * 65536])

    def test_elf_broken(self):
        """an ELF file that is cut short, for something else, or of no kind that can be booted"""
        for change, parts in [
                ({"cut": 10}, ["cut short", "a segment's end"]),
                ({"keep": 450}, ["cut short", "program headers"]),
                ({"keep": 20}, ["cut short: 20 bytes do not hold an ELF header"]),
                ({"machine": 183}, ["another machine (183)"]),
                ({"kind": 1}, ["no executable (type 1)"]),
                ({"elf_class": 3}, ["class 3"]),
                ({"count": 0}, ["0 program headers"]),
                ({"count": 65}, ["65 program headers"]),
                ({"addr": 0x8000}, ["an ELF segment for address 0x8000"]),
                ({"file_size": 100, "memory_size": 50}, ["segment of 0x32 bytes has 0x64 in the file"]),
                ({"addr": 0xfffff000}, ["memory up to 0x"]),
                ({"pvh": False}, ["an ELF file without a PVH note and without a multiboot header"]),
                ({"pvh_entry": 0x4000000}, ["its entry, 0x4000000, is in none of its segments"]),
                ({"multiboot": 4}, ["asks for a video mode"]),
                ({"multiboot": 8}, ["asks for something unknown (flags 0x8)"]),
                ({"multiboot": 0x10000}, ["has addresses of its own"])]:
            with self.subTest(change=change):
                self.refuse_kernel(guests.elf(**{"pvh": True, **change}), "--kernel 'kernel'", *parts)
        self.refuse_kernel(guests.elf(pvh=True, addr=0x5000000), "--memory '64M'", "takes up to 81M")

    def test_firmware_kernel(self):
        """a kernel for firmware that is no bzImage"""
        self.refuse_kernel(guests.elf(pvh=True), "--kernel 'kernel'", "no Linux bzImage", args=self.firmware(guests.HALTED))

    def test_kernel_dry_run(self):
        """--dry-run with good kernels: nothing said, nothing needed"""
        for kernel in (guests.linux(), guests.elf(pvh=True), guests.elf(multiboot=3)):
            result = self.run_it("run", "--kernel", self.write("kernel", kernel), "--dry-run", *QUIET,
                                 env=harness.without_kvm())
            self.assertEqual((result.status, result.out, result.err), (0, "", ""))

    def nobody(self):
        """How to start a copy of ringvmm that an unprivileged user can reach."""
        if os.geteuid() != 0:
            return {}
        with open(harness.RINGVMM, "rb") as file:
            os.chmod(self.write("ringvmm", file.read()), 0o755)
        return {"program": os.path.abspath("ringvmm"), "user": 65534, "group": 65534, "extra_groups": []}

    def test_disk_read_only(self):
        """a disk that may not be written: readonly=on is named, and does; one that may not be read"""
        os.chmod(self.write("disk", bytes(1 << 20)), 0o444)
        os.chmod(self.write("secret", bytes(1 << 20)), 0)
        how = self.nobody()
        firmware = self.firmware(guests.ENDLESS)
        self.refuse([*firmware, *QUIET, "--disk", "disk"], "--disk 'disk'", "may not be written; readonly=on", **how)
        result = self.run_it("run", *firmware, *QUIET, "--disk", "disk,readonly=on", "--dry-run", **how)
        self.assertEqual((result.status, result.out, result.err), (0, "", ""))
        for option in ("secret", "secret,readonly=on"):
            self.refuse([*firmware, *QUIET, "--disk", option], "--disk 'secret'", "Permission denied", **how)

    def test_paths(self):
        """files that cannot be made: a missing directory, a directory, no permission"""
        os.mkdir("there")
        os.mkdir("locked", 0o555)
        how = self.nobody()
        firmware = self.firmware(guests.ENDLESS)
        for option, value, shown in [("--stats", "table:{}", "--stats"), ("--serial", "file:{}", "--serial"),
                                     ("--serial", "unix:{}", "--serial"), ("--rtc", "nvram={}", "--rtc nvram")]:
            quiet = [] if option == "--serial" else QUIET
            for path, why in [("no/x", "directory does not exist"), ("there", "Is a directory"),
                              ("locked/x", "no permission"), ("firmware.bin/x", "Not a directory")]:
                if value.startswith("unix:") and path == "there":
                    continue  # says so when it listens
                with self.subTest(option=option, value=value, path=path):
                    self.refuse([*firmware, *quiet, option, value.format(path)], f"{shown} '{path}'", why, **how)

    def test_nvram_device(self):
        """an nvram file that is no file"""
        self.refuse([*self.firmware(guests.ENDLESS), *QUIET, "--rtc", "nvram=/dev/null"], "--rtc nvram '/dev/null'",
                    "not a regular file")


if __name__ == "__main__":
    harness.main()
