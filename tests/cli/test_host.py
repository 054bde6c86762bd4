# SPDX-License-Identifier: BSD-2-Clause
"""What the host does not give: KVM, coalescing, memory, CPUs, priorities. And the doctor, who says so beforehand."""

import errno
import json
import os
import resource

import guests
import harness
from harness import EXIT, QUIET, Case

LEAVES = ["--rtc", "nvram=cmos", "--stats", "table:stats", "--debugcon", "file:log"]  # what a failed start could leave


class NoKvm(Case):
    def test_missing(self):
        """no /dev/kvm: what to do, and no file is left"""
        self.refuse([*self.firmware(guests.ENDLESS), *QUIET, *LEAVES], "/dev/kvm", "No such file", "load kvm_intel",
                    env=harness.without_kvm())

    def test_forbidden(self):
        """no permission on /dev/kvm: what to do, and no file is left"""
        self.refuse([*self.firmware(guests.ENDLESS), *QUIET, *LEAVES], "/dev/kvm", "Permission denied", "group 'kvm'",
                    env=harness.without_kvm(errno.EACCES))

    @harness.needs_root
    def test_other_user(self):
        """no permission on /dev/kvm for a real other user"""
        if os.stat("/dev/kvm").st_mode & 0o006 if os.path.exists("/dev/kvm") else True:
            self.skipTest("/dev/kvm is not there or is everybody's")
        with open(harness.RINGVMM, "rb") as file:
            os.chmod(self.write("ringvmm", file.read()), 0o755)
        self.refuse([*self.firmware(guests.ENDLESS), *QUIET], "/dev/kvm", "Permission denied",
                    program=os.path.abspath("ringvmm"), user=65534, group=65534, extra_groups=[])

    def test_not_kvm(self):
        """a /dev/kvm that is something else"""
        if not harness.mounts():
            self.skipTest("cannot mount here")
        if not os.path.exists("/dev/kvm"):
            self.skipTest("no /dev/kvm to mount over")
        script = 'mount --bind /dev/null /dev/kvm && exec "$0" "$@"'
        result = self.run_it("run", *self.firmware(guests.ENDLESS), *QUIET,
                             prefix=["unshare", "-m", "sh", "-c", script])
        self.check_refused(result, "/dev/kvm")

    def test_doctor(self):
        """doctor without KVM: status 1, the finding and its hint"""
        for error, hint in [(errno.ENOENT, "kvm"), (errno.EACCES, "kvm")]:
            result = self.run_it("doctor", env=harness.without_kvm(error))
            self.assertEqual((result.status, result.err), (1, ""))
            self.assertIn("CANNOT run on this host", result.out)
            lines = result.out.splitlines()
            at = next(i for i, line in enumerate(lines) if "/dev/kvm" in line)
            self.assertIn("missing", lines[at])
            self.assertIn("->", lines[at + 1])
            self.assertIn(hint, lines[at + 1])

    def test_doctor_json(self):
        """doctor --json without KVM: status 1, can_run false"""
        result = self.run_it("doctor", "--json", env=harness.without_kvm())
        if result.status == harness.USAGE and "jansson" in result.err:
            self.skipTest("built without JSON")
        self.assertEqual((result.status, result.err), (1, ""))
        self.assertIs(json.loads(result.out)["can_run"], False)


@harness.needs_kvm
class Doctor(Case):
    def test_table(self):
        """doctor: status 0, sections, a known level in each line"""
        result = self.run_it("doctor")
        self.assertEqual((result.status, result.err), (0, ""))
        for section in ("KVM", "Posted writes", "Scheduling", "Memory and I/O"):
            self.assertIn(section, result.out.splitlines())
        for line in result.out.splitlines():
            if line.startswith("  ") and "->" not in line:
                self.assertIn(line.split()[0], ("ok", "warn", "missing"), line)

    def test_json(self):
        """doctor --json: the documented keys, the same findings as the table"""
        result = self.run_it("doctor", "--json")
        if result.status == harness.USAGE and "jansson" in result.err:
            self.skipTest("built without JSON")
        self.assertEqual((result.status, result.err), (0, ""))
        report = json.loads(result.out)
        self.assertEqual(set(report), {"version", "can_run", "findings"})
        self.assertIs(report["can_run"], True)
        table = self.run_it("doctor").out
        for finding in report["findings"]:
            self.assertLessEqual({"section", "name", "level", "required", "value"}, set(finding))
            self.assertLessEqual(set(finding), {"section", "name", "level", "required", "value", "hint"})
            self.assertIn(finding["level"], ("ok", "warn", "missing"))
            self.assertIn(finding["name"], table)
        self.assertIn("auto", [finding["name"] for finding in report["findings"]])


@harness.needs_kvm
class Coalescing(Case):
    def test_v1_missing(self):
        """--coalesce v1 without PIO coalescing: an error that says why"""
        self.refuse([*self.firmware(guests.ENDLESS), *QUIET, *LEAVES, "--coalesce", "v1"], "--coalesce v1",
                    "the kernel does not offer it", "try --coalesce auto", env=harness.without_pio())

    def test_auto(self):
        """--coalesce auto without PIO coalescing: one line, and it goes on"""
        result = self.run_guest(guests.debug_exit(21), *QUIET, env=harness.without_pio())
        self.assertEqual(result.status, 43)
        if self.offers("mmio2"):
            self.assertEqual(result.err, "")
        else:
            self.assertEqual(len(result.lines), 1, result.err)
            self.check_line(result.lines[0], "no posted writes", "the kernel does not offer it")

    def test_off(self):
        """--coalesce off says nothing"""
        result = self.run_guest(guests.debug_exit(21), *QUIET, "--coalesce", "off", env=harness.without_pio())
        self.assertEqual((result.status, result.err), (43, ""))

    def test_mmio2(self):
        """--coalesce mmio2 on a kernel without it: an error that says why"""
        if self.offers("mmio2"):
            self.skipTest("this host has mmio2")
        self.refuse([*self.firmware(guests.ENDLESS), *QUIET, *LEAVES, "--coalesce", "mmio2"], "--coalesce mmio2",
                    "the kernel does not offer it", "try --coalesce auto")

    def test_each(self):
        """each back end that the doctor has found runs a guest"""
        for name in ("mmio2", "v1", "off"):
            if name == "off" or self.offers(name):
                with self.subTest(name=name):
                    result = self.run_guest(guests.debug_exit(1, guests.say(b"hello")), *QUIET, "--coalesce", name,
                                            "--debugcon", "stdio")
                    self.assertEqual((result.status, result.out, result.err), (3, "hello", ""))

    def offers(self, name):
        lines = [line.split() for line in self.run_it("doctor").out.splitlines()]
        return any(words[:2] == ["ok", name] for words in lines)


@harness.needs_kvm
class Resources(Case):
    def test_memory(self):
        """memory that cannot be had: what was asked for and what there is"""
        self.refuse([*self.firmware(guests.ENDLESS), *QUIET, *LEAVES, "--memory", "61440G"], "--memory 62914560M",
                    "this host has", "ask for less")

    def test_address_space(self):
        """memory that the address space cannot hold"""
        limit = ["sh", "-c", 'ulimit -v 300000; exec "$0" "$@"']
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
        if free < 512:
            self.skipTest("this host has too little memory")
        result = self.run_it("run", *self.firmware(guests.ENDLESS), *QUIET, "--memory", "400M", prefix=limit)
        if "Sanitizer" in result.err:
            self.skipTest("a sanitizer needs the address space")
        self.check_refused(result, "--memory 400M", "Cannot allocate memory")

    def test_descriptors(self):
        """no file descriptors left: a line, status 2"""
        for most in range(4, 24):
            limit = ["sh", "-c", f'ulimit -n {most}; exec "$0" "$@"']
            result = self.run_it("run", *self.firmware(guests.debug_exit(1)), *EXIT, *QUIET, prefix=limit)
            with self.subTest(most=most):
                if result.status != 3:
                    self.assertEqual(result.status, harness.USAGE, result.err)
                    self.assertGreaterEqual(len(result.lines), 1)

    def test_affinity(self):
        """--vcpu-affinity with a CPU that does not exist: an error, nothing left"""
        absent = os.sysconf("SC_NPROCESSORS_CONF") + 500
        self.refuse([*self.firmware(guests.ENDLESS), "--serial", "unix:socket", "--vcpu-affinity", str(absent)],
                    "--vcpu-affinity", f"no CPU {absent}")
        self.refuse([*self.firmware(guests.ENDLESS), *QUIET, "--cpus", "2", "--vcpu-affinity", f"0,{absent}"],
                    "--vcpu-affinity", f"no CPU {absent}")

    def test_affinity_works(self):
        """--vcpu-affinity and --ring-thread cpu= put threads where they say"""
        cpus = sorted(os.sched_getaffinity(0))
        first, last = cpus[0], cpus[-1]
        process = self.start_guest(guests.ENDLESS, *QUIET, "--cpus", "2", "--vcpu-affinity", f"{last},{first}",
                                   "--ring-thread", f"cpu={first}")
        self.wait_for("threads", lambda: {"vcpu0", "vcpu1", "ring"} <= set(self.threads(process)))
        threads = self.threads(process)
        for name, cpu in [("vcpu0", last), ("vcpu1", first), ("ring", first)]:
            self.wait_for(name, lambda: os.sched_getaffinity(int(os.path.basename(threads[name]))) == {cpu})
        process.terminate()
        result = self.end(process)
        self.assertEqual((result.status, result.err), (143, ""))

    def test_ring_cpu(self):
        """--ring-thread with a CPU that does not exist: one warning, and it goes on"""
        absent = os.sysconf("SC_NPROCESSORS_CONF") + 500
        result = self.run_guest(guests.debug_exit(2), *QUIET, "--ring-thread", f"cpu={absent}")
        self.assertEqual((result.status, len(result.lines)), (5, 1), result.err)
        self.check_line(result.lines[0], "ring thread", f"CPU {absent}", "any CPU")

    def test_no_priority(self):
        """--ring-thread priority= without the privilege: one warning, and it goes on"""
        result = self.run_guest(guests.debug_exit(2), *QUIET, "--ring-thread", "priority=50",
                                preexec_fn=harness.drop_nice)
        self.assertEqual((result.status, len(result.lines)), (5, 1), result.err)
        self.check_line(result.lines[0], "ring thread", "priority 50", "not permitted", "RLIMIT_RTPRIO", "CAP_SYS_NICE")

    @harness.needs_root
    def test_priority(self):
        """--ring-thread priority= with the privilege: that thread alone has it"""
        if not self.may_fifo():
            self.skipTest("no real-time priorities here, root or not")
        process = self.start_guest(guests.ENDLESS, *QUIET, "--ring-thread", "priority=7")
        self.wait_for("ring thread", lambda: "ring" in self.threads(process))
        threads = {name: int(os.path.basename(path)) for name, path in self.threads(process).items()}
        self.wait_for("priority", lambda: os.sched_getscheduler(threads["ring"]) == os.SCHED_FIFO)
        self.assertEqual(os.sched_getparam(threads["ring"]).sched_priority, 7)
        self.wait_for("vCPU", lambda: "vcpu0" in self.threads(process))
        self.assertEqual(os.sched_getscheduler(int(os.path.basename(self.threads(process)["vcpu0"]))), os.SCHED_OTHER)
        process.terminate()
        result = self.end(process)
        self.assertEqual((result.status, result.err), (143, ""))

    def test_vcpu_no_priority(self):
        """--vcpu-priority without the privilege: one warning for all vCPUs, and it goes on"""
        result = self.run_guest(guests.debug_exit(2), *QUIET, "--vcpu-priority", "50", "--cpus", "3",
                                preexec_fn=harness.drop_nice)
        self.assertEqual((result.status, len(result.lines)), (5, 1), result.err)
        self.check_line(result.lines[0], "vCPUs", "priority 50", "not permitted", "RLIMIT_RTPRIO", "CAP_SYS_NICE")

    @harness.needs_root
    def test_vcpu_priority(self):
        """--vcpu-priority with the privilege: the vCPUs alone have it"""
        if not self.may_fifo():
            self.skipTest("no real-time priorities here, root or not")
        process = self.start_guest(guests.HALTED, *QUIET, "--vcpu-priority", "7", "--cpus", "2")
        self.wait_for("vCPUs", lambda: {"vcpu0", "vcpu1", "ring"} <= set(self.threads(process)))
        threads = {name: int(os.path.basename(path)) for name, path in self.threads(process).items()}
        for name in ("vcpu0", "vcpu1"):
            self.wait_for("priority", lambda: os.sched_getscheduler(threads[name]) == os.SCHED_FIFO)
            self.assertEqual(os.sched_getparam(threads[name]).sched_priority, 7)
        self.assertEqual(os.sched_getscheduler(threads["ring"]), os.SCHED_OTHER)
        process.terminate()
        result = self.end(process)
        self.assertEqual((result.status, result.err), (143, ""))

    @harness.needs_root
    def test_mlock_forbidden(self):
        """--mlock beyond the limit: an error with the limit, nothing left"""
        def limit():
            harness.libc.prctl(harness.PR_CAPBSET_DROP, 14, 0, 0, 0)  # CAP_IPC_LOCK, linux/capability.h
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 20, 1 << 20))

        self.refuse([*self.firmware(guests.ENDLESS), *QUIET, *LEAVES, "--mlock"], "--mlock", "1024 KiB", "ulimit -l",
                    preexec_fn=limit)

    def memory_of(self, process, field):
        with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
            return next((int(line.split()[1]) for line in file if line.startswith(field + ":")), 0)

    def test_prefault(self):
        """--prefault: all of guest memory is there; without it, little is"""
        for options, least, most in ((["--prefault"], 96 << 10, 160 << 10), ([], 0, 48 << 10)):
            process = self.start_guest(guests.ENDLESS, *QUIET, "--memory", "96M", *options)
            self.wait_for("vCPU", lambda: "vcpu0" in self.threads(process))
            there = self.memory_of(process, "RssAnon")
            self.assertTrue(least <= there <= most, f"{options}: {there} KiB")
            process.terminate()
            self.assertEqual(self.end(process).status, 143)

    @harness.needs_root
    def test_mlock(self):
        """--mlock: memory is locked once it has been touched"""
        process = self.start_guest(guests.ENDLESS, *QUIET, "--mlock")
        self.wait_for("vCPU", lambda: "vcpu0" in self.threads(process))
        self.assertGreater(self.memory_of(process, "VmLck"), 64 << 10)
        process.terminate()
        self.assertEqual(self.end(process).status, 143)

    def test_hugepages(self):
        """--hugepages: more than the pool has is an error that says how many there are"""
        try:
            with open("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", encoding="ascii") as file:
                free = int(file.read())
        except OSError:
            self.skipTest("no pool of 2 MiB pages in this kernel")
        self.refuse([*self.firmware(guests.ENDLESS), *QUIET, *LEAVES, "--hugepages", "--memory", f"{2 * free + 2}M"],
                    "--hugepages", f"{free + 1} pages of 2 MiB are needed", f"{free} are free", "nr_hugepages")

    def test_halt(self):
        """--halt-poll and --cpu-pm: a guest runs to its end, or one line says that KVM has no such thing"""
        for options in (["--halt-poll", "0"], ["--halt-poll", "200000"], ["--cpu-pm"]):
            result = self.run_guest(guests.debug_exit(2), *QUIET, *options)
            if result.status == harness.USAGE:
                self.check_refused(result, options[0], "this host's KVM")
            else:
                self.assertEqual((result.status, result.err), (5, ""), options)

    def test_halt_missing(self):
        """--halt-poll and --cpu-pm on a KVM without them: an error"""
        for options, capability in ((["--halt-poll", "9"], 182), (["--cpu-pm"], 143)):  # linux/kvm.h
            self.refuse([*self.firmware(guests.ENDLESS), *QUIET, *LEAVES, *options], options[0], "this host's KVM",
                        env=harness.preload(CLI_TEST_NO_CAPABILITY=str(capability)))

    def test_hyperv_missing(self):
        """--hyperv on a KVM without it: an error with the feature and the reason"""
        self.refuse([*self.firmware(guests.ENDLESS), *QUIET, *LEAVES, "--hyperv", "vpindex,ipi"], "--hyperv", "'vpindex'",
                    "nothing of Hyper-V", env=harness.preload(CLI_TEST_NO_CAPABILITY="44"))  # KVM_CAP_HYPERV

    def test_feature_missing(self):
        """--cpu with a feature that no guest gets: an error with its name"""
        self.refuse([*self.firmware(guests.ENDLESS), *QUIET, *LEAVES, "--cpu", "host,+svm"], "--cpu", "'svm'",
                    "leave +svm out")

    @staticmethod
    def may_fifo():
        child = os.fork()
        if child == 0:
            try:
                os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
                os._exit(0)
            except OSError:
                os._exit(1)
        return os.waitpid(child, 0)[1] == 0


if __name__ == "__main__":
    harness.main()
