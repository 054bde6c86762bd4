#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Runs litmus tests under x86-TSO, exhaustively: kmod/litmus/check.py [FILE]...

Debian has no package of herd7. These tests need little of it: WRITE_ONCE, READ_ONCE and smp_mb, and one `exists` clause of
registers. Every interleaving is visited, with a store buffer per thread (Sewell et al., "x86-TSO", CACM 2010): a store
enters its thread's buffer, a load takes the newest store to its variable from there, else memory; a buffer's oldest store
may reach memory at any time; smp_mb waits for the thread's buffer to be empty. The module runs on x86 only. The files are
herd7's own syntax, so `herd7 -conf linux-kernel.cfg FILE` answers for the kernel's weaker model too.
Exit status 0: each result is the one that the file's comment names.
"""

import pathlib
import re
import sys

STATEMENTS = (
    (re.compile(r"WRITE_ONCE\(\*(\w+), (\d+)\)$"), lambda m: ("write", m[1], int(m[2]))),
    (re.compile(r"(\w+) = READ_ONCE\(\*(\w+)\)$"), lambda m: ("read", m[1], m[2])),
    (re.compile(r"smp_mb\(\)$"), lambda m: ("fence",)),
    (re.compile(r"int \w+$"), lambda m: None),
)


def parse_statement(text):
    for pattern, make in STATEMENTS:
        match = pattern.match(text)
        if match:
            return make(match)
    raise SystemExit(f"not understood: {text}")


def parse(text):
    """Threads (lists of statements), the condition {(thread, register): value}, and the expected result."""
    expected = re.search(r"Result: (\w+)", text)[1]
    code = re.sub(r"\(\*\n.*?\*\)", "", text, flags=re.S)
    threads = []
    for body in re.findall(r"^P\d+\(.*?\)\n\{(.*?)^\}", code, flags=re.S | re.M):
        parsed = [parse_statement(part.strip()) for part in body.split(";") if part.strip()]
        threads.append([statement for statement in parsed if statement])
    clause = re.search(r"^exists \((.*)\)$", code, flags=re.M)[1]
    condition = {(int(t), r): int(v) for t, r, v in re.findall(r"(\d+):(\w+)=(\d+)", clause)}
    return threads, condition, expected


def steps(threads, state):
    """Every state that one step of one thread, or of its store buffer, leads to."""
    counters, buffers, memory, registers = state
    for i, thread in enumerate(threads):
        if buffers[i]:
            (name, value), *rest = buffers[i]
            yield counters, replace(buffers, i, tuple(rest)), store(memory, name, value), registers
        if counters[i] == len(thread):
            continue
        statement = thread[counters[i]]
        after = replace(counters, i, counters[i] + 1)
        if statement[0] == "write":
            yield after, replace(buffers, i, buffers[i] + (statement[1:],)), memory, registers
        elif statement[0] == "read":
            own = [value for name, value in buffers[i] if name == statement[2]]
            value = own[-1] if own else dict(memory).get(statement[2], 0)
            yield after, buffers, memory, store(registers, (i, statement[1]), value)
        elif not buffers[i]:
            yield after, buffers, memory, registers


def replace(items, index, item):
    return items[:index] + (item,) + items[index + 1 :]


def store(items, name, value):
    return tuple(sorted({**dict(items), name: value}.items()))


def outcomes(threads):
    """The registers of every final state, and how many states there are in all."""
    n = len(threads)
    start = ((0,) * n, ((),) * n, (), ())
    seen, todo, final = {start}, [start], set()
    while todo:
        state = todo.pop()
        successors = list(steps(threads, state))
        if not successors:
            final.add(state[3])
        for successor in successors:
            if successor not in seen:
                seen.add(successor)
                todo.append(successor)
    return final, len(seen)


def check(path):
    threads, condition, expected = parse(path.read_text())
    final, states = outcomes(threads)
    hits = sum(condition.items() <= dict(registers).items() for registers in final)
    result = "Never" if not hits else "Always" if hits == len(final) else "Sometimes"
    print(f"{path.name}: {result} ({states} states, {len(final)} outcomes), expected {expected}")
    return result == expected


def main():
    folder = pathlib.Path(__file__).parent
    files = [pathlib.Path(name) for name in sys.argv[1:]] or sorted(folder.glob("*.litmus"))
    results = [check(path) for path in files]
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
