# SPDX-License-Identifier: BSD-2-Clause
"""
ringd as its supervisor meets it: the socket it is given or takes, the user it becomes, the limits it lives in, and the
units that it is shipped with. Arguments: ringd, ringd.service, ringd.socket, sandbox.c; then names of cases to run only
those.
"""

import fcntl
import functools
import os
import pwd
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

RINGD, SERVICE, SOCKET, SANDBOX = (os.path.abspath(arg) for arg in sys.argv[1:5])
USAGE, FAILED, EUSERS = 2, 4, 87
HELLO = struct.pack("<IIiIIHHQ", 1, 1, 0, 0, 0x31444752, 1, 1, 0)  # docs/protocol.md

needs_root = unittest.skipUnless(os.geteuid() == 0, "needs root")
needs_systemd = unittest.skipUnless(shutil.which("systemd-analyze"), "needs systemd-analyze")


def has_filter():
    return "(libseccomp)" in subprocess.run([RINGD, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout


def connect(path):
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.settimeout(10)
    try:
        client.connect(path)
    except OSError:
        client.close()
        return None
    return client


def hello(client):
    """Type and status of the answer."""
    client.send(HELLO)
    kind, _, status, _ = struct.unpack_from("<IIiI", client.recv(4096))
    return kind, status


class Service(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="ringd-test-")
        self.path = os.path.join(self.folder, "socket")
        self.running = []

    def tearDown(self):
        for daemon in self.running:
            if daemon.poll() is None:
                daemon.kill()
            daemon.communicate()
        shutil.rmtree(self.folder)

    def start(self, *options, **how):
        daemon = subprocess.Popen([RINGD, *options], stderr=subprocess.PIPE, text=True, **how)
        self.running.append(daemon)
        return daemon

    def wait_for(self, daemon):
        for _ in range(2000):
            client = connect(self.path)
            if client:
                return client
            if daemon.poll() is not None:
                break
            time.sleep(0.005)
        raise AssertionError(f"it does not listen: {daemon.stderr.read()}")

    def refused(self, daemon, status, words):
        _, text = daemon.communicate(timeout=20)
        self.assertEqual(daemon.returncode, status, text)
        self.assertEqual(len(text.splitlines()), 1, text)
        self.assertIn(words, text)

    # ---- the socket ----

    def test_stale_socket(self):
        daemon = self.start("--socket", self.path)
        self.wait_for(daemon).close()
        daemon.kill()
        daemon.wait()
        self.assertTrue(os.path.exists(self.path))
        daemon = self.start("--socket", self.path)
        self.assertEqual(hello(self.wait_for(daemon)), (1, 0))
        self.assertEqual(os.listdir(self.folder), ["socket"])
        daemon.terminate()
        self.assertEqual(daemon.communicate(timeout=20)[1], "")
        self.assertEqual(daemon.returncode, 0)

    def test_in_use(self):
        self.wait_for(self.start("--socket", self.path)).close()
        self.refused(self.start("--socket", self.path), FAILED, "another daemon listens there")
        self.assertEqual(hello(connect(self.path)), (1, 0))

    def test_several_at_once(self):
        """Of those that find a stale socket at the same time one gets it, and keeps it."""
        for _ in range(10):
            stale = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            stale.bind(self.path)
            stale.close()
            daemons = [self.start("--socket", self.path) for _ in range(5)]
            ended = []
            for _ in range(2000):
                ended = [daemon for daemon in daemons if daemon.poll() is not None]
                if len(ended) == 4:
                    break
                time.sleep(0.005)
            self.assertEqual(len(ended), 4)
            for daemon in ended:
                self.refused(daemon, FAILED, "another daemon listens there")
            alive = [daemon for daemon in daemons if daemon not in ended][0]
            self.assertEqual(hello(self.wait_for(alive)), (1, 0))
            alive.kill()
            alive.wait()
            os.unlink(self.path)

    def test_locked_directory(self):
        lock = os.open(self.folder, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        self.refused(self.start("--socket", self.path), FAILED, "lock of its directory")
        daemon = self.start("--socket", self.path)
        time.sleep(0.2)
        os.close(lock)
        self.assertEqual(hello(self.wait_for(daemon)), (1, 0))

    # ---- socket activation, sd_listen_fds(3) ----

    def activate(self, kind, count="1", mine=True):
        listener = socket.socket(socket.AF_UNIX, kind)
        listener.bind(self.path)
        listener.listen(5)
        pid = os.fork()
        if pid == 0:
            os.dup2(listener.fileno(), 3)
            os.set_inheritable(3, True)
            os.dup2(os.open(os.path.join(self.folder, "errors"), os.O_WRONLY | os.O_CREAT, 0o600), 2)
            os.environ.update(LISTEN_FDS=count, LISTEN_PID=str(os.getpid() if mine else os.getppid()))
            os.execv(RINGD, [RINGD])
        listener.close()
        return pid

    def end_of(self, pid):
        _, status = os.waitpid(pid, 0)
        with open(os.path.join(self.folder, "errors"), encoding="utf-8") as file:
            return os.waitstatus_to_exitcode(status), file.read()

    def test_activation(self):
        pid = self.activate(socket.SOCK_SEQPACKET)
        client = connect(self.path)
        self.assertEqual(hello(client), (1, 0))
        with open(f"/proc/{pid}/fdinfo/3", encoding="ascii") as file:
            flags = int(re.search(r"flags:\s+(\d+)", file.read())[1], 8)
        self.assertEqual(flags & (os.O_NONBLOCK | os.O_CLOEXEC), os.O_NONBLOCK | os.O_CLOEXEC)
        os.kill(pid, signal.SIGTERM)
        self.assertEqual(self.end_of(pid), (0, ""))
        self.assertTrue(os.path.exists(self.path))  # the supervisor's

    def test_activation_refused(self):
        for kind, options, status, words in (
            (socket.SOCK_STREAM, {}, FAILED, "ListenSequentialPacket="),
            (socket.SOCK_SEQPACKET, {"count": "0"}, USAGE, "--socket is missing"),
            (socket.SOCK_SEQPACKET, {"mine": False}, USAGE, "--socket is missing"),
        ):
            code, text = self.end_of(self.activate(kind, **options))
            self.assertEqual(code, status, text)
            self.assertIn(words, text)
            os.unlink(self.path)
            os.unlink(os.path.join(self.folder, "errors"))

    # ---- what it gives up ----

    def threads(self, daemon):
        for task in os.listdir(f"/proc/{daemon.pid}/task"):
            with open(f"/proc/{daemon.pid}/task/{task}/status", encoding="utf-8") as file:
                yield dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)

    @needs_root
    def test_user(self):
        entry = pwd.getpwnam("nobody")
        groups = sorted(os.getgrouplist("nobody", entry.pw_gid))
        daemon = self.start("--socket", self.path, "--user", "nobody", extra_groups=[0, 1, 2])
        client = self.wait_for(daemon)
        self.assertEqual(hello(client), (1, 0))
        threads = list(self.threads(daemon))
        if has_filter():
            self.assertEqual(len(threads), 66)
        for status in threads:
            self.assertEqual(status["Uid"].split(), [str(entry.pw_uid)] * 4)
            self.assertEqual(status["Gid"].split(), [str(entry.pw_gid)] * 4)
            self.assertEqual(sorted(map(int, status["Groups"].split())), groups)
            for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
                self.assertEqual(int(status[kind], 16), 0, kind)

    def test_sealed(self):
        daemon = self.start("--socket", self.path)
        self.assertEqual(hello(self.wait_for(daemon)), (1, 0))
        for status in list(self.threads(daemon))[: None if has_filter() else 1]:
            self.assertEqual(status["NoNewPrivs"], "1")
            if has_filter():
                self.assertEqual(status["Seccomp"], "2")

    @needs_root
    def test_unknown_user(self):
        self.refused(self.start("--socket", self.path, "--user", "no-such-user"), FAILED, "there is no such user")

    # ---- limits ----

    def test_few_files(self):
        limit = functools.partial(resource.setrlimit, resource.RLIMIT_NOFILE, (1000, 1000))
        daemon = self.start("--socket", self.path, "--max-clients", "64", preexec_fn=limit)
        clients = [self.wait_for(daemon)]
        line = daemon.stderr.readline()
        found = re.search(r"--max-clients 64 needs (\d+) open files, the hard limit is 1000: (\d+) clients", line)
        self.assertTrue(found, line)
        self.assertIn("LimitNOFILE=", line)
        most = int(found[2])
        self.assertTrue(1 <= most < 64)
        while len(clients) < most:
            clients.append(connect(self.path))
        for client in clients:
            self.assertEqual(hello(client), (1, 0))
        late = connect(self.path)
        self.assertEqual(struct.unpack_from("<IIiI", late.recv(4096))[2], -EUSERS)

    def test_too_few_files(self):
        limit = functools.partial(resource.setrlimit, resource.RLIMIT_NOFILE, (100, 100))
        self.refused(self.start("--socket", self.path, preexec_fn=limit), FAILED, "0 clients")

    # ---- the units ----

    @needs_systemd
    def test_units(self):
        for unit in (SERVICE, SOCKET):
            shutil.copy(unit, self.folder)
        service = os.path.join(self.folder, "ringd.service")
        with open(service, encoding="utf-8") as file:
            text = re.sub(r"^ExecStart=\S+", f"ExecStart={RINGD}", file.read(), flags=re.M)
        with open(service, "w", encoding="utf-8") as file:
            file.write(text)
        checked = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", os.path.join(self.folder, "ringd.socket"), service],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        self.assertEqual((checked.returncode, checked.stdout), (0, ""))
        checked = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--threshold=15", service],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        self.assertEqual(checked.returncode, 0, checked.stdout)  # an exposure of 1.5 of 10 at most

    def calls_of(self, name):
        if not name.startswith("@"):
            return {name}
        calls = set()
        listed = subprocess.run(["systemd-analyze", "syscall-filter", name], stdout=subprocess.PIPE, text=True, check=True)
        for line in listed.stdout.splitlines()[1:]:
            word = line.strip()
            if word and not word.startswith("#"):
                calls |= self.calls_of(word)
        return calls

    def calls_of_unit(self):
        allowed = set()
        with open(SERVICE, encoding="utf-8") as file:
            for words in re.findall(r"^SystemCallFilter=(.*)$", file.read(), flags=re.M):
                calls = set().union(*(self.calls_of(word) for word in words.lstrip("~").split()))
                allowed = allowed - calls if words.startswith("~") else allowed | calls
        return allowed

    @needs_systemd
    def test_unit_allows_the_filter(self):
        with open(SANDBOX, encoding="utf-8") as file:
            own = set(re.findall(r"SCMP_SYS\((\w+)\)", file.read()))
        self.assertGreater(len(own), 30)
        self.assertEqual(own - self.calls_of_unit(), set())

    @needs_systemd
    @unittest.skipUnless(shutil.which("strace"), "needs strace")
    def test_unit_allows_the_start(self):
        """What it calls before it has its filter: all of that, from the first instruction on."""
        if not has_filter():
            self.skipTest("needs a build with the filter")
        trace = os.path.join(self.folder, "trace")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(self.path)
        listener.listen(5)
        script = 'exec 3<&"$1"; LISTEN_FDS=1 LISTEN_PID=$$ exec "$2"'
        os.set_inheritable(listener.fileno(), True)
        tracer = subprocess.Popen(["strace", "-f", "-o", trace, "sh", "-c", script, "sh", str(listener.fileno()), RINGD],
                                  close_fds=False)
        self.running.append(tracer)
        listener.close()
        client = connect(self.path)
        self.assertEqual(hello(client), (1, 0))
        with open(trace, encoding="utf-8") as file:
            lines = file.read().splitlines()
        os.kill(int(lines[0].split()[0]), signal.SIGKILL)
        tracer.wait(timeout=20)
        begin = max(i for i, line in enumerate(lines) if f'execve("{RINGD}"' in line)
        calls = set(re.findall(r"^\d+ +(\w+)\(", "\n".join(lines[begin:]), flags=re.M))
        self.assertIn("seccomp", calls)
        self.assertEqual(calls - self.calls_of_unit(), set())


if __name__ == "__main__":
    names = [f"Service.{name}" for name in sys.argv[5:]]
    unittest.main(argv=[sys.argv[0], "-v", *names], warnings="ignore")
