# SPDX-License-Identifier: BSD-2-Clause
"""Where output goes, and what happens when it cannot: consoles, statistics, the files behind NVRAM and flash."""

import errno
import json
import os
import resource
import signal
import socket
import unittest

import guests
import harness
from harness import EXIT, QUIET, USAGE, Case

OVMF_VARS = "/usr/share/OVMF/OVMF_VARS_4M.fd"


@harness.needs_kvm
class Consoles(Case):
    def test_stdout(self):
        """--debugcon stdio: every byte, in order"""
        text = bytes(range(32, 127)) * 20
        result = self.run_guest(guests.debug_exit(4, guests.say(text)), *QUIET, "--debugcon", "stdio")
        self.assertEqual((result.status, result.out, result.err), (9, text.decode(), ""))

    def test_file(self):
        """file: is emptied at the start and holds every byte at the end"""
        self.write("log", b"from before, and longer than what comes")
        result = self.run_guest(guests.debug_exit(4, guests.say(b"now")), *QUIET, "--debugcon", "file:log")
        self.assertEqual((result.status, result.err, self.read("log")), (9, "", b"now"))

    def test_both(self):
        """serial and debugcon to stdio at once"""
        guest = guests.debug_exit(4, guests.say(b"a") + guests.say(b"B", 0x3F8))
        result = self.run_guest(guest, "--serial", "stdio", "--debugcon", "stdio")
        self.assertEqual((result.status, sorted(result.out), result.err), (9, ["B", "a"], ""))

    def test_input(self):
        """input on stdin reaches the guest; its end does not end the run"""
        process = self.start_guest(guests.ECHO)
        self.assertEqual(process.stdout.read(1), b"!")
        result = self.end(process, data=b"hello, world; " * 500 + b"q")
        self.assertEqual((result.status, result.out, result.err), (11, "hello, world; " * 500, ""))
        process = self.start_guest(guests.ECHO)
        process.stdin.close()
        process.stdin = None
        self.assertEqual(process.stdout.read(1), b"!")
        process.terminate()
        self.assertEqual(self.end(process).status, 143)

    def test_stdin_closed(self):
        """a closed standard input is no input"""
        result = self.run_guest(guests.debug_exit(4, guests.say(b"x", 0x3F8)), stdin=None,
                                preexec_fn=lambda: os.close(0))
        self.assertEqual((result.status, result.out, result.err), (9, "x", ""))

    def test_stdout_closed(self):
        """a closed standard output under --serial stdio: refused before the start"""
        self.refuse([*self.firmware(guests.ENDLESS)], "--serial stdio", "standard output is closed",
                    stdout=None, preexec_fn=lambda: os.close(1))

    def test_stdout_unused(self):
        """a closed standard output that nobody uses is none of our business"""
        for teardown in ("async", "sync"):
            result = self.run_guest(guests.debug_exit(4), *QUIET, "--teardown", teardown, stdout=None,
                                    preexec_fn=lambda: os.close(1))
            self.assertEqual((result.status, result.err), (9, ""))

    def test_stderr_closed(self):
        """a closed standard error does not make messages go elsewhere"""
        result = self.run_guest(guests.debug_exit(4, guests.say(b"x")), *QUIET, "--debugcon", "file:log", "--stats",
                                "table", "--ring-thread", "cpu=1000", stderr=None, preexec_fn=lambda: os.close(2))
        self.assertEqual((result.status, result.out, self.read("log")), (9, "", b"x"))

    def full(self, result, guest_status, where):
        """One line about the full disk; the guest's own verdict stands, and success does not."""
        self.assertEqual(result.status, guest_status, result.err)
        self.assertEqual(len(result.lines), 1, result.err)
        self.check_line(result.lines[0], where, "No space left on device", "further output is dropped")

    def test_full(self):
        """a full disk under file: and stdout: one line, the guest goes on, its verdict stands"""
        say = guests.say(b"x" * 100)
        for options, where in [(["--debugcon", "file:/dev/full", *QUIET], "debugcon output to '/dev/full'"),
                               (["--serial", "file:/dev/full"], "serial output to '/dev/full'")]:
            guest = say if "--debugcon" in options else guests.say(b"x" * 100, 0x3F8)
            with self.subTest(options=options):
                self.full(self.run_guest(guests.debug_exit(4, guest), *options), 9, where)
        with open("/dev/full", "wb") as full:
            result = self.run_guest(guests.debug_exit(4, guests.say(b"x", 0x3F8)), stdout=full)
        self.full(result, 9, "serial output to standard output")

    def test_full_success(self):
        """a full disk makes of status 0 a status 2"""
        guest = guests.reset(guests.say(b"x"))
        self.full(self.run_guest(guest, *QUIET, "--no-reboot", "--debugcon", "file:/dev/full"), USAGE, "'/dev/full'")

    def test_full_file_system(self):
        """a file system that fills up while the guest writes: one line, what fitted is there, Ctrl-C ends it"""
        if not harness.mounts():
            self.skipTest("cannot mount here")
        os.mkdir("small")
        script = 'mount -t tmpfs -o size=64k none small && exec "$0" "$@"'
        process = self.start_guest(guests.FLOOD, *QUIET, "--debugcon", "file:small/log",
                                   prefix=["unshare", "-m", "sh", "-c", script])
        line = process.stderr.readline().decode()
        self.check_line(line, "debugcon output to 'small/log'", "No space left on device", "further output is dropped")
        self.assertEqual(os.stat(f"/proc/{process.pid}/root{self.directory}/small/log").st_size, 65536)
        process.send_signal(signal.SIGINT)
        result = self.end(process)
        self.assertEqual((result.status, result.err), (130, ""))

    def test_file_limit(self):
        """a file size limit is an error like a full disk, not a signal"""
        limit = (2 << 20) + 1  # the guest's memory has to fit as well
        process = self.start_guest(guests.FLOOD, *QUIET, "--debugcon", "file:log", "--memory", "2M",
                                   preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        self.check_line(process.stderr.readline().decode(), "'log'", "File too large")
        process.terminate()
        result = self.end(process)
        self.assertEqual((result.status, result.err, len(self.read("log"))), (143, "", limit))

    def test_reader_gone(self):
        """a reader of standard output that goes away: one line, the guest goes on"""
        process = self.start_guest(guests.FLOOD, *QUIET, "--debugcon", "stdio")
        process.stdout.read(100)
        process.stdout.close()
        process.stdout = None
        self.check_line(process.stderr.readline().decode(), "standard output", "Broken pipe")
        self.assertIsNone(process.poll())
        process.terminate()
        result = self.end(process)
        self.assertEqual((result.status, result.err), (143, ""))

    def test_reader_slow(self):
        """a reader that does not read holds up the end for two seconds at most"""
        process = self.start_guest(guests.FLOOD, *QUIET, "--debugcon", "stdio")
        process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(4), 130)


@harness.needs_kvm
class Sockets(Case):
    def connect(self, path="socket"):
        """A client; waits for the server, but makes one connection only."""
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.settimeout(5)
        self.wait_for(path, lambda: client.connect_ex(path) == 0)
        return client

    def listening(self, path="socket"):
        return self.start_guest(guests.ECHO, "--serial", f"unix:{path}")

    def receive(self, client, size):
        data = b""
        while len(data) < size:
            more = client.recv(size - len(data))
            self.assertTrue(more, f"the connection ended after {data!r}")
            data += more
        return data

    def echo(self, client, text):
        client.sendall(text)
        self.assertEqual(self.receive(client, len(text)), text)

    def test_echo(self):
        """unix: what was said before the first client, an echo, a second client after the first; gone at the end"""
        process = self.listening()
        client = self.connect()
        self.assertEqual(self.receive(client, 1), b"!")
        self.echo(client, b"first" * 100)
        client.close()
        client = self.connect()
        self.echo(client, b"second")
        client.sendall(b"q")
        result = self.end(process)
        self.assertEqual((result.status, result.out, result.err), (11, "", ""))
        self.assertEqual(client.recv(1), b"")
        self.assertFalse(os.path.exists("socket"))

    def test_two_clients(self):
        """unix: a second client waits until the first has gone"""
        process = self.listening()
        first = self.connect()
        self.receive(first, 1)
        second = self.connect()
        second.sendall(b"later")
        self.echo(first, b"sooner")
        first.close()
        self.assertEqual(self.receive(second, 5), b"later")
        process.terminate()
        self.assertEqual(self.end(process).status, 143)

    def test_stale(self):
        """unix: a socket that nobody serves any more is replaced"""
        old = socket.socket(socket.AF_UNIX)
        old.bind("socket")
        old.close()
        process = self.listening()
        self.receive(self.connect(), 1)
        process.terminate()
        self.assertEqual(self.end(process).status, 143)
        self.assertFalse(os.path.exists("socket"))

    def test_killed(self):
        """unix: what a killed ringvmm leaves does not keep the next from starting"""
        process = self.listening()
        self.receive(self.connect(), 1)
        process.kill()
        self.assertEqual(self.end(process).status, -signal.SIGKILL)
        self.assertTrue(os.path.exists("socket"))
        process = self.listening()
        self.receive(self.connect(), 1)
        process.terminate()
        self.assertEqual(self.end(process).status, 143)

    def test_in_use(self):
        """unix: a socket that somebody serves is left to them"""
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket")
            server.listen()
            self.refuse([*self.firmware(guests.ENDLESS), "--serial", "unix:socket"], "--serial",
                        "cannot listen on 'socket'", "another process does")
            self.assertTrue(os.path.exists("socket"))

    def test_not_socket(self):
        """unix: a file in the way is left alone"""
        self.write("socket", b"precious")
        self.refuse([*self.firmware(guests.ENDLESS), "--serial", "unix:socket"], "--serial", "'socket'",
                    "not a socket")
        self.assertEqual(self.read("socket"), b"precious")

    def test_two_machines(self):
        """two at once: on different sockets both work, on the same one the second says so"""
        machines = [self.listening("a"), self.listening("b")]
        clients = [self.connect("a"), self.connect("b")]
        for client, text in zip(clients, (b"this", b"that")):
            self.receive(client, 1)
            self.echo(client, text)
        self.refuse([*self.firmware(guests.ECHO), "--serial", "unix:a"], "cannot listen on 'a'", "another process does")
        self.echo(clients[0], b"undisturbed")
        for client, machine in zip(clients, machines):
            client.sendall(b"q")
            self.assertEqual(self.end(machine).status, 11)
        self.assertEqual(sorted(os.listdir(".")), ["firmware.bin"])


@harness.needs_kvm
class Stats(Case):
    def test_table(self):
        """--stats table: on standard error, the ports that the guest used"""
        result = self.run_guest(guests.debug_exit(4, guests.say(b"x" * 10)), *QUIET, "--stats", "table")
        self.assertEqual((result.status, result.out), (9, ""))
        for part in ("back end", "IO Port Access", "0x402:POUT", "0x501:POUT", "Lock waits"):
            self.assertIn(part, result.err)

    def test_json(self):
        """--stats json:FILE: valid, and it counts what the guest did"""
        result = self.run_guest(guests.debug_exit(4, guests.say(b"x" * 10)), *QUIET, "--stats", "json:report")
        if "jansson" in result.err:
            self.skipTest("built without JSON")
        self.assertEqual((result.status, result.out, result.err), (9, "", ""))
        report = json.loads(self.read("report"))
        self.assertIn("0x402", json.dumps(report))

    def test_stdout_closed(self):
        """--stats table with standard output closed: it needs none"""
        result = self.run_guest(guests.debug_exit(4), *QUIET, "--stats", "table", stdout=None,
                                preexec_fn=lambda: os.close(1))
        self.assertEqual(result.status, 9)
        self.assertIn("IO Port Access", result.err)

    def test_full(self):
        """--stats to a full disk: one line; the guest's verdict stands, success does not"""
        for form in ("table", "json"):
            for guest, status in [(guests.debug_exit(4), 9), (guests.reset(), USAGE)]:
                with self.subTest(form=form, status=status):
                    result = self.run_guest(guest, *QUIET, "--no-reboot", "--stats", f"{form}:/dev/full")
                    if "jansson" in result.err:
                        self.skipTest("built without JSON")
                    self.assertEqual((result.status, len(result.lines)), (status, 1), result.err)
                    self.check_line(result.lines[0], "--stats", "/dev/full", "could not be written")
                    if form == "table":
                        self.assertIn("No space left on device", result.err)

    def test_fifo(self):
        """--stats to a FIFO: all of it, or one line when nobody reads there"""
        os.mkfifo("fifo")
        self.refuse([*self.firmware(guests.ENDLESS), *QUIET, "--stats", "table:fifo"], "--stats fifo", "nobody reads it")
        reader = os.open("fifo", os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        result = self.run_guest(guests.debug_exit(4), *QUIET, "--stats", "table:fifo")
        self.assertEqual((result.status, result.err), (9, ""))
        self.assertIn(b"IO Port Access", os.read(reader, 1 << 16))

    def test_directory(self):
        """--stats into a directory that is not there: refused before the start"""
        self.refuse([*self.firmware(guests.ENDLESS), *QUIET, "--stats", "json:no/report"], "--stats 'no/report'",
                    "its directory does not exist")

    def test_kept(self):
        """a start that fails leaves the last run's statistics alone"""
        self.write("report", b"the last run's")
        self.refuse([*self.firmware(guests.ENDLESS), *QUIET, "--stats", "table:report"], "/dev/kvm",
                    env=harness.without_kvm())
        self.assertEqual(self.read("report"), b"the last run's")


class Tables(Case):
    def test_dump(self):
        """--dump-tables: each table a file with a sound sum, nothing started, no KVM needed"""
        result = self.run_it("run", "--dump-tables", "tables", "--cpus", "3", env=harness.without_kvm())
        self.assertEqual((result.status, result.out, result.err), (0, "", ""))
        names = "apic dsdt facp facs rsdp smbios ssdt waet xsdt".split()
        self.assertEqual(sorted(os.listdir("tables")), [f"{name}.dat" for name in names])
        for name in names:
            data = self.read(f"tables/{name}.dat")
            if name not in ("facs", "rsdp", "smbios"):
                self.assertEqual(data[:4], name.upper().encode())
                self.assertEqual((int.from_bytes(data[4:8], "little"), sum(data) % 256), (len(data), 0), name)
        anchor = self.read("tables/smbios.dat")
        self.assertEqual((anchor[:4], sum(anchor[:31]) % 256, sum(anchor[16:31]) % 256), (b"_SM_", 0, 0))
        self.assertEqual(anchor[24:28], bytes([32, 0, 0, 0]))
        self.assertIn(b"ACPI0007", self.read("tables/ssdt.dat"))

    def test_dump_q35(self):
        """--dump-tables of a q35: MMCONFIG has a table, and the names are the machine's"""
        result = self.run_it("run", "--dump-tables", "tables", "--machine", "q35", env=harness.without_kvm())
        self.assertEqual((result.status, result.out, result.err), (0, "", ""))
        self.assertIn("mcfg.dat", os.listdir("tables"))
        self.assertIn(b"Q35", self.read("tables/dsdt.dat")[16:24])
        self.assertIn(b"q35\0", self.read("tables/smbios.dat"))

    def test_dump_again(self):
        """--dump-tables overwrites what it wrote before, and leaves other files alone"""
        os.mkdir("tables")
        self.write("tables/dsdt.dat", b"old" * 10000)
        self.write("tables/mine", b"mine")
        self.assertEqual(self.run_it("run", "--dump-tables=tables").status, 0)
        self.assertEqual((self.read("tables/dsdt.dat")[:4], self.read("tables/mine")), (b"DSDT", b"mine"))

    def test_dump_refused(self):
        """--dump-tables to where it cannot be: one line with the path"""
        self.write("file", b"")
        self.refuse(["--dump-tables", "file"], "--dump-tables: file", "Not a directory")
        self.refuse(["--dump-tables", "no/such"], "--dump-tables: no/such: No such file or directory")
        os.mkdir("full")
        os.symlink("/dev/full", "full/facs.dat")
        self.refuse(["--dump-tables", "full"], "--dump-tables: full/facs.dat: No space left on device")


@harness.needs_kvm
class Flash(Case):
    FLASH = ["--flash", "vars"]

    def new(self, size=guests.FLASH_BYTES):
        self.write("vars", b"\xff" * size)

    def test_kept(self):
        """flash: what the guest programs stays from run to run, either way of ending"""
        self.new()
        for byte, teardown in ((0xFE, "async"), (0xFC, "sync"), (0xF8, "async")):
            result = self.run_guest(guests.FLASH, *QUIET, *self.FLASH, "--teardown", teardown)
            self.assertEqual((result.status, result.err), ((byte << 1 | 1) & 0xFF, ""))
            self.assertEqual(self.read("vars"), bytes([byte]) + b"\xff" * (guests.FLASH_BYTES - 1))

    def test_killed(self):
        """flash: what the guest has programmed survives kill -9"""
        self.new()
        process = self.start_guest(guests.FLASH_AND_GO_ON, *self.FLASH)
        self.assertEqual(process.stdout.read(1), b"!")
        process.kill()
        self.end(process)
        self.assertEqual(self.read("vars")[0], 0xFE)

    def test_size(self):
        """flash of a wrong size is refused and left alone"""
        for size in (0, 1, 4095, 4097, (16 << 20) + 4096):
            self.new(size)
            with self.subTest(size=size):
                self.refuse([*self.firmware(guests.FLASH), *QUIET, *self.FLASH], "--flash vars", f"{size} bytes",
                            "multiple of 4 KiB, up to 16 MiB")
                self.assertEqual(os.path.getsize("vars"), size)

    def test_room(self):
        """flash and firmware of 16 MiB together have room below 4 GiB; with more they are refused"""
        room = (16 << 20) - guests.SIZE
        self.new(room)
        self.assertEqual(self.run_guest(guests.debug_exit(4), *QUIET, *self.FLASH).status, 9)
        for size in (room + 4096, 16 << 20):
            self.new(size)
            self.refuse([*self.firmware(guests.FLASH), *QUIET, *self.FLASH], "--flash vars", f"{size >> 10} KiB",
                        f"firmware has {guests.SIZE >> 10} KiB", "take a smaller one")

    def on_small_disk(self, room):
        """A run with a flash of nothing but holes, where there is room for so many KiB."""
        script = (f"mount -t tmpfs -o size={room + 4}k none small && head -c 4096 /dev/zero >small/filler && "
                  f'truncate -s {guests.FLASH_BYTES} small/vars && {{ "$0" "$@"; ended=$?; }}; '
                  'du -k small/vars; exit $ended')
        return self.run_guest(guests.FLASH, *QUIET, "--flash", "small/vars",
                              prefix=["unshare", "-m", "sh", "-c", script])

    def test_full(self):
        """flash with holes: they are filled at the start, or it is refused because the disk is full"""
        if not harness.mounts():
            self.skipTest("cannot mount here")
        os.mkdir("small")
        for room in (0, guests.FLASH_BYTES // 1024 - 4):
            result = self.on_small_disk(room)
            self.assertEqual((result.status, len(result.lines)), (USAGE, 1), result.err)
            self.check_line(result.lines[0], "--flash small/vars", "holes", "No space left on device")
        result = self.on_small_disk(guests.FLASH_BYTES // 1024)
        self.assertEqual((result.status, result.err, result.out), (1, "", f"{guests.FLASH_BYTES // 1024}\tsmall/vars\n"))

    def test_sync_fails(self):
        """flash that the disk does not take: one line; the guest's verdict stands, success does not"""
        env = harness.preload(CLI_TEST_SYNC_ERRNO=str(errno.EIO))
        for guest, status in ((guests.FLASH, (0xFE << 1 | 1) & 0xFF), (guests.FLASH_AND_RESET, USAGE)):
            self.new()
            result = self.run_guest(guest, *QUIET, *self.FLASH, "--no-reboot", env=env)
            self.assertEqual((result.status, len(result.lines)), (status, 1), result.err)
            self.check_line(result.lines[0], "--flash vars", "cannot be written", "may be lost")

    @unittest.skipUnless(os.path.exists(OVMF_VARS), f"{OVMF_VARS} is not there")
    def test_size_ovmf(self):
        """flash of another firmware's size is refused for OVMF, and left alone"""
        right = os.path.getsize(OVMF_VARS)
        for size in (right - 4096, right + 4096):
            self.new(size)
            self.refuse(["--firmware", "ovmf", *QUIET, *self.FLASH], "--flash vars", f"{size} bytes",
                        f"variables of this firmware take {right}")
            self.assertEqual(self.read("vars"), b"\xff" * size)

    def test_missing(self):
        """flash that is not there: made for OVMF only; a directory is none"""
        self.refuse([*self.firmware(guests.FLASH), *QUIET, *self.FLASH], "--flash 'vars'", "not there", "--firmware ovmf")
        self.assertFalse(os.path.exists("vars"))
        os.mkdir("vars")
        self.refuse([*self.firmware(guests.FLASH), *QUIET, *self.FLASH], "--flash 'vars'", "directory")

    def test_locked(self):
        """flash that another machine uses is refused, and free when that one has ended"""
        self.new()
        process = self.start_guest(guests.FLASH_AND_GO_ON, *self.FLASH)
        self.assertEqual(process.stdout.read(1), b"!")
        self.refuse([*self.firmware(guests.FLASH), *QUIET, *self.FLASH], "--flash vars", "another virtual machine uses it")
        process.terminate()
        self.assertEqual(self.end(process).status, 143)
        self.assertEqual(self.run_guest(guests.FLASH, *QUIET, *self.FLASH).status, (0xFC << 1 | 1) & 0xFF)


@harness.needs_kvm
class Disk(Case):
    def test_locked(self):
        """a disk that another machine writes is refused, and that one named; many may read it; free after the end"""
        self.write("disk", bytes(1 << 20))
        guest = self.firmware(guests.ECHO)
        process = self.spawn("run", *guest, *EXIT, "--disk", "disk")
        self.assertEqual(process.stdout.read(1), b"!")
        for option in ("disk", "disk,readonly=on"):
            self.refuse([*guest, *QUIET, "--disk", option], "--disk", "disk", f"{process.pid}", "lock")
        self.assertEqual(self.end(process, data=b"q").status, 11)
        readers = [self.spawn("run", *guest, *EXIT, "--disk", "disk,readonly=on") for _ in range(2)]
        for reader in readers:
            self.assertEqual(reader.stdout.read(1), b"!")
        self.refuse([*guest, *QUIET, "--disk", "disk"], "--disk", "disk", "lock")
        for reader in readers:
            self.assertEqual(self.end(reader, data=b"q").status, 11)


@harness.needs_kvm
class Nvram(Case):
    NVRAM = ["--rtc", "nvram=cmos"]

    def test_kept(self):
        """nvram: made, 128 bytes, kept from run to run, either way of ending"""
        for count, teardown in enumerate(("async", "sync", "async"), 1):
            result = self.run_guest(guests.COUNT, *QUIET, *self.NVRAM, "--teardown", teardown)
            self.assertEqual((result.status, result.err), (count << 1 | 1, ""))
            self.assertEqual(len(self.read("cmos")), 128)
            self.assertEqual(self.read("cmos")[0x40], count)

    def test_not_kept(self):
        """without nvram nothing is kept"""
        for _ in range(2):
            self.assertEqual(self.run_guest(guests.COUNT, *QUIET).status, 3)

    def test_size(self):
        """nvram of the wrong size is refused and left alone"""
        for size in (1, 127, 129, 114):
            self.write("cmos", b"x" * size)
            with self.subTest(size=size):
                self.refuse([*self.firmware(guests.COUNT), *QUIET, *self.NVRAM], "nvram=cmos", "128 bytes")
                self.assertEqual(self.read("cmos"), b"x" * size)

    def test_empty(self):
        """nvram that is empty counts as new"""
        self.write("cmos", b"")
        self.assertEqual(self.run_guest(guests.COUNT, *QUIET, *self.NVRAM).status, 3)
        self.assertEqual(len(self.read("cmos")), 128)

    def test_locked(self):
        """nvram that another machine uses is refused, and free when that one has ended"""
        process = self.start_guest(guests.ECHO, *self.NVRAM)
        self.assertEqual(process.stdout.read(1), b"!")
        self.refuse([*self.firmware(guests.COUNT), *QUIET, *self.NVRAM], "nvram=cmos",
                    "another virtual machine uses it")
        self.assertEqual(self.end(process, data=b"q").status, 11)
        self.assertEqual(self.run_guest(guests.COUNT, *QUIET, *self.NVRAM).status, 3)

    def test_full(self):
        """nvram on a full disk: one line, the guest goes on; its verdict stands, success does not"""
        if not harness.mounts():
            self.skipTest("cannot mount here")
        os.mkdir("small")
        script = 'mount -t tmpfs -o size=4k none small && head -c 4096 /dev/zero >small/filler && exec "$0" "$@"'
        for guest, status in ((guests.COUNT, 3), (guests.reset(guests.COUNT_UP), USAGE)):
            result = self.run_guest(guest, *QUIET, "--rtc", "nvram=small/cmos", "--no-reboot",
                                    prefix=["unshare", "-m", "sh", "-c", script])
            self.assertEqual((result.status, len(result.lines)), (status, 1), result.err)
            self.check_line(result.lines[0], "nvram=small/cmos", "cannot be written", "No space left on device", "lost")


if __name__ == "__main__":
    harness.main()
