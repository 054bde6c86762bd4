#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What an embedder's compiled program relies on, against what is checked in: tests/libringd/abi.txt.

    tests/libringd/abi.py BUILD            compares; BUILD is the build directory, which holds src/libringd.so.0
    tests/libringd/abi.py --update BUILD   writes the file anew; docs/libringd.md says what a difference then means

The file has the exported symbols with their versions, each function's prototype, and of each public struct and enum the
size, every member's offset and type, and every constant's value. Symbols come from the library, prototypes from the compiler
(gcc's -aux-info), layouts from the debug information of a file that includes all public headers.
"""
import difflib
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
RECORD = os.path.join(HERE, "abi.txt")


def run(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def headers():
    found = []
    for folder, _, files in os.walk(os.path.join(ROOT, "include", "ringd")):
        found += [os.path.join(folder, name) for name in files if name.endswith(".h")]
    return sorted(found)


def symbols(library):
    lines = []
    for line in run("nm", "-D", "--defined-only", library).splitlines():
        _, kind, name = line.split()
        if kind != "A":  # the version's own
            lines.append(f"{'function' if kind == 'T' else 'object'} {name}")
    return sorted(lines)


def debug_entries(binary):
    """The entries of .debug_info: {offset: (tag, depth, {attribute: value})}, in order."""
    entries = {}
    for line in run("readelf", "--debug-dump=info", binary).splitlines():
        head = re.match(r" *<(\w+)><(\w+)>: Abbrev Number: \d+ \((\w+)\)", line)
        if head:
            current = {}
            entries[int(head[2], 16)] = (head[3], int(head[1], 16), current)
            continue
        attribute = re.match(r" *<\w+> +(DW_AT_\w+) *: (?:\((?:indirect|alt)[^)]*\): |\((?:indexed|data)[^)]*\) ?)?(.*)", line)
        if attribute:
            current[attribute[1]] = attribute[2].strip()
    return entries


def children(entries, offset):
    order = list(entries)
    depth = entries[offset][1]
    for child in order[order.index(offset) + 1:]:
        if entries[child][1] <= depth:
            return
        if entries[child][1] == depth + 1:
            yield child


def type_name(entries, attributes):
    if "DW_AT_type" not in attributes:
        return "void"
    offset = int(attributes["DW_AT_type"].strip("<>"), 16)
    tag, _, own = entries[offset]
    name = own.get("DW_AT_name", "")
    if tag == "DW_TAG_structure_type":
        return "struct " + name
    if tag == "DW_TAG_enumeration_type":
        return "enum " + name
    if tag == "DW_TAG_union_type":
        return f"union of {number(own['DW_AT_byte_size'])} bytes"
    if tag == "DW_TAG_const_type":
        return "const " + type_name(entries, own)
    if tag == "DW_TAG_pointer_type":
        return type_name(entries, own) + " *"
    if tag == "DW_TAG_array_type":
        bounds = ""
        for child in children(entries, offset):
            upper = entries[child][2].get("DW_AT_upper_bound")
            bounds += f"[{number(upper) + 1}]" if upper else "[]"
        return type_name(entries, own) + " " + bounds
    if tag == "DW_TAG_subroutine_type":
        parameters = [type_name(entries, entries[child][2]) if entries[child][0] == "DW_TAG_formal_parameter" else "..."
                      for child in children(entries, offset)]
        return f"{type_name(entries, own)} ({', '.join(parameters)})"
    return name


def number(text):
    return int(text.split()[0], 0)


def layouts(entries, text):
    public = set(re.findall(r"^(?:__extension__ )?(?:struct|enum) (\w+) \{", text, re.M))
    lines, seen = [], set()
    for offset, (tag, _, own) in entries.items():
        name = own.get("DW_AT_name")
        if name not in public or "DW_AT_declaration" in own or name in seen:
            continue
        if tag not in ("DW_TAG_structure_type", "DW_TAG_enumeration_type"):
            continue
        seen.add(name)
        members = []
        for child in children(entries, offset):
            member = entries[child][2]
            if tag == "DW_TAG_structure_type":
                at = number(member.get("DW_AT_data_member_location", "0"))
                members.append(f"    {at:4} {member.get('DW_AT_name', '(no name)')}: {type_name(entries, member)}")
            else:
                members.append(f"    {number(member['DW_AT_const_value'])} {member['DW_AT_name']}")
        kind = "struct" if tag == "DW_TAG_structure_type" else "enum"
        lines.append("\n".join([f"{kind} {name}: {number(own['DW_AT_byte_size'])} bytes"] + members))
    missing = public - seen
    if missing:
        sys.exit(f"no layout was found for {', '.join(sorted(missing))}")
    return sorted(lines)


def prototypes(path):
    lines = []
    for line in open(path, encoding="utf-8"):
        match = re.match(r"/\* (\S+):\d+:\w+ \*/ extern (.*);", line)
        if match and "/include/ringd/" in match[1]:
            lines.append(match[2])
    return sorted(lines)


def describe(build):
    with tempfile.TemporaryDirectory() as work:
        source, binary, proto = (os.path.join(work, name) for name in ("all.c", "all.o", "prototypes"))
        text = ""
        with open(source, "w", encoding="utf-8") as out:
            for header in headers():
                out.write(f"#include <{os.path.relpath(header, os.path.join(ROOT, 'include'))}>\n")
                text += open(header, encoding="utf-8").read()
        run("gcc", "-std=gnu11", "-g", "-gdwarf-4", "-fno-eliminate-unused-debug-types", "-I" + os.path.join(ROOT, "include"),
            "-aux-info", proto, "-c", "-o", binary, source)
        parts = [
            ["# What programs that were compiled with libringd rely on. Written by tests/libringd/abi.py --update BUILD."],
            symbols(os.path.join(build, "src", "libringd.so.0")),
            prototypes(proto),
            layouts(debug_entries(binary), text),
        ]
    exported = {line.split("@")[0].split()[1] for line in parts[1] if line.startswith("function")}
    declared = {re.search(r"(\w+) \(", line)[1] for line in parts[2]}
    if exported != declared:
        sys.exit(f"declared or exported, but not both: {', '.join(sorted(exported ^ declared))} (src/libringd.map)")
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def main():
    arguments = sys.argv[1:]
    update = arguments[:1] == ["--update"]
    arguments = arguments[update:]
    if len(arguments) != 1:
        sys.exit(__doc__)
    try:
        now = describe(arguments[0])
    except FileNotFoundError as error:
        print(f"SKIP: {error.filename} is missing")
        return 77
    if update:
        with open(RECORD, "w", encoding="utf-8") as out:
            out.write(now)
        return 0
    before = open(RECORD, encoding="utf-8").read()
    if before == now:
        print(f"{len(now.splitlines())} lines agree")
        return 0
    sys.stdout.writelines(difflib.unified_diff(before.splitlines(True), now.splitlines(True), "checked in", "built"))
    print("The interface has changed. docs/libringd.md says what that means for the version; then\n"
          f"    tests/libringd/abi.py --update {arguments[0]}")
    return 1


sys.exit(main())
