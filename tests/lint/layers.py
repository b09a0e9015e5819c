#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""layers: folders include, and call, only the folders they may; each library is known to one file.

    layers.py ROOT [BUILD]     with BUILD, also holds the objects in ROOT/BUILD to it
"""
import pathlib
import re
import sys

import project

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)
BASE_FILE_COUNT_MAX = 20
# A library, and how the names of its headers begin.
LIBRARIES = {
    "nats": ("nats",),
    "libsodium": ("sodium",),
    "msgpack-c": ("msgpack",),
    "liburing": ("liburing",),
    "LZ4": ("lz4",),
    "zstd": ("zstd", "zdict"),
    "ISA-L": ("isa-l", "crc.h"),
    "xxHash": ("xxhash", "xxh3"),
    "libedit": ("histedit", "editline"),
}


def includes(root, path):
    """(line number, quoted name or None, library header or None) of each include."""
    text = (pathlib.Path(root) / path).read_text()
    for match in INCLUDE.finditer(text):
        yield text.count("\n", 0, match.start()) + 1, match.group(1), match.group(2)


def check_include(root, path, line, name):
    folder = project.folder_of(path)
    target = project.folder_of(name)
    if "/" not in name or target not in project.MAY_INCLUDE:
        return f'{path}:{line}: "{name}" names no folder of ours: write "folder/file.h"'
    if not (pathlib.Path(root) / name).exists():
        return f'{path}:{line}: "{name}" does not exist'
    if target == folder or path == project.MAIN or target in project.MAY_INCLUDE[folder]:
        return None
    return f'{path}:{line}: {folder}/ must not include {target}/ ("{name}")'


def check_directions(root):
    for path in project.sources(root, project.MAY_INCLUDE):
        for line, ours, _ in includes(root, path):
            finding = check_include(root, path, line, ours) if ours else None
            if finding:
                yield finding


def check_libraries(root):
    """Tests may hold our code against a library; everything else goes through its one file."""
    users = {}
    for path in project.sources(root, project.FOLDERS):
        for _, _, header in includes(root, path):
            for library, beginnings in LIBRARIES.items():
                if header and header.startswith(beginnings):
                    users.setdefault(library, set()).add(path)
    for library, paths in users.items():
        if len(paths) > 1:
            yield f"{library} is included by more than one file: {', '.join(sorted(paths))}"


def check_base(root):
    count = len(project.sources(root, ["base"]))
    if count > BASE_FILE_COUNT_MAX:
        yield f"base/ has {count} files, and may have {BASE_FILE_COUNT_MAX}: it is a ground, not a drawer"


def check_symbols(table):
    """A declaration copied by hand passes the include check; the linker's view does not. A name may
    have two homes, one in each of two libraries (lw_open): one within reach will do."""
    homes = {}
    for path, symbols in table.items():
        for symbol in symbols:
            if symbol.kind.isupper() and symbol.kind not in "UVW":
                homes.setdefault(symbol.name, []).append(path)
    for path, symbols in table.items():
        folder = project.folder_of(path)
        for symbol in symbols:
            if symbol.kind != "U" or symbol.name not in homes or path == project.MAIN:
                continue
            targets = {project.folder_of(home) for home in homes[symbol.name]}
            if not targets & {folder, *project.MAY_INCLUDE[folder]}:
                yield (f"{path}: {folder}/ must not reach into {'/, '.join(sorted(targets))}/ "
                       f"({symbol.name} of {', '.join(homes[symbol.name])})")


def main():
    root = sys.argv[1]
    findings = [*check_directions(root), *check_libraries(root), *check_base(root)]
    if len(sys.argv) > 2:
        findings += check_symbols(project.symbols(root, sys.argv[2], project.FOLDERS))
    project.report("layers", findings)


if __name__ == "__main__":
    main()
