# SPDX-License-Identifier: BSD-2-Clause
"""How a run ends: exit status, signals, the terminal, and what is left behind."""

import contextlib
import fcntl
import json
import os
import pty
import random
import resource
import signal
import socket
import subprocess
import termios
import time

import guests
import harness
from harness import FAILED, QUIET, Case

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
TEARDOWNS = ("async", "sync")


@harness.needs_kvm
class Status(Case):
    def test_debug_exit(self):
        """debug exit: (value << 1) | 1, its low 8 bits, under either teardown"""
        for teardown in TEARDOWNS:
            for value in (0, 1, 42, 127, 128, 255):
                result = self.run_guest(guests.debug_exit(value), *QUIET, "--teardown", teardown)
                self.assertEqual((result.status, result.out, result.err), ((value << 1 | 1) & 255, "", ""))

    def test_low_memory(self):
        """RAM below 4 GiB leaves room for windows, on q35 for configuration space too"""
        for machine, size, end in (("i440fx", "2G", 0x80), ("i440fx", "4G", 0xC0), ("q35", "1G", 0x40),
                                   ("q35", "3G", 0x80)):
            with self.subTest(machine=machine, size=size):
                result = self.run_guest(guests.LOW_RAM, *QUIET, "--machine", machine, "--memory", size)
                if "ask for less" in result.err:
                    self.skipTest("this host has less than " + size)
                self.assertEqual((result.status, result.err), (((end - 1) << 1 | 1) & 255, ""))

    def test_no_reboot(self):
        """a reset under --no-reboot: 0"""
        for teardown in TEARDOWNS:
            result = self.run_guest(guests.reset(), *QUIET, "--no-reboot", "--teardown", teardown)
            self.assertEqual((result.status, result.out, result.err), (0, "", ""))

    def test_reboot(self):
        """a reset without it starts the guest again, and again"""
        process = self.start_guest(guests.reset(guests.say(b".")), *QUIET, "--debugcon", "stdio")
        self.assertEqual(process.stdout.read(5), b".....")
        process.terminate()
        self.assertEqual(self.end(process).status, 143)

    def test_failed(self):
        """a guest that KVM cannot go on with: 4, and one line that says where"""
        for teardown in TEARDOWNS:
            result = self.run_guest(guests.NOWHERE, *QUIET, "--no-reboot", "--teardown", teardown)
            self.assertEqual((result.status, len(result.lines)), (FAILED, 1), result.err)
            self.check_line(result.lines[0], "vCPU 0", "cs:rip a000:")

    def test_pipe(self):
        """a pipe ends with the run, not with what the kernel takes down later"""
        for teardown in TEARDOWNS:
            script = '"$0" "$@" | cat; echo after'
            with self.subTest(teardown=teardown):
                begin = time.monotonic()
                process = self.start_guest(guests.debug_exit(1, guests.say(b"text ")), *QUIET, "--debugcon", "stdio",
                                           "--memory", "512M", "--teardown", teardown, prefix=["sh", "-c", script],
                                           stdin=subprocess.DEVNULL)
                result = self.end(process)
                self.assertEqual((result.out, result.err), ("text after\n", ""))
                self.assertLess(time.monotonic() - begin, 1)

    def test_closed(self):
        """when the process has ended, nobody holds its standard output or nvram file any more"""
        for teardown in TEARDOWNS * 10:
            process = self.start_guest(guests.debug_exit(1), *QUIET, "--rtc", "nvram=cmos", "--memory", "512M",
                                       "--teardown", teardown)
            os.set_blocking(process.stdout.fileno(), False)
            self.assertEqual(process.wait(5), 3)
            self.assertEqual(process.stdout.read(), b"", "the pipe is still open")  # None: no end of file yet
            with open("cmos", "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def test_many(self):
        """twenty runs in a row leave nothing, however they are torn down"""
        for teardown in TEARDOWNS:
            for _ in range(10):
                self.assertEqual(self.run_guest(guests.debug_exit(3), *QUIET, "--teardown", teardown).status, 7)
            self.assertFalse(self.orphans())


@harness.needs_kvm
class Signals(Case):
    def test_running(self):
        """SIGINT and SIGTERM: 130 and 143, whatever the guest does; output is written out, statistics are printed"""
        for guest in (guests.ENDLESS, guests.HALTED, guests.FLOOD, guests.reset()):
            for number, status in SIGNALS:
                for teardown in TEARDOWNS:
                    with self.subTest(status=status, teardown=teardown):
                        process = self.start_guest(guest, *QUIET, "--cpus", "2", "--debugcon", "file:log", "--stats",
                                                   "table", "--teardown", teardown)
                        self.wait_for("vCPU", lambda: "vcpu1" in self.threads(process))
                        time.sleep(0.003)
                        process.send_signal(number)
                        result = self.end(process, timeout=3)
                        self.assertEqual(result.status, status, result.err)
                        self.assertIn("IO Port Access", result.err)
                        if guest == guests.FLOOD:
                            self.assertEqual(set(self.read("log")), {ord(".")})

    def test_start(self):
        """SIGINT and SIGTERM at any time of the start: 130 or 143, nothing left, no hang"""
        seed = random.randrange(1 << 32)
        chance = random.Random(seed)
        for turn in range(50):
            number, status = SIGNALS[turn % 2]
            process = self.start_guest(guests.ENDLESS, "--serial", "unix:socket", "--teardown",
                                       TEARDOWNS[turn // 2 % 2])
            time.sleep(chance.uniform(0, 0.03))
            process.send_signal(number)
            result = self.end(process, timeout=3)
            with self.subTest(turn=turn, seed=seed):
                # Before it has a handler the signal itself ends it, which a shell reports as the same number.
                self.assertIn(result.status, (status, -number), result.err)
                self.assertEqual((result.out, result.err), ("", ""))
                self.assertFalse(os.path.exists("socket"))
                self.assertFalse(self.orphans())

    def test_twice(self):
        """a second Ctrl-C changes nothing"""
        for delay in (0, 0.0005, 0.002, 0.005, 0.01, 0.02):
            process = self.start_guest(guests.FLOOD, *QUIET, "--debugcon", "file:log", "--cpus", "2")
            self.wait_for("vCPU", lambda: "vcpu1" in self.threads(process))
            time.sleep(0.003)
            process.send_signal(signal.SIGINT)
            time.sleep(delay)
            process.send_signal(signal.SIGINT)
            result = self.end(process, timeout=3)
            self.assertEqual((result.status, result.err), (130, ""))

    def start_listener(self, machine, then, **how):
        process = self.start_guest(guests.button(machine, then, **how), *QUIET, "--debugcon", "stdio", "--machine",
                                   machine)
        self.assertEqual(process.stdout.read(1), b"!")
        return process

    def test_power_button(self):
        """SIGTERM asks a guest that listens to power off, which is a success"""
        for machine, off in guests.POWER_OFF.items():
            with self.subTest(machine=machine):
                process = self.start_listener(machine, off)
                process.send_signal(signal.SIGTERM)
                result = self.end(process, timeout=3)
                self.assertEqual((result.status, result.out, result.err), (0, "b", ""))

    def test_power_button_ignored(self):
        """a guest that was asked and goes on: the second SIGTERM ends it, and SIGINT does without asking"""
        for machine in guests.POWER_OFF:
            for number, status in SIGNALS:
                with self.subTest(machine=machine, status=status):
                    process = self.start_listener(machine, b"")
                    process.send_signal(signal.SIGTERM)
                    self.assertEqual(process.stdout.read(1), b"b")
                    time.sleep(0.1)
                    self.assertIsNone(process.poll())
                    process.send_signal(number)
                    self.assertEqual(self.end(process, timeout=3).status, status)

    def test_power_button_after_reboot(self):
        """a guest that was asked and starts again instead is asked again"""
        for machine in guests.POWER_OFF:
            with self.subTest(machine=machine):
                process = self.start_listener(machine, guests.out(0xCF9, 0x02) + guests.out(0xCF9, 0x06))
                for _ in range(3):
                    process.send_signal(signal.SIGTERM)
                    self.assertEqual(process.stdout.read(2), b"b!")
                process.send_signal(signal.SIGINT)
                self.assertEqual(self.end(process, timeout=3).status, 130)

    def test_power_button_unheard(self):
        """a guest that has not enabled the button's event, or not ACPI, is not asked"""
        for machine in guests.POWER_OFF:
            for how in ({"acpi": False}, {"enable": 0x0421}):
                with self.subTest(machine=machine, how=how):
                    process = self.start_listener(machine, guests.LOOP, **how)
                    process.send_signal(signal.SIGTERM)
                    self.assertEqual(self.end(process, timeout=3).status, 143)

    def test_stop_continue(self):
        """SIGSTOP and SIGCONT: the guest goes on where it was"""
        process = self.start_guest(guests.ECHO)
        self.assertEqual(process.stdout.read(1), b"!")
        for _ in range(5):
            process.send_signal(signal.SIGSTOP)
            process.stdin.write(b"hello")
            process.stdin.flush()
            time.sleep(0.02)
            process.send_signal(signal.SIGCONT)
            self.assertEqual(process.stdout.read(5), b"hello")
        self.assertEqual(self.end(process, data=b"q").status, 11)

    def test_hangup(self):
        """SIGHUP: 129"""
        process = self.start_guest(guests.ENDLESS, *QUIET)
        self.wait_for("vCPU", lambda: "vcpu0" in self.threads(process))
        process.send_signal(signal.SIGHUP)
        self.assertEqual(self.end(process).status, 129)

    def test_ignored(self):
        """signals that were ignored at the start, as under nohup, stay so"""
        def ignore():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

        process = self.start_guest(guests.ECHO, preexec_fn=ignore)
        self.assertEqual(process.stdout.read(1), b"!")
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGHUP)
        process.stdin.write(b"still there")
        process.stdin.flush()
        self.assertEqual(process.stdout.read(11), b"still there")
        process.terminate()
        self.assertEqual(self.end(process).status, 143)


@harness.needs_kvm
class Socket(Case):
    def client(self):
        self.wait_for("the socket", lambda: os.path.exists("socket"))
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.settimeout(5)
        client.connect("socket")
        return client

    def sockets(self, process):
        folder = f"/proc/{process.pid}/fd"
        return {link for link in (os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)) if "socket:" in link}

    def test_next_client(self):
        """a client of a console that leaves before the guest has taken its input makes way for the next"""
        process = self.start_guest(guests.image(guests.say(b"!", 0x3F8), guests.HALT), "--serial", "unix:socket")
        first = self.client()
        self.assertEqual(first.recv(1), b"!")
        occupied = self.sockets(process)
        self.assertEqual(len(occupied), 2, "the listening one and the client's")
        first.sendall(b"x" * 20)
        time.sleep(0.05)
        first.close()
        self.client()
        self.wait_for("the next client", lambda: self.sockets(process) - occupied)
        process.terminate()
        self.assertEqual(self.end(process).status, 143)


@harness.needs_kvm
class Pty(Case):
    def start(self, guest, *args):
        """A run with --serial pty, and the terminal's name."""
        process = self.start_guest(guest, "--serial", "pty", *args)
        line = process.stderr.readline().decode()
        self.check_line(line, "serial is at /dev/pts/")
        return process, line.split()[-1]

    def connect(self, name):
        fd = os.open(name, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        self.addCleanup(os.close, fd)
        return fd

    def wait_read(self, fd, text):
        got = bytearray()

        def arrived():
            with contextlib.suppress(BlockingIOError):
                got.extend(os.read(fd, 4096))
            return len(got) >= len(text)

        self.wait_for(repr(text), arrived)
        self.assertEqual(bytes(got), text)

    def test_round_trip(self):
        """a pty: what was said before somebody came, each byte as it is, and the next who opens it goes on"""
        process, name = self.start(guests.ECHO)
        for first in (b"!", b""):
            fd = os.open(name, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
            self.wait_read(fd, first)
            os.write(fd, b"a\r\n\x03\x04\x01x\xff")
            self.wait_read(fd, b"a\r\n\x03\x04\x01x\xff")
            os.close(fd)
            time.sleep(0.05)
            self.assertIsNone(process.poll())
        os.write(self.connect(name), b"q")
        self.assertEqual(self.end(process).status, 11)

    def test_all_consoles(self):
        """each console can have a pty of its own"""
        process = self.start_guest(guests.image(guests.say(b"d"), guests.say(b"s", 0x3F8), guests.LOOP), "--serial",
                                   "pty", "--debugcon", "pty", "--virtio-console", "pty")
        names = {}
        for _ in range(3):
            _, console, *_, name = process.stderr.readline().decode().split()
            names[console] = name
        self.assertEqual(set(names), {"serial", "debugcon", "virtio-console"})
        self.wait_read(self.connect(names["serial"]), b"s")
        self.wait_read(self.connect(names["debugcon"]), b"d")
        process.terminate()
        self.assertEqual(self.end(process).status, 143)

    def test_reader_stops(self):
        """nobody reads a pty: the guest goes on, what has no room is dropped and counted"""
        count = 3 << 20
        process, _ = self.start(guests.flood_and_exit(count), "--stats", "json:stats")
        self.assertEqual(self.end(process, timeout=120).status, 11)
        with open("stats", encoding="ascii") as file:
            serial = json.load(file)["consoles"][0]
        self.assertEqual(serial["name"], "serial")
        self.assertGreater(serial["dropped"], 1 << 20)
        self.assertLess(serial["written"] + serial["dropped"], count)  # the rest was kept when the figures were taken
        self.assertGreaterEqual(serial["written"] + serial["dropped"], count - (1 << 20))


@harness.needs_kvm
class Terminal(Case):
    """On a terminal of its own, the controlling one."""

    def setUp(self):
        super().setUp()
        self.master, self.slave = pty.openpty()
        self.addCleanup(os.close, self.master)
        self.addCleanup(os.close, self.slave)
        self.before = termios.tcgetattr(self.slave)
        os.set_blocking(self.master, False)
        self.said = b""

    def own_terminal(self):
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))  # 0 would still feed a program in core_pattern
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def on_terminal(self, guest, *args, **how):
        return self.start_guest(guest, *args, stdin=self.slave, stdout=self.slave, stderr=self.slave,
                                preexec_fn=self.own_terminal, **how)

    def listen(self):
        with contextlib.suppress(BlockingIOError, OSError):
            self.said += os.read(self.master, 4096)
        return self.said

    def type(self, keys):
        """Keys, however slowly they are read."""
        while keys:
            with contextlib.suppress(BlockingIOError):
                keys = keys[os.write(self.master, keys):]
            self.listen()
            time.sleep(0.001)

    def wait_said(self, text):
        self.wait_for(repr(text), lambda: text in self.listen())

    def raw(self):
        return not termios.tcgetattr(self.slave)[3] & (termios.ICANON | termios.ECHO)

    def check_end(self, process, status):
        self.wait_for("the end", lambda: (self.listen(), process.poll())[1] is not None)
        self.assertEqual(process.returncode, status, self.listen())
        self.assertEqual(termios.tcgetattr(self.slave), self.before)

    def started(self, guest=guests.ECHO, *args, **how):
        process = self.on_terminal(guest, *args, **how)
        self.wait_said(b"!")
        self.assertTrue(self.raw(), "the guest does not own the terminal")
        return process

    def test_keys(self):
        """keys reach the guest one by one, unechoed; a debug exit restores the terminal"""
        for teardown in TEARDOWNS:
            process = self.started(guests.ECHO, "--teardown", teardown)
            os.write(self.master, b"a")
            self.wait_said(b"!a")
            os.write(self.master, b"\r\x04\x1b")  # Return as it is, Ctrl-D, Escape
            self.wait_said(b"!a\r\x04\x1b")
            os.write(self.master, b"q")
            self.check_end(process, 11)
            self.assertEqual(self.said, b"!a\r\x04\x1b")
            self.said = b""

    def test_keys_of_signals(self):
        """Ctrl-C, Ctrl-\\ and Ctrl-Z reach the guest"""
        process = self.started()
        os.write(self.master, b"\x03\x1c\x1a.")
        self.wait_said(b"!\x03\x1c\x1a.")
        os.write(self.master, b"q")
        self.check_end(process, 11)

    def test_escape_quit(self):
        """Ctrl-A x: 0, the terminal is restored, whatever the guest does and however much has been typed"""
        for teardown in TEARDOWNS:
            for guest in (guests.ECHO, guests.image(guests.say(b"!", 0x3F8), guests.HALT),
                          guests.image(guests.say(b"!", 0x3F8), guests.LOOP)):
                process = self.started(guest, "--teardown", teardown, "--stats", "json:stats")
                self.type(b"y" * (1000 if guest == guests.ECHO else 5000))  # 4096 are kept
                self.type(b"\x01")
                os.write(self.master, b"x")
                self.check_end(process, 0)
                with open("stats", encoding="ascii") as file:
                    serial = json.load(file)["consoles"][0]
                self.assertEqual((serial["name"], serial["keys_dropped"] > 0), ("serial", guest != guests.ECHO))
                self.said = b""

    def test_escape_keys(self):
        """Ctrl-A Ctrl-A is Ctrl-A for the guest, Ctrl-A h the help, any other letter nothing; x alone is a letter"""
        process = self.started()
        os.write(self.master, b"x\x01\x01x\x01cy")
        self.wait_said(b"!x\x01xy")
        os.write(self.master, b"\x01h")
        self.wait_said(b"Ctrl-A x       ends ringvmm\r\n")
        os.write(self.master, b"q")
        self.check_end(process, 11)

    def test_break(self):
        """Ctrl-A b: the guest sees a break in the line status"""
        process = self.started(guests.WAIT_FOR_BREAK)
        os.write(self.master, b"\x01b")
        self.check_end(process, 11)

    def test_pause(self):
        """Ctrl-A p: the guest stands still, its keys wait for it, and it goes on"""
        process = self.started()
        os.write(self.master, b"\x01p")
        self.wait_said(b"ringvmm: the machine is paused; Ctrl-A p lets it go on\r\n")
        os.write(self.master, b"abc\x01h")
        self.wait_said(b"Ctrl-A p       pauses the machine, or lets it go on\r\n")
        time.sleep(0.1)
        self.assertNotIn(b"abc", self.listen())
        os.write(self.master, b"\x01p")
        self.wait_said(b"ringvmm: the machine goes on\r\n")
        self.wait_said(b"abc")
        os.write(self.master, b"q")
        self.check_end(process, 11)

    def test_reset_key(self):
        """Ctrl-A r: the guest begins anew; under --no-reboot it is the end, paused or not"""
        process = self.started()
        os.write(self.master, b"a")
        self.wait_said(b"!a")
        os.write(self.master, b"\x01r")
        self.wait_said(b"ringvmm: the machine is reset\r\n")
        self.wait_for("a second start", lambda: self.listen().count(b"!") == 2)
        os.write(self.master, b"q")
        self.check_end(process, 11)
        for keys in (b"\x01r", b"\x01p\x01r"):
            self.said = b""
            process = self.started(guests.ECHO, "--no-reboot")
            os.write(self.master, keys)
            self.check_end(process, 0)

    def test_power_button_key(self):
        """Ctrl-A o: a guest that listens powers off, when it goes on if it is paused; another one runs on"""
        for machine in ("i440fx", "q35"):
            for keys, said in ((b"\x01o", b"the power button is pressed\r\n"),
                               (b"\x01p\x01o\x01p", b"is pressed; the guest learns of it when the machine goes on\r\n")):
                self.said = b""
                process = self.started(guests.button(machine, guests.POWER_OFF[machine]), "--machine", machine,
                                       "--debugcon", "stdio")
                os.write(self.master, keys)
                self.check_end(process, 0)
                self.assertIn(said, self.said)
                self.assertIn(b"b", self.said)
        self.said = b""
        process = self.started()
        os.write(self.master, b"\x01o")
        self.wait_said(b"ringvmm: the guest does not listen to the power button\r\n")
        os.write(self.master, b"aq")
        self.check_end(process, 11)
        self.assertIn(b"a", self.said)

    def test_terminate_while_paused(self):
        """SIGTERM while paused: a guest that listens to the power button goes on to power off; a second one ends it"""
        for then, signals, status in ((guests.POWER_OFF["q35"], 1, 0), (guests.LOOP, 2, 143)):
            self.said = b""
            process = self.started(guests.button("q35", then), "--machine", "q35", "--debugcon", "stdio")
            os.write(self.master, b"\x01p")
            self.wait_said(b"the machine is paused")
            process.terminate()
            self.wait_said(b"the machine goes on")
            if signals == 2:
                self.wait_said(b"b")
                process.terminate()
            self.check_end(process, status)

    def test_virtio_console_keys(self):
        """the virtio console's terminal has the same keys but for the break"""
        process = self.on_terminal(guests.ENDLESS, *QUIET, "--virtio-console", "stdio")
        self.wait_for("raw terminal", self.raw)
        os.write(self.master, b"\x01b\x01h")
        self.wait_said(b"Ctrl-A x       ends ringvmm\r\n")
        self.assertNotIn(b"Ctrl-A b", self.said)
        os.write(self.master, b"\x01x")
        self.check_end(process, 0)

    def test_keys_without_console(self):
        """a terminal that no console reads is left alone: Ctrl-C typed ends the run"""
        process = self.on_terminal(guests.image(guests.say(b"!"), guests.LOOP), *QUIET, "--debugcon", "stdio")
        self.wait_said(b"!")
        self.assertEqual(termios.tcgetattr(self.slave), self.before)
        os.write(self.master, b"\x03")
        self.check_end(process, 130)

    def test_terminate(self):
        """SIGTERM and SIGHUP restore the terminal"""
        for number, status in [(signal.SIGTERM, 143), (signal.SIGHUP, 129)]:
            process = self.started()
            process.send_signal(number)
            self.check_end(process, status)
            self.said = b""

    def test_quit(self):
        """signals of faults and their like: the process dies of them, and the terminal is restored"""
        # A sanitizer would turn a fault into a report of its own.
        env = dict(os.environ, ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "") + ":handle_segv=0:handle_sigbus=0")
        for number in (signal.SIGQUIT, signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGALRM, signal.SIGUSR2):
            self.said = b""
            process = self.started(env=env)
            process.send_signal(number)
            self.check_end(process, -number)

    def test_fault_on_thread(self):
        """a fault on a vCPU's thread, as when the flash file is truncated: the process dies of it, the terminal is restored"""
        env = dict(os.environ, ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "") + ":handle_sigbus=0")
        self.write("vars", b"\xff" * guests.FLASH_BYTES)
        process = self.started(guests.FLASH_AT_KEY, "--flash", "vars", env=env)
        os.truncate("vars", 0)
        os.write(self.master, b"x")
        self.check_end(process, -signal.SIGBUS)

    def full_pipe(self):
        """The end to write to of a pipe that has no room."""
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        os.set_blocking(writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, b"x" * 4096)
        os.set_blocking(writer, True)
        return writer

    def test_blocked_report(self):
        """statistics that nobody reads: the terminal is restored before, and SIGTERM and SIGHUP end the process"""
        for number in (signal.SIGTERM, signal.SIGHUP):
            self.said = b""
            process = self.start_guest(guests.ECHO, "--stats", "table", stdin=self.slave, stdout=self.slave,
                                       stderr=self.full_pipe(), preexec_fn=self.own_terminal)
            self.wait_said(b"!")
            self.assertTrue(self.raw())
            os.write(self.master, b"q")
            self.wait_for("a terminal as before", lambda: termios.tcgetattr(self.slave) == self.before)
            self.assertIsNone(process.poll())
            os.write(self.master, b"\x03")  # a Ctrl-C changes nothing
            time.sleep(0.1)
            self.assertIsNone(process.poll())
            process.send_signal(number)
            self.check_end(process, -number)

    def test_normal(self):
        """a reset under --no-reboot restores the terminal"""
        self.check_end(self.on_terminal(guests.reset(guests.say(b"!", 0x3F8)), "--no-reboot"), 0)
        self.assertEqual(self.said, b"!")

    def test_failure(self):
        """a machine that fails restores the terminal"""
        self.check_end(self.on_terminal(guests.NOWHERE, "--no-reboot"), FAILED)
        self.assertIn(b"ringvmm: vCPU 0", self.said)

    def test_refused(self):
        """a start that fails after the terminal was taken restores it"""
        self.write("socket", b"a file in the way")
        self.check_end(self.on_terminal(guests.ECHO, "--debugcon", "unix:socket"), harness.USAGE)
        self.assertIn(b"not a socket", self.listen())
        absent = os.sysconf("SC_NPROCESSORS_CONF") + 500
        self.check_end(self.on_terminal(guests.ECHO, "--vcpu-affinity", str(absent)), harness.USAGE)

    def test_start(self):
        """Ctrl-C typed at any time of the start: 130 and the terminal is restored, or it is a key"""
        chance = random.Random(7)
        for _ in range(20):
            process = self.on_terminal(guests.ECHO)
            time.sleep(chance.uniform(0, 0.03))
            os.write(self.master, b"\x03")
            self.wait_for("the end or a key", lambda: process.poll() is not None or b"\x03" in self.listen())
            if process.poll() is None:
                os.write(self.master, b"\x01x")
            self.wait_for("the end", lambda: (self.listen(), process.poll())[1] is not None)
            self.assertIn(process.returncode, (0, 130, -signal.SIGINT), self.said)
            self.said = b""
            self.assertEqual(termios.tcgetattr(self.slave), self.before)

    def test_stop(self):
        """Ctrl-Z and fg: the terminal is the guest's again"""
        process = self.started()
        process.send_signal(signal.SIGSTOP)
        termios.tcsetattr(self.slave, termios.TCSANOW, self.before)  # as a shell does
        process.send_signal(signal.SIGCONT)
        self.wait_for("raw terminal", self.raw)
        os.write(self.master, b"x")
        self.wait_said(b"!x")
        os.write(self.master, b"q")
        self.check_end(process, 11)


if __name__ == "__main__":
    harness.main()
