# SPDX-License-Identifier: BSD-2-Clause
"""In the rig: what the doctor says, and Meson's suite kvm on one back end. One line a test; 1 when one has not passed.

usage: inside.py mmio2|v1|stock PART BUILD

PART: firmware, the tests that boot SeaBIOS; threads, the doctor (but with v1) and all other tests; doctor, it alone.
"""
import json
import os
import signal
import subprocess
import sys
import time

DOCTOR = {  # its line on the choice; v1 is tested with modules that have been asked about with mmio2
    'mmio2': 'ok auto picks mmio2: created, mapped, registered, written, polled and read back',
    'stock': 'warn auto picks v1: created, mapped, registered, written and read back',
}
FIGURES = ('bound ', 'counting: ', 'back end ', '--coalesce ')  # begin lines that are always shown
FIRMWARE = ('kvm-machine', 'kvm-seabios', 'kvm-seabios-q35', 'kvm-virtio', 'kvm-disk-boot')
SKIPPED = 77


def say(*words):
    print(*words, flush=True)


def run(command, folder, seconds, environment):
    """Returns the exit status (None: killed when its time was over) and what it said."""
    process = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, start_new_session=True)
    try:
        out = process.communicate(timeout=seconds)[0]
        status = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with the programs that it runs
        out = process.communicate()[0]
        status = None
    return status, out.decode(errors='replace')


def check_doctor(build, expected):
    status, out = run(['./ringvmm', 'doctor'], build, 60, None)
    lines = [' '.join(line.split()) for line in out.splitlines() if line.split()[1:2] == ['auto']]
    passed = status == 0 and lines == [expected]
    say('%-5s %-18s %s' % ('ok' if passed else 'FAIL', 'doctor', '; '.join(lines)))
    if not passed:
        say('      expected status 0 and "%s"; status %s:\n%s' % (expected, status, out))
    return passed


def kvm_tests(build, part):
    """Those of tests/kvm: what else is in the suite needs a compiler, which the rig has not."""
    with open(os.path.join(build, 'meson-info', 'intro-tests.json'), encoding='utf-8') as file:
        tests = [test for test in json.load(file) if test['name'].startswith('kvm-') and
                 'kvm' in [suite.split(':')[-1] for suite in test['suite']]]
    return [test for test in tests if (test['name'] in FIRMWARE) == (part == 'firmware')]


def run_test(test, build, back_end):
    """A test whose back end is named uses that one or fails."""
    environment = dict(os.environ, RINGVMM_TEST_BACKEND=back_end, **test['env'])
    begin = time.monotonic()
    status, out = run(test['cmd'], test['workdir'] or build, test['timeout'], environment)
    word = {0: 'ok', SKIPPED: 'SKIP', None: 'LATE'}.get(status, 'FAIL')
    say('%-5s %-18s %5.1f s' % (word, test['name'], time.monotonic() - begin))
    for line in out.splitlines():
        if word != 'ok' or line.startswith(FIGURES):
            say('      ' + line)
    return word == 'ok'


def main():
    if len(sys.argv) != 4 or sys.argv[1] not in ('mmio2', 'v1', 'stock') or \
            sys.argv[2] not in ('firmware', 'threads', 'doctor'):
        sys.exit(__doc__)
    what, part, build = sys.argv[1:]
    results = []
    if part != 'firmware' and what in DOCTOR:
        results.append(check_doctor(build, DOCTOR[what]))
    if part != 'doctor':
        results += [run_test(test, build, what) for test in kvm_tests(build, part)]
    say('KVM tests in the rig, %s, %s, CPUs %d: %d passed, %d failed' %
        (what, part, os.cpu_count(), results.count(True), results.count(False)))
    sys.exit(0 if results and all(results) else 1)


if __name__ == '__main__':
    main()
