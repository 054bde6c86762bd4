# SPDX-License-Identifier: BSD-2-Clause
"""
What the tests of the program share. A test's arguments are the paths of ringvmm and of the refuse_kvm module, and parts
of cases' names to run only those. One line a case comes out; the exit status is 0, 1, or 77 when all were skipped.

Orphans are handed to this process, so that whatever a run leaves behind is seen, and is an error unless it ends within
a second.
"""

import ctypes
import errno
import functools
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import unittest

RINGVMM = os.path.abspath(sys.argv[1])
REFUSE_KVM = os.path.abspath(sys.argv[2])
EXIT = ["--debug-exit", "0x501"]
QUIET = ["--serial", "null"]
USAGE, FAILED = 2, 4
SKIPPED = 77

PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER, CAP_SYS_NICE = 24, 36, 23  # linux/prctl.h, linux/capability.h
KVM_CAP_COALESCED_PIO = 162  # linux/kvm.h
WALL = 0x40000000  # __WALL of wait(2): children with any end signal

libc = ctypes.CDLL(None, use_errno=True)


def kvm_missing():
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"/dev/kvm: {error.strerror}"
    return None


needs_kvm = unittest.skipIf(kvm_missing(), kvm_missing())
needs_root = unittest.skipUnless(os.geteuid() == 0, "needs root")


def can_mount():
    command = "mount -t tmpfs none /mnt"
    return subprocess.run(["unshare", "-m", "sh", "-c", command], capture_output=True, check=False).returncode == 0


@functools.lru_cache(maxsize=None)
def mounts():
    return os.geteuid() == 0 and shutil.which("unshare") is not None and can_mount()


def drop_nice():
    """In the child: no right to a real-time priority, root or not."""
    libc.prctl(PR_CAPBSET_DROP, CAP_SYS_NICE, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))


def preload(**variables):
    """An environment in which refuse_kvm is loaded. A sanitizer wants to be first and would refuse it."""
    env = dict(os.environ, LD_PRELOAD=REFUSE_KVM, **variables)
    env["ASAN_OPTIONS"] = env.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
    return env


def without_kvm(error=errno.ENOENT):
    return preload(CLI_TEST_OPEN_ERRNO=str(error))


def without_pio():
    return preload(CLI_TEST_NO_CAPABILITY=str(KVM_CAP_COALESCED_PIO))


class Result:
    """How a run ended, and what it said."""

    def __init__(self, process, out, err):
        self.status = process.returncode
        self.out = out.decode(errors="replace") if out is not None else None
        self.err = err.decode(errors="replace") if err is not None else None

    @property
    def lines(self):
        return self.err.splitlines()


class Case(unittest.TestCase):
    """A case has a directory of its own, which is current."""

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="cli")
        os.chmod(self.directory, 0o755)
        os.chdir(self.directory)
        self.processes = []

    def tearDown(self):
        stuck = [process for process in self.processes if process.poll() is None]
        for process in stuck:
            process.kill()
        for process in self.processes:
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    stream.close()
        left = self.orphans()
        os.chdir("/")
        shutil.rmtree(self.directory)
        self.assertFalse(stuck, "still running at the end of the case")
        self.assertFalse(left, "left a process behind")

    def orphans(self):
        """Waits a second for every process that a run has left. Returns whether one is still there then."""
        end = time.monotonic() + 1
        while time.monotonic() < end:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG | WALL)
            except ChildProcessError:
                return False
            if pid == 0:
                time.sleep(0.002)
        return True

    def write(self, name, data):
        with open(name, "wb") as file:
            file.write(data)
        return name

    def read(self, name):
        with open(name, "rb") as file:
            return file.read()

    def firmware(self, guest):
        return ["--firmware", self.write("firmware.bin", guest)]

    def spawn(self, *args, **how):
        """Starts ringvmm; streams are pipes unless told otherwise."""
        for stream in ("stdin", "stdout", "stderr"):
            how.setdefault(stream, subprocess.PIPE)
        process = subprocess.Popen([*how.pop("prefix", []), how.pop("program", RINGVMM), *args], **how)
        self.processes.append(process)
        return process

    def end(self, process, timeout=10, data=None):
        """Waits for the end and returns what came out."""
        try:
            out, err = process.communicate(data, timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            self.fail(f"no end within {timeout} s; it said {out!r} {err!r}")
        return Result(process, out, err)

    def run_it(self, *args, **how):
        how.setdefault("stdin", subprocess.DEVNULL)
        return self.end(self.spawn(*args, **how))

    def run_guest(self, guest, *args, **how):
        return self.run_it("run", *self.firmware(guest), *EXIT, *args, **how)

    def start_guest(self, guest, *args, **how):
        return self.spawn("run", *self.firmware(guest), *EXIT, *args, **how)

    def wait_for(self, what, condition, timeout=5):
        end = time.monotonic() + timeout
        while not condition():
            self.assertLess(time.monotonic(), end, f"{what}: not within {timeout} s")
            time.sleep(0.001)

    def check_line(self, line, *parts):
        self.assertTrue(line.startswith("ringvmm: "), line)
        for part in parts:
            self.assertIn(part, line)

    def check_refused(self, result, *parts):
        """One line with all its parts, status 2, nothing else said."""
        self.assertEqual(result.status, USAGE, result.err)
        self.assertEqual(len(result.lines), 1, result.err)
        self.check_line(result.lines[0], *parts)
        self.assertFalse(result.out)

    def refuse(self, args, *parts, **how):
        """A run that is refused, and leaves the directory as it was."""
        before = sorted(os.listdir("."))
        self.check_refused(self.run_it("run", *args, **how), *parts)
        self.assertEqual(sorted(os.listdir(".")), before, "left a file behind")

    def threads(self, process):
        """name -> task directory"""
        found = {}
        tasks = f"/proc/{process.pid}/task"
        for task in os.listdir(tasks):
            with open(f"{tasks}/{task}/comm", encoding="ascii") as file:
                found[file.read().strip()] = f"{tasks}/{task}"
        return found


class Lines(unittest.TestResult):
    """One line a case."""

    def __init__(self):
        super().__init__()
        self.skips = 0

    @staticmethod
    def report(word, test, text=""):
        title = test.shortDescription() or str(test)
        print(f"{word:5}{title}{': ' if text else ''}{text}", flush=True)

    def addSuccess(self, test):
        self.report("ok", test)

    def addSkip(self, test, reason):
        self.skips += 1
        self.report("skip", test, reason)

    def fail(self, test, err):
        """What went wrong and in which line of the test, without the trace."""
        frames = [frame for frame in traceback.extract_tb(err[2]) if "/test_" in frame.filename]
        where = f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""
        kind = "" if issubclass(err[0], AssertionError) else err[0].__name__ + ": "
        self.report("FAIL", test, (kind + str(err[1])).replace("\n", " | ") + where)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.fail(test, err)

    def addError(self, test, err):
        super().addError(test, err)
        self.fail(test, err)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err:
            self.fail(subtest, err)


def main():
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # one that was ignored would be so in ringvmm too
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    wanted = sys.argv[3:]
    loader = unittest.TestLoader()
    if wanted:
        loader.testNamePatterns = [f"*{name}*" for name in wanted]
    suite = loader.loadTestsFromModule(sys.modules["__main__"])
    result = Lines()
    suite.run(result)
    if not result.wasSuccessful():
        sys.exit(1)
    sys.exit(SKIPPED if result.testsRun and result.skips == result.testsRun else 0)
