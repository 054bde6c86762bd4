#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""man.py ROOT STAGE - each function of libringd has a manual page below STAGE, whose synopsis says what the header says."""
import os
import re
import sys

root, stage = sys.argv[1:]


def squeeze(text):
    return re.sub(r"\s+", " ", text).strip()


def declared():
    found = {}
    for header in ("ringd.h", "ring.h", "state.h", "protocol.h", "client.h"):
        text = open(os.path.join(root, "include", "ringd", header), encoding="utf-8").read()
        text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
        text = re.sub(r"^static inline (.*\))\n\{.*?^\}", r"\1;", text, flags=re.S | re.M)
        for match in re.finditer(r"^[a-z][^;{}#]*?\b(ringd_\w+)\([^;]*\);", text, re.M):
            found[match[1]] = squeeze(match[0])
    return found


def pages():
    for folder, _, files in os.walk(stage):
        for name in files:
            if re.fullmatch(r"\w+\.3", name):
                yield name[:-2], os.path.join(folder, name)


def synopsis(path):
    """The page's synopsis without the marks of its fonts."""
    text = open(path, encoding="utf-8").read()
    lines = text[text.index(".SH SYNOPSIS"):text.index(".SH DESCRIPTION")].splitlines()
    plain = []
    for line in lines:
        if line.startswith(".BI "):
            plain.append("".join(a or b for a, b in re.findall(r'"([^"]*)"|(\S+)', line[4:])))
    return [squeeze(line) for line in plain]


wrong = []
found = dict(pages())
functions = declared()
if len(functions) < 60:
    wrong.append(f"only {len(functions)} functions were found in the headers")
for name, prototype in sorted(functions.items()):
    if name not in found:
        wrong.append(f"{name}: no page was installed")
    elif prototype not in synopsis(found[name]):
        wrong.append(f"{name}: the page does not say\n    {prototype}")
for name, path in sorted(found.items()):
    for line in synopsis(path):
        if line not in functions.values():
            wrong.append(f"{name}: the headers do not say\n    {line}")
print("\n".join(wrong) or f"{len(functions)} functions agree with their pages")
sys.exit(1 if wrong else 0)
